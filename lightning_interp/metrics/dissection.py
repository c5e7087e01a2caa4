"""The two passes of network dissection as metrics: what units do, and what is there where they do it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from lightning_interp._checks import check_int, check_number
from lightning_interp.functional.dissection import (
    ActivationHistogram,
    ConceptAreas,
    Concepts,
    TopImages,
    concept_areas,
    unit_statistics,
)
from lightning_interp.functional.dissection.passes import ConceptBatch, UnitStatistics

__all__ = ["ConceptIoU", "UnitActivations"]

_HISTOGRAM = {"counts": "sum", "floors": "max", "lowest": "min", "total": "sum"}
_AREAS = ("intersection", "unit", "concept")


class UnitActivations(Metric):
    """Which values the units of layers take, and the images that excite them most, over batches and ranks.

    Args:
        layers: Layer names.
        sizes: Units of each layer.
        n_top: Best images to keep of every unit.
        quantile: Share of positions that :meth:`compute` gives the level for.
        floors: Count only what matters for that level: faster, but it can come out as NaN; see
            :func:`lightning_interp.functional.dissection.unit_statistics`.
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU())
        >>> metric = UnitActivations(["1"], [2], n_top=1)
        >>> metric.update(model, [(torch.arange(4), torch.rand(4, 3, 8, 8), [])])
        >>> metric.compute()["1"].shape, metric.statistics()["1"].top.indices.shape
        (torch.Size([2]), torch.Size([2, 1]))

    Reference:
        Bau et al., CVPR 2017; survey, section 6.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    def __init__(
        self,
        layers: Sequence[str],
        sizes: Sequence[int],
        *,
        n_top: int = 9,
        quantile: float = 0.005,
        floors: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.layers, self.floors = tuple(layers), floors
        self.n_top = check_int(n_top, "n_top", "UnitActivations")
        self.quantile = check_number(quantile, "quantile", "UnitActivations", high=1.0)
        for i, (_, size) in enumerate(zip(self.layers, sizes, strict=True)):
            empty = ActivationHistogram.zeros(size)
            for name, reduction in _HISTOGRAM.items():
                self.add_state(f"{name}_{i}", getattr(empty, name), dist_reduce_fx=reduction)
            self.add_state(f"top_{i}", _packed(TopImages.zeros(size, n_top)), dist_reduce_fx=_merged)

    def update(self, model: nn.Module, batches: Iterable[ConceptBatch]) -> None:
        """Add some images; none at all is fine, for a rank without a share.

        Args:
            model: The network.
            batches: Positions in the dataset ``(B,)``, images ``(B, C, H, W)`` on the model's device, and targets,
                which are not used.
        """
        share = self.quantile if self.floors else None
        for name, more in unit_statistics(model, batches, self.layers, n_top=self.n_top, share=share).items():
            i = self.layers.index(name)
            both = self._of(i) + more
            for part in _HISTOGRAM:
                setattr(self, f"{part}_{i}", getattr(both.histogram, part))
            setattr(self, f"top_{i}", _packed(both.top))

    def compute(self) -> dict[str, Tensor]:
        """The level of every unit of every layer, ``(units,)``; NaN where floors hide it."""
        return {name: self._of(i).histogram.exceeded(self.quantile) for i, name in enumerate(self.layers)}

    def statistics(self) -> dict[str, UnitStatistics]:
        """Histograms and best images by layer, of all images of all ranks."""
        synced = self._is_synced
        with self.sync_context(should_sync=not synced, should_unsync=not synced):
            return {name: self._of(i) for i, name in enumerate(self.layers)}

    def _of(self, i: int) -> UnitStatistics:
        histogram = ActivationHistogram(**{name: getattr(self, f"{name}_{i}") for name in _HISTOGRAM})
        return UnitStatistics(histogram, _unpacked(getattr(self, f"top_{i}")))


class ConceptIoU(Metric):
    """Areas that units and concepts have in common, over batches and ranks.

    Args:
        concepts: The concepts of the dataset.
        layers: Layer names.
        sizes: Units of each layer.
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU())
        >>> metric = ConceptIoU(Concepts.of({"scene": ["unlabelled", "sky", "sea"]}), ["1"], [2])
        >>> batch = (torch.arange(2), torch.rand(2, 3, 8, 8), [{"scene": 1}, {"scene": 2}])
        >>> metric.update(model, [batch], {"1": torch.zeros(2)})
        >>> metric.compute()["1"].shape
        torch.Size([2, 2])

    Reference:
        Bau et al., CVPR 2017; survey, section 6.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    def __init__(self, concepts: Concepts, layers: Sequence[str], sizes: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.concepts, self.layers = concepts, tuple(layers)
        for i, (_, size) in enumerate(zip(self.layers, sizes, strict=True)):
            empty = ConceptAreas.zeros(size, concepts)
            for name in _AREAS:
                self.add_state(f"{name}_{i}", getattr(empty, name), dist_reduce_fx="sum")

    def update(self, model: nn.Module, batches: Iterable[ConceptBatch], levels: Mapping[str, Tensor]) -> None:
        """Add some images; none at all is fine, for a rank without a share.

        Args:
            model: The network.
            batches: Positions in the dataset ``(B,)``, images ``(B, C, H, W)`` on the model's device, and targets.
            levels: Layer name -> level of every unit, ``(units,)``, the same on all ranks.
        """
        for name, more in concept_areas(model, batches, levels, self.concepts).items():
            i = self.layers.index(name)
            both = self._of(i) + more
            for part in _AREAS:
                setattr(self, f"{part}_{i}", getattr(both, part))

    def compute(self) -> dict[str, Tensor]:
        """Intersection over union of units and concepts by layer, ``(units, C)``."""
        return {name: self._of(i).iou(self.concepts) for i, name in enumerate(self.layers)}

    def areas(self) -> dict[str, ConceptAreas]:
        """Areas by layer, of all images of all ranks."""
        synced = self._is_synced
        with self.sync_context(should_sync=not synced, should_unsync=not synced):
            return {name: self._of(i) for i, name in enumerate(self.layers)}

    def _of(self, i: int) -> ConceptAreas:
        return ConceptAreas(*(getattr(self, f"{name}_{i}") for name in _AREAS))


def _packed(top: TopImages) -> Tensor:
    """``(units, k, 2)``: one state, because values and indices are reduced together. Float64 holds both exactly."""
    return torch.stack([top.values.double(), top.indices.double()], 2)


def _unpacked(state: Tensor) -> TopImages:
    return TopImages(state[..., 0].float(), state[..., 1].long())


def _merged(states: Tensor) -> Tensor:
    """The best images of ranks ``(ranks, units, k, 2)``."""
    total, *others = (_unpacked(state) for state in states)
    for other in others:
        total = total + other
    return _packed(total)
