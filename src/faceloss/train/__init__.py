"""One readable training loop, its settings, its state and its checkpoints. It never names a loss."""
