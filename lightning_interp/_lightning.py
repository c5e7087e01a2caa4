"""Which Lightning: ``pytorch_lightning``, or its twin ``lightning.pytorch`` when that is what the user runs.

A Trainer only accepts modules and datamodules of its own package. Ours follow the user: they come from
``lightning.pytorch`` if that was imported first (or is the only one installed), else from ``pytorch_lightning``.
Callbacks meet the Trainer by their method names alone and work with either.
"""

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING

__all__ = [
    "Callback",
    "LightningDataModule",
    "LightningModule",
    "Trainer",
    "callbacks",
    "cli",
    "loggers",
    "package",
    "rank_zero_info",
    "seed_everything",
]


def _choose() -> str:
    twin_first = "lightning.pytorch" in sys.modules and "pytorch_lightning" not in sys.modules
    if not twin_first and importlib.util.find_spec("pytorch_lightning") is not None:
        return "pytorch_lightning"
    return "lightning.pytorch"


package = _choose()

if TYPE_CHECKING:
    from pytorch_lightning import (
        Callback,
        LightningDataModule,
        LightningModule,
        Trainer,
        callbacks,
        cli,
        loggers,
        seed_everything,
    )
    from pytorch_lightning.utilities import rank_zero_info
else:
    _pl = importlib.import_module(package)
    Callback, LightningDataModule, LightningModule = _pl.Callback, _pl.LightningDataModule, _pl.LightningModule
    Trainer, seed_everything, rank_zero_info = _pl.Trainer, _pl.seed_everything, _pl.utilities.rank_zero_info

    def __getattr__(name: str):  # noqa: ANN202
        if name in {"callbacks", "cli", "loggers"}:  # imported where used: the command line is slow to import
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(name)
