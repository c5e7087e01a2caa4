"""Numbers and figures to whatever loggers the Trainer has."""

import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from lightning_interp._lightning import LightningModule, Trainer
from lightning_interp.exceptions import MeasurementWarning
from lightning_interp.plots.pictures import save_png

__all__ = ["log_figure", "log_values", "save_pictures", "snapshot_name"]

_SPECIAL = re.compile(r"[^\w.+-]+")


def log_values(trainer: Trainer, module: LightningModule, values: Mapping[str, float]) -> None:
    """Log numbers at the current step, and offer them to EarlyStopping and ModelCheckpoint.

    Args:
        trainer: The running Trainer.
        module: Its LightningModule.
        values: Numbers by name, equal on all ranks.
    """
    if trainer.barebones:
        return
    # The loggers get the exact step at once; `log` alone would wait for `log_every_n_steps` or the epoch's end.
    for logger in trainer.loggers:
        logger.log_metrics({**values, "epoch": trainer.current_epoch}, step=trainer.global_step)
        logger.save()
    module.log_dict(dict(values), logger=False, on_step=False, on_epoch=True, batch_size=1, rank_zero_only=False)


def log_figure(trainer: Trainer, tag: str, draw: Callable[[], Figure]) -> None:
    """Draw a figure on rank zero and hand it to every logger that takes pictures, else save it as PNG.

    A picture that fails costs a warning, never the run.

    Args:
        trainer: The running Trainer.
        tag: Name of the figure.
        draw: Called without arguments where the figure is wanted.
    """
    if trainer.barebones or not trainer.loggers:
        return
    folder = Path(trainer.log_dir or trainer.default_root_dir)  # asked on all ranks: it is broadcast
    if not trainer.is_global_zero:
        return
    try:
        figure = draw()
        shown = [_show(logger, tag, figure, trainer.global_step) for logger in trainer.loggers]
        if not any(shown):
            _save(figure, folder, tag, trainer.global_step)
    except Exception as error:
        warnings.warn(f"The figure {tag!r} was left out: {error}", MeasurementWarning, stacklevel=2)


def _show(logger: Any, tag: str, figure: Figure, step: int) -> bool:
    experiment = logger.experiment
    if hasattr(experiment, "add_figure"):  # TensorBoard
        experiment.add_figure(tag, figure, global_step=step, close=False)
    elif hasattr(logger, "log_image"):  # Weights & Biases
        logger.log_image(tag, [figure], step=step)
    elif hasattr(experiment, "log_figure"):  # MLflow, Comet, Neptune-like
        experiment.log_figure(figure=figure, figure_name=tag)
    else:
        return False
    return True


def _save(figure: Figure, folder: Path, tag: str, step: int) -> None:
    path = folder / f"{tag}_{step:08d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def snapshot_name(trainer: Trainer, epoch: float) -> str:
    """Of files: ``epoch_005``, or the step in the middle of an epoch."""
    return f"epoch_{int(epoch):03d}" if epoch == int(epoch) else f"step_{trainer.global_step:08d}"


def save_pictures(trainer: Trainer, folder: str, pictures: Mapping[str, Tensor]) -> None:
    """Write pictures as PNG files below the log folder, on rank zero, where the Trainer has a logger.

    A picture that fails costs a warning, never the run.

    Args:
        trainer: The running Trainer.
        folder: Name of a folder inside the log folder.
        pictures: ``(C, H, W)`` in [0, 1] by name; other than one or three channels are averaged.
    """
    if trainer.barebones or not trainer.loggers or vars(trainer)["fast_dev_run"]:
        return
    root = Path(trainer.log_dir or trainer.default_root_dir) / folder  # asked on all ranks: it is broadcast
    if not trainer.is_global_zero:
        return
    try:
        root.mkdir(parents=True, exist_ok=True)
        for name, picture in pictures.items():
            save_png(picture, root / f"{_SPECIAL.sub('_', name)}.png")
    except OSError as error:
        warnings.warn(f"The pictures in {root} were left out: {error}", MeasurementWarning, stacklevel=2)
