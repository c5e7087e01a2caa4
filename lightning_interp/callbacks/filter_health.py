"""Watch, during training, for filters that have died and for those that have learned noise."""

from typing import Any

import torch
from torch import Tensor, nn

from lightning_interp._lightning import LightningModule, Trainer
from lightning_interp.callbacks.logs import log_figure
from lightning_interp.callbacks.monitor import Monitor
from lightning_interp.functional.filter_health import high_frequency_share
from lightning_interp.hooks import OUTPUT, LayerSpec
from lightning_interp.hooks.names import named_layers
from lightning_interp.metrics.filter_health import FilterActivity
from lightning_interp.plots.filters import plot_filters

__all__ = ["FilterHealthMonitor"]


class FilterHealthMonitor(Monitor):
    """Counts dead filters and measures aliasing every epoch.

    One line in ``Trainer(callbacks=[FilterHealthMonitor()])``. Training is bit-identical with and without it. With
    several processes each probes its share of the images; the result is the same. Logged:

    - ``filter_health/dead``: share of units, of all layers, that are active on no image of a fixed sample of training
      images; ``filter_health/<layer>/dead`` of each layer
    - ``filter_health/aliasing``: high-frequency share of the filters of the first convolution, its mean;
      ``filter_health/<layer>/aliasing`` of each convolution with filters larger than one pixel
    - ``filter_health/seconds`` of the last check, ``filter_health/overhead`` (measuring / training time so far),
      ``filter_health/bytes`` held between checks
    - the figure ``filter_health/filters``: the filters of the first convolution, the dead ones marked

    Which units are dead stays in ``dead_``, by layer.

    Args:
        layers: Layers to probe, see :func:`lightning_interp.hooks.select_layers`; the one that makes the scores is left
            out of the default, because negative scores are no sign of death.
        every_n_epochs: Check at the end of every n-th epoch.
        per_class: Images of each class.
        name: First part of the logged names.
        **kwargs: What all monitors take: ``n_classes``, ``every_n_train_steps``, ``max_overhead``, ``log_figures``,
            ``dataset``, ``batch_transform``, ``seed``; see :class:`lightning_interp.callbacks.monitor.Monitor`.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> FilterHealthMonitor(every_n_epochs=2).history.empty
        True

    Reference:
        Zeiler and Fergus, ECCV 2014, section 4.1; survey, section 4.3.2 and figure 9.
    """

    def __init__(
        self,
        *,
        layers: LayerSpec = "composites",
        every_n_epochs: int = 1,
        per_class: int = 20,
        name: str = "filter_health",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, every_n_epochs=every_n_epochs, per_class=per_class, batches_per_class=1, **kwargs)
        self.layers = layers
        self.dead_: dict[str, Tensor] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget an earlier run; a checkpoint being resumed is loaded after this."""
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            self.dead_ = {}

    def _plan(self, trainer: Trainer, module: LightningModule) -> None:
        """Find layers and convolutions, and probe one image: what does not work must be told now."""
        super()._plan(trainer, module)
        seen = self._reached(trainer, module, self.layers)
        output = seen.pop(OUTPUT)
        if self.layers == "composites" and len(seen) > 1:
            seen = {name: activation for name, activation in seen.items() if not torch.equal(activation, output)}
        sizes = [activation.shape[1] for activation in seen.values()]
        self._metric = FilterActivity(list(seen), sizes).to(module.device)
        with trainer.precision_plugin.forward_context():
            self._metric.update(module, self._converted(self._drawn().images[:1], trainer, module))

    def _measure(self, trainer: Trainer, pl_module: LightningModule, epoch: float) -> None:
        dead = self._attempt(trainer, lambda: self._probe(trainer, pl_module), lambda _: self._metric.dead())
        if dead is None:
            return
        self.dead_ = {name: units.cpu() for name, units in dead.items()}
        shares = {name: float(units.float().mean()) for name, units in self.dead_.items()}
        filters = _filters(pl_module)
        aliasing = {name: float(high_frequency_share(weight).mean()) for name, weight in filters.items()}
        values = {"dead": float(torch.cat(list(self.dead_.values())).float().mean())}
        if aliasing:
            values["aliasing"] = next(iter(aliasing.values()))
        values |= {f"{name}/dead": share for name, share in shares.items()}
        values |= {f"{name}/aliasing": share for name, share in aliasing.items()}
        self._record(trainer, pl_module, epoch, values)
        if self.log_figures and filters:
            weight, first = next(iter(filters.values())), next(iter(self.dead_.values()))
            marked = first if len(first) == len(weight) else None  # the layer behind it, where that is probed
            log_figure(trainer, f"{self.name}/filters", lambda: plot_filters(weight, dead=marked))

    def _probe(self, trainer: Trainer, module: LightningModule) -> None:
        """This rank's share of the images."""
        mine = self._drawn().images[trainer.global_rank :: trainer.world_size]
        self._metric.reset()
        for images in mine.split(64):
            self._metric.update(module, self._converted(images, trainer, module))


def _filters(module: nn.Module) -> dict[str, Tensor]:
    """Weights of the convolutions that see more than one pixel, in network order."""
    layers = {name: layer for name, layer in named_layers(module).items() if isinstance(layer, nn.Conv2d)}
    weights = {name: layer.weight.detach().float() for name, layer in layers.items()}
    return {name: weight for name, weight in weights.items() if max(weight.shape[2:]) > 1}
