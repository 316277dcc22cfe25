"""``python -m faceloss``, and so ``torchrun -m faceloss``."""

from faceloss.cli.main import main

if __name__ == "__main__":
    main()
