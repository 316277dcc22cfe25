"""Which hyperparameters a loss has, and when. It knows numbers and names only: no network, no loss, no torch."""
