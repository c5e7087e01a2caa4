"""Units that never speak, over batches and ranks."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from lightning_interp.functional.filter_health import dead_units, largest_activations

__all__ = ["FilterActivity"]


class FilterActivity(Metric):
    """The share of units in each layer that are silent on all images.

    Args:
        layers: Names of layers behind a rectifier; elsewhere a unit that is always negative counts as silent too.
        sizes: Units of each layer.
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
        >>> _ = model[0].bias.data.copy_(torch.tensor([9.0, 9.0, 9.0, -9.0]))
        >>> metric = FilterActivity(["1"], [4])
        >>> metric.update(model, torch.rand(2, 3, 8, 8))
        >>> metric.compute()["1"], metric.dead()["1"]
        (tensor(0.2500), tensor([False, False, False,  True]))

    Reference:
        Survey, section 4.3.2 and figure 9.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    def __init__(self, layers: Sequence[str], sizes: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layers = tuple(layers)
        for i, (_, size) in enumerate(zip(self.layers, sizes, strict=True)):
            self.add_state(f"largest_{i}", torch.full((size,), -torch.inf), dist_reduce_fx="max")

    def update(self, model: nn.Module, images: Tensor, labels: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            model: The network; it runs in eval mode and is left as it was.
            images: On the model's device, ``(N, C, H, W)``.
            labels: Not used.
        """
        for name, more in largest_activations(model, images, self.layers).items():
            state = f"largest_{self.layers.index(name)}"
            setattr(self, state, torch.maximum(getattr(self, state), more.to(getattr(self, state))))

    def compute(self) -> dict[str, Tensor]:
        """Share of dead units by layer."""
        return {name: dead.float().mean() for name, dead in self._dead().items()}

    def dead(self) -> dict[str, Tensor]:
        """Which units are dead by layer, ``(units,)``, from all images of all ranks."""
        synced = self._is_synced
        with self.sync_context(should_sync=not synced, should_unsync=not synced):
            return self._dead()

    def _dead(self) -> dict[str, Tensor]:
        return {name: dead_units(getattr(self, f"largest_{i}")) for i, name in enumerate(self.layers)}
