"""Watch, during training, which regions of the same images have activations in common."""

from dataclasses import replace
from typing import Any

from torch import Tensor

from lightning_interp._checks import check_choice, check_int
from lightning_interp._lightning import LightningModule, Trainer, rank_zero_info
from lightning_interp.callbacks.snapshots import SnapshotMonitor
from lightning_interp.functional.localization import Heatmaps, nmf_heatmaps
from lightning_interp.functional.localization.feature_rows import Padding
from lightning_interp.functional.localization.sweep import matched_colors
from lightning_interp.plots.heatmap import overlay, plot_heatmaps

__all__ = ["HeatmapMonitor"]


class HeatmapMonitor(SnapshotMonitor):
    """Draws NMF heatmaps of the same images every few epochs; a concept keeps its colour.

    One line in ``Trainer(callbacks=[HeatmapMonitor()])``. Training is bit-identical with and without it. Logged:

    - figures ``heatmaps/images``: images above their overlays; ``heatmaps/evolution``: each image's overlay, a column
      per snapshot
    - ``heatmaps/error``: relative error of the factorisation
    - ``heatmaps/seconds`` of the last snapshot, ``heatmaps/overhead`` (measuring / training time so far),
      ``heatmaps/bytes`` held between snapshots

    Every snapshot writes the overlays as PNG files to ``<log_dir>/heatmaps/epoch_005``, where the Trainer has a logger.
    The last result stays in ``heatmaps_``.

    Args:
        images: Images to look at, ``(N, C, H, W)`` as the network takes them; by default ``n_images`` training images
            of different classes.
        k: Number of factors.
        layer: A layer with maps; the last one of ``"last_block"`` by default.
        every_n_epochs: Look at the end of every n-th epoch.
        padding: ``"reflect"`` swaps the zero padding of convolutions, for networks with batch norm.
        n_images: Number of images, if they are not given.
        name: First part of the logged names, and folder of the pictures.
        **kwargs: What all monitors take: ``every_n_train_steps``, ``max_overhead``, ``log_figures``, ``dataset``,
            ``batch_transform``, ``seed``; see :class:`lightning_interp.callbacks.monitor.Monitor`.

    Raises:
        ValueError: If a number is out of range, or the images are none.

    Example:
        >>> import torch
        >>> monitor = HeatmapMonitor(torch.rand(4, 3, 32, 32), k=3, every_n_epochs=2)
        >>> monitor.history.empty
        True

    Reference:
        Thesis, section 4.2.
    """

    def __init__(
        self,
        images: Tensor | None = None,
        *,
        k: int = 4,
        layer: str | None = None,
        every_n_epochs: int = 5,
        padding: Padding = "zeros",
        n_images: int = 6,
        name: str = "heatmaps",
        **kwargs: Any,
    ) -> None:
        super().__init__(images, name=name, every_n_epochs=every_n_epochs, n_images=n_images, **kwargs)
        owner = type(self).__name__
        check_choice(padding, "padding", owner, ("zeros", "reflect"))
        self.layer, self.k = layer, check_int(k, "k", owner)
        self.padding: Padding = padding
        self.heatmaps_: Heatmaps | None = None
        self._known: tuple[Tensor, tuple[int, ...]] | None = None  # the last factors and their colours

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget an earlier run; a checkpoint being resumed is loaded after this."""
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            self.heatmaps_, self._known = None, None

    def state_dict(self) -> dict[str, Any]:
        """The snapshots so far and the clocks."""
        known = None if self._known is None else {"v": self._known[0], "colors": list(self._known[1])}
        return {**super().state_dict(), "known": known}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        super().load_state_dict(state_dict)
        known = state_dict["known"]
        self._known = None if known is None else (known["v"], tuple(known["colors"]))

    def _plan(self, trainer: Trainer, module: LightningModule) -> None:
        """Choose images, and try one factor of them: what does not work must be told now."""
        super()._plan(trainer, module)
        with trainer.precision_plugin.forward_context():
            found = nmf_heatmaps(module, self._images(trainer, module), 1, **self._options(), max_iter=1, tol=0.0)
        check_int(self.k, "k", type(self).__name__, high=found.v.shape[1])
        rank_zero_info(f"{type(self).__name__}: {len(found.cells)} images, layers {found.layer}")

    def _images(self, trainer: Trainer, module: LightningModule) -> Tensor:
        return self._converted(self._drawn().images, trainer, module)

    def _options(self) -> dict[str, Any]:
        return {"layer": self.layer, "padding": self.padding, "seed": self.seed}

    def _measure(self, trainer: Trainer, pl_module: LightningModule, epoch: float) -> None:
        images = self._images(trainer, pl_module)
        found = self._attempt(
            trainer, lambda: nmf_heatmaps(pl_module, images, self.k, **self._options()), lambda result: result
        )
        if found is None:
            return
        self.heatmaps_ = found = self._colored(found)
        pictures = self._pictures(trainer)
        painted = {f"image {i}": overlay(picture, found.maps_of(i), found.colors) for i, picture in enumerate(pictures)}
        self._snapshot(
            trainer,
            pl_module,
            epoch,
            values={"error": found.error},
            pictures=painted,
            figures={"images": lambda: plot_heatmaps(found, pictures)},
        )

    def _colored(self, found: Heatmaps) -> Heatmaps:
        """With the colours of the last snapshot, where factors resemble those."""
        v = found.v.cpu()
        colors = found.colors if self._known is None else matched_colors(*self._known, v)
        self._known = (v, colors)
        return replace(found, colors=colors)

    def _held_bytes(self) -> int:
        held = 0 if self.heatmaps_ is None else self.heatmaps_.cells.nbytes + self.heatmaps_.v.nbytes
        return super()._held_bytes() + held
