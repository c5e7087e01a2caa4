"""The ``lightning-interp`` command."""

from lightning_interp.cli.main import main

__all__ = ["main"]
