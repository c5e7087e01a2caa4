"""Exact levels: another look at the images, inside the bin of the histogram in which each unit's level lies."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lightning_interp.functional.dissection.passes import ConceptBatch, UnitStatistics
from lightning_interp.functional.dissection.quantile import ActivationHistogram, bin_keys
from lightning_interp.hooks import evaluating, observe

__all__ = ["LevelWindow", "exact_levels"]

_CELL_BITS = 16


@dataclass(frozen=True)
class LevelWindow:
    """Between which floats each unit's level lies, and how often it took each of the values there.

    Floats have an order and can be counted, so a window halves, and again, until one float is left: the level, exactly.
    A bin of a histogram holds 65536 of them, which are told apart at once. Only the bins around zero and beyond 2**24
    are larger and take two turns. A window takes 0.26 MB per unit, and 1.2 MB while it is narrowed.

    Attributes:
        low: Place of the window's first float in the order of all floats (0 is zero, 1 the next, ...), ``(units,)``.
        high: Place of its last.
        rank: How many of the values in the window are above the level, ``(units,)``.
        counts: Values per cell; a window has 65536 cells of equally many floats. ``(units, cells)``
    """

    low: Tensor
    high: Tensor
    rank: Tensor
    counts: Tensor

    @classmethod
    def of(cls, histogram: ActivationHistogram, share: float) -> "LevelWindow":
        """Around the levels exceeded at this share; none of them may be hidden by a floor."""
        bins, rank = histogram.located(share)
        low, high = bin_keys(bins)
        # Below a floor of zero there are only zeros: see `ActivationHistogram.located`.
        known = (histogram.floors == 0) & (low < 0) & (high > 0)
        low, high = (torch.where(known, 0, key) for key in (low, high))
        dtype = torch.int32 if histogram.total < 2**31 else torch.long
        return cls(low, high, rank, torch.zeros(len(rank), 1 << _CELL_BITS, dtype=dtype, device=rank.device))

    @property
    def is_exact(self) -> bool:
        """Whether every window is one float."""
        return bool((self.low == self.high).all())

    @property
    def levels(self) -> Tensor:
        """The first float of every window, ``(units,)``."""
        return _floats(self.low)

    def update(self, activation: Tensor) -> "LevelWindow":
        """With the values ``(B, units, ...)`` of more images; the counts are changed in place."""
        values = activation.detach().float()
        low, high, first, shift, units = (
            part.view(1, -1, *[1] * (values.ndim - 2))
            for part in (
                _floats(self.low),
                _floats(self.high),
                self.low,
                self._shift(),
                torch.arange(len(self.low), device=values.device),
            )
        )
        inside = (values >= low) & (values <= high)
        first, shift, units = (part.expand_as(values)[inside] for part in (first, shift, units))
        index = (units << _CELL_BITS) + ((_keys(values[inside]) - first) >> shift)
        self.counts.view(-1).index_add_(0, index, torch.ones_like(index, dtype=self.counts.dtype))
        return self

    def narrowed(self) -> "LevelWindow":
        """The cell in which the level lies as a window of its own, with nothing counted yet."""
        above = self.counts.flip(1).cumsum(1)
        reached = above > self.rank[:, None]
        cell = self.counts.shape[1] - 1 - reached.int().argmax(1)
        shift = self._shift()
        low = self.low + (cell << shift)
        high = torch.minimum(self.high, low + (1 << shift) - 1)
        rank = self.rank - (above * ~reached).amax(1)
        return replace(self, low=low, high=high, rank=rank, counts=torch.zeros_like(self.counts))

    def _shift(self) -> Tensor:
        # The exponent of an integer is its number of bits.
        return (torch.frexp((self.high - self.low).double())[1] - _CELL_BITS).clamp(min=0).long()


def exact_levels(
    model: nn.Module,
    batches: Callable[[], Iterable[ConceptBatch]],
    statistics: Mapping[str, UnitStatistics],
    share: float,
) -> dict[str, Tensor]:
    """The ``n + 1``-th largest value of every unit, ``n`` being a share of their number, rounded down.

    One more pass over the images, for all layers at once; two where a level lies within 2**-23 of zero or beyond
    2**24. Memory: see :class:`LevelWindow`.

    Args:
        model: The network.
        batches: Gives the images of the first pass again, as often as it is called.
        statistics: What :func:`~lightning_interp.functional.dissection.passes.unit_statistics` found.
        share: In [0, 1].

    Returns:
        Layer name -> levels, ``(units,)``.
    """
    windows = {name: LevelWindow.of(part.histogram, share) for name, part in statistics.items()}
    while not all(window.is_exact for window in windows.values()):
        looks = {name: _look(window) for name, window in windows.items() if not window.is_exact}
        with evaluating(model), observe(model, looks):
            for _, images, _ in batches():
                model(images)
        windows = {name: window.narrowed() if name in looks else window for name, window in windows.items()}
    return {name: window.levels for name, window in windows.items()}


def _look(window: LevelWindow) -> Callable[[Tensor], None]:
    def look(activation: Tensor) -> None:
        window.update(activation)

    return look


def _keys(values: Tensor) -> Tensor:
    """Place of every float in the order of floats; both zeros are 0."""
    size = values.abs().view(torch.int32).long()
    return torch.where(values < 0, -size, size)


def _floats(keys: Tensor) -> Tensor:
    size = keys.abs().int().view(torch.float32)
    return torch.where(keys < 0, -size, size)
