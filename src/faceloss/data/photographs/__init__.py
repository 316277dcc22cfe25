"""From photographs to aligned crops with a ledger: detection, landmarks, alignment. NumPy, Pillow, ONNX runtime."""
