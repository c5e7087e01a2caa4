"""``python -m lightning_interp.cli``."""

from lightning_interp.cli.main import main

if __name__ == "__main__":
    main()
