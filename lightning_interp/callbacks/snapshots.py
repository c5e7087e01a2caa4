"""What monitors share that draw the same things again and again: pictures, and how they changed."""

from collections.abc import Callable, Mapping
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from lightning_interp._lightning import LightningModule, Trainer
from lightning_interp.callbacks.evolution import Evolution
from lightning_interp.callbacks.logs import log_figure, save_pictures, snapshot_name
from lightning_interp.callbacks.monitor import Monitor

__all__ = ["SnapshotMonitor"]


class SnapshotMonitor(Monitor):
    """Takes a snapshot every so often: numbers to log, a picture of each thing, figures.

    A subclass calls ``_snapshot`` from ``_measure``. Pictures become PNG files, and a column of the figure
    ``<name>/evolution``.

    Args:
        n_images: Training images to draw, each of another class.
        **kwargs: What all monitors take, see :class:`lightning_interp.callbacks.monitor.Monitor`.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(self, *, n_images: int = 1, **kwargs: Any) -> None:
        super().__init__(per_class=1, batches_per_class=1, n_classes=n_images, **kwargs)
        self.evolution = Evolution()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget an earlier run; a checkpoint being resumed is loaded after this."""
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            self.evolution = Evolution()

    def state_dict(self) -> dict[str, Any]:
        """The snapshots so far and the clocks."""
        return {**super().state_dict(), "evolution": self.evolution.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        super().load_state_dict(state_dict)
        self.evolution.load_state_dict(state_dict["evolution"])

    def _snapshot(
        self,
        trainer: Trainer,
        module: LightningModule,
        epoch: float,
        *,
        values: Mapping[str, float],
        pictures: Mapping[str, Tensor],
        figures: Mapping[str, Callable[[], Figure]],
    ) -> None:
        """Log numbers, keep and write pictures ``(C, h, w)`` in [0, 1], draw figures."""
        self.evolution.add(float(epoch), list(pictures), list(pictures.values()))
        self._record(trainer, module, epoch, values)
        if self.log_figures:
            save_pictures(trainer, f"{self.name}/{snapshot_name(trainer, epoch)}", pictures)
            for tag, draw in {**figures, "evolution": self.evolution.figure}.items():
                log_figure(trainer, f"{self.name}/{tag}", draw)

    def _held_bytes(self) -> int:
        return super()._held_bytes() + self.evolution.nbytes
