"""What monitors share that draw the same things again and again: pictures, and how they changed."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.data import Dataset

from lightning_interp._checks import message
from lightning_interp._lightning import LightningModule, Trainer
from lightning_interp.callbacks.concept_data import concept_picture
from lightning_interp.callbacks.evolution import Evolution
from lightning_interp.callbacks.logs import log_figure, save_pictures, snapshot_name
from lightning_interp.callbacks.monitor import Monitor
from lightning_interp.callbacks.sampling import TrainingSample

__all__ = ["SnapshotMonitor"]


class SnapshotMonitor(Monitor):
    """Takes a snapshot every so often: numbers to log, a picture of each thing, figures.

    A subclass calls ``_snapshot`` from ``_measure``. Pictures become PNG files, and a column of the figure
    ``<name>/evolution``.

    Args:
        images: Images to look at, ``(N, C, H, W)`` as the network takes them; by default ``n_images`` training images
            of different classes.
        n_images: Number of images, if they are not given.
        **kwargs: What all monitors take, see :class:`lightning_interp.callbacks.monitor.Monitor`.

    Raises:
        ValueError: If a number is out of range, or there is no image.
    """

    def __init__(self, images: Tensor | None = None, *, n_images: int = 1, **kwargs: Any) -> None:
        super().__init__(per_class=1, batches_per_class=1, n_classes=n_images, **kwargs)
        if images is not None and (not isinstance(images, Tensor) or images.ndim != 4 or not len(images)):
            must = "a tensor (N, C, H, W) with at least one image, or None"
            raise ValueError(message("images", type(self).__name__, must, images))
        self.images = images
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

    def _draw_sample(self, trainer: Trainer, dataset: Dataset[Any] | None = None) -> TrainingSample:
        if self.images is None:
            return super()._draw_sample(trainer, dataset)
        return TrainingSample(self.images, torch.zeros(len(self.images), dtype=torch.long))

    def _pictures(self, trainer: Trainer) -> Tensor:
        """The images as they were before normalisation, ``(N, C, H, W)``."""
        source = trainer.datamodule  # type: ignore[attr-defined]  # set by a connector
        return torch.stack([concept_picture(image, source) for image in self._drawn().images.cpu()])

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
