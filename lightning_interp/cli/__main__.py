"""``python -m lightning_interp.cli``."""

from lightning_interp.cli.main import main

main()
