"""Watch, during training, what in an image excites units."""

from collections.abc import Sequence
from functools import partial
from typing import Any, get_args

import torch
from torch import Tensor

from lightning_interp._checks import check_choice, check_int
from lightning_interp._lightning import LightningModule, Trainer
from lightning_interp.callbacks.snapshots import SnapshotMonitor
from lightning_interp.functional.synthesis import ProjectionMethod, Projections, deconvnet
from lightning_interp.hooks import OUTPUT, LayerSpec
from lightning_interp.plots.deconvnet import plot_projections
from lightning_interp.plots.pictures import on_grey

__all__ = ["DeconvNetMonitor"]


class DeconvNetMonitor(SnapshotMonitor):
    """Projects the same units on the same images every few epochs: DeconvNet snapshots of a training.

    One line in ``Trainer(callbacks=[DeconvNetMonitor()])``. Training is bit-identical with and without it. Logged:

    - figures ``deconvnet/<layer>``: a row per unit, each image's patch beside its projection; and
      ``deconvnet/evolution``: each unit's projection on its strongest image, a column per snapshot
    - ``deconvnet/silent``: share of pairs of unit and image where the unit is not active
    - ``deconvnet/seconds`` of the last snapshot, ``deconvnet/overhead`` (measuring / training time so far),
      ``deconvnet/bytes`` held between snapshots

    Every snapshot writes the projections as PNG files to ``<log_dir>/deconvnet/epoch_005``, where the Trainer has a
    logger. The last ones stay in ``projections_``, by layer.

    Args:
        images: Images to look at, ``(N, C, H, W)`` as the network takes them; by default ``n_images`` training images
            of different classes.
        layers: Layers to look into, see :func:`lightning_interp.hooks.select_layers`.
        units: Units of each layer; the first ``n_units`` by default.
        every_n_epochs: Look at the end of every n-th epoch.
        method: ``"deconvnet"``, ``"guided"`` or ``"gradient"``.
        n_images: Number of images, if they are not given.
        n_units: Number of units, if they are not given.
        name: First part of the logged names, and folder of the pictures.
        **kwargs: What all monitors take: ``every_n_train_steps``, ``max_overhead``, ``log_figures``, ``dataset``,
            ``batch_transform``, ``seed``; see :class:`lightning_interp.callbacks.monitor.Monitor`.

    Raises:
        ValueError: If a number is out of range, or the images are none.

    Example:
        >>> monitor = DeconvNetMonitor(torch.rand(4, 3, 32, 32), layers="features.7", units=[0, 5], every_n_epochs=2)
        >>> monitor.history.empty
        True

    Reference:
        Zeiler and Fergus, ECCV 2014, figure 4; survey, section 4.3.3 and figure 10.
    """

    def __init__(
        self,
        images: Tensor | None = None,
        *,
        layers: LayerSpec = "last_block",
        units: Sequence[int] | None = None,
        every_n_epochs: int = 5,
        method: ProjectionMethod = "deconvnet",
        n_images: int = 4,
        n_units: int = 8,
        name: str = "deconvnet",
        **kwargs: Any,
    ) -> None:
        super().__init__(images, name=name, every_n_epochs=every_n_epochs, n_images=n_images, **kwargs)
        owner = type(self).__name__
        self.layers, self.units = layers, None if units is None else list(units)
        check_choice(method, "method", owner, get_args(ProjectionMethod))
        self.method: ProjectionMethod = method
        self.n_units = check_int(n_units, "n_units", owner)
        self.projections_: dict[str, Projections] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget an earlier run; a checkpoint being resumed is loaded after this."""
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            self.projections_ = {}

    def _plan(self, trainer: Trainer, module: LightningModule) -> None:
        """Choose images and layers, and project one unit of each: what does not work must be told now."""
        super()._plan(trainer, module)
        sizes = {name: seen.shape[1] for name, seen in self._reached(trainer, module, self.layers).items()}
        del sizes[OUTPUT]
        self._units = {name: self.units or list(range(min(self.n_units, size))) for name, size in sizes.items()}
        image = self._converted(self._drawn().images[:1], trainer, module)
        with trainer.precision_plugin.forward_context():
            for name, units in self._units.items():
                deconvnet(module, image, name, [max(units)], method=self.method)

    def _measure(self, trainer: Trainer, pl_module: LightningModule, epoch: float) -> None:
        images = self._converted(self._drawn().images, trainer, pl_module)

        def project() -> dict[str, Projections]:
            with_units = self._units.items()
            return {name: deconvnet(pl_module, images, name, units, method=self.method) for name, units in with_units}

        found = self._attempt(trainer, project, lambda result: result)
        if found is None:
            return
        self.projections_ = found
        active = torch.cat([(each.activations > 0).flatten() for each in found.values()])
        pictures = self._pictures(trainer)
        self._snapshot(
            trainer,
            pl_module,
            epoch,
            values={"silent": 1 - float(active.float().mean())},
            pictures={
                f"{name}:{unit}": on_grey(each.crop(row, int(each.activations[row].argmax()))[1])
                for name, each in found.items()
                for row, unit in enumerate(each.units)
            },
            figures={name: partial(plot_projections, each, pictures=pictures) for name, each in found.items()},
        )

    def _held_bytes(self) -> int:
        held = [tensor for each in self.projections_.values() for tensor in (each.maps, each.images, each.fields)]
        return super()._held_bytes() + sum(tensor.nbytes for tensor in held)
