"""``lightning-interp fit | validate | test`` is LightningCLI with our classes by name; other verbs are functions."""

import sys
from collections.abc import Callable, Sequence

# Imported so that LightningCLI finds their classes by name alone: `--data ToyScenesDataModule`.
import lightning_interp.callbacks
import lightning_interp.datamodules
import lightning_interp.models
import lightning_interp.modules  # noqa: F401
from lightning_interp._lightning import LightningDataModule, LightningModule, cli
from lightning_interp.cli.demo import demo
from lightning_interp.cli.heatmaps import heatmaps
from lightning_interp.cli.index import index
from lightning_interp.cli.search import search
from lightning_interp.exceptions import DatasetNotFoundError

__all__ = ["InterpCLI", "main"]

_VERBS: dict[str, Callable[[Sequence[str]], None]] = {
    "demo": demo,
    "heatmaps": heatmaps,
    "index": index,
    "search": search,
}


class InterpCLI(cli.LightningCLI):
    """LightningCLI with any LightningModule and LightningDataModule, ours known by their class names."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Training and testing; prediction has nothing to interpret."""
        return {name: known for name, known in cli.LightningCLI.subcommands().items() if name != "predict"}


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        args: Arguments without the program's name; those of the process by default.
    """
    arguments = list(sys.argv[1:] if args is None else args)
    if arguments and arguments[0] in _VERBS:
        _run(arguments[0], arguments[1:])
        return
    InterpCLI(
        LightningModule,
        LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        save_config_kwargs={"overwrite": True},
        parser_kwargs={"description": f"Interpretability inside training. Further verbs: {', '.join(_VERBS)}."},
        args=None if args is None else arguments,
    )


def _run(verb: str, arguments: Sequence[str]) -> None:
    """Run a verb; what its user can mend comes as one sentence, not as a traceback."""
    try:
        _VERBS[verb](arguments)
    except (ValueError, TypeError, OSError, DatasetNotFoundError) as error:
        raise SystemExit(f"lightning-interp {verb}: {error}") from error
