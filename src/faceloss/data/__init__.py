"""Faces as data: sources, decoding, cache, splits by identity, pairs, batches, augmentation. NumPy and Pillow only."""
