"""The level that a unit exceeds at a given share of all positions of all images, in one pass and bounded memory."""

from dataclasses import dataclass, replace
from math import floor

import torch
from torch import Tensor

from lightning_interp._checks import check_number, message

__all__ = ["RELATIVE_ERROR", "SATURATED", "ActivationHistogram", "bin_keys"]

# A bin is as wide as the last of the first 7 bits of a float's mantissa; its middle is at most half of that away.
RELATIVE_ERROR = 2.0**-8
_SMALLEST, _LARGEST = -24, 24  # powers of two that the bins cover
_HALF = (_LARGEST - _SMALLEST) * 128
_SHIFT = 16
_OFFSET = (127 + _SMALLEST) * 128
# Levels from here on are not told apart.
SATURATED = 2.0**_LARGEST


@dataclass(frozen=True)
class ActivationHistogram:
    """How often each unit took which value; histograms of disjoint sets of images add up to that of their union.

    Bins are logarithmic: a level read from them is off by at most ``RELATIVE_ERROR`` (0.4 %), or by 2**-23 around
    zero; one of 2**24 and more reads as 2**24. Counts are whole numbers, so the order of the images, batches and ranks
    change nothing. A histogram takes 98 kB per unit.

    Attributes:
        counts: ``(units, bins)``, int64.
        floors: ``(units,)``; values at or below are in ``total`` alone, which makes counting several times faster.
        lowest: Smallest value of any unit, a scalar.
        total: Positions seen per unit, a scalar.
    """

    counts: Tensor
    floors: Tensor
    lowest: Tensor
    total: Tensor

    @classmethod
    def zeros(cls, n_units: int, *, device: torch.device | None = None) -> "ActivationHistogram":
        """Of no images, without floors."""
        counts = torch.zeros(n_units, 2 * _HALF + 1, dtype=torch.long, device=device)
        floors = torch.full((n_units,), -torch.inf, dtype=torch.float32, device=device)
        lowest = torch.tensor(torch.inf, dtype=torch.float32, device=device)
        return cls(counts, floors, lowest, torch.tensor(0, device=device))

    def __add__(self, other: "ActivationHistogram") -> "ActivationHistogram":
        return ActivationHistogram(
            self.counts + other.counts,
            torch.maximum(self.floors, other.floors),
            torch.minimum(self.lowest, other.lowest),
            self.total + other.total,
        )

    def update(self, activation: Tensor) -> "ActivationHistogram":
        """With the values ``(B, units, ...)`` of more images; the counts are changed in place."""
        n_units, bins = self.counts.shape
        values = activation.detach().float().reshape(len(activation), n_units, -1)
        place = (values > self.floors[:, None]).flatten().nonzero().flatten()
        index = place // values.shape[2] % n_units * bins + _bins(values.flatten()[place])
        self.counts.view(-1).index_add_(0, index, torch.ones_like(index))
        lowest = torch.minimum(self.lowest, values.min())
        return replace(self, lowest=lowest, total=self.total + values[:, 0].numel())

    def with_floors(self, share: float) -> "ActivationHistogram":
        """An empty histogram that leaves out what lies far below the level of this share, judged by these images."""
        levels = self.exceeded(min(1.0, 10 * share))
        nothing = 0.0 if self.lowest >= 0 else -torch.inf
        empty = ActivationHistogram.zeros(len(self.counts), device=self.counts.device)
        # Two bins lower, so that a unit which is often at one same level has all of its bin counted.
        return replace(empty, floors=torch.where(levels > 0, levels * (1 - 4 * RELATIVE_ERROR), nothing))

    def exceeded(self, share: float) -> Tensor:
        """The level that each unit exceeds at this share of the positions, ``(units,)``.

        That is the ``n + 1``-th largest of its values, ``n`` being this share of their number, rounded down. NaN where
        a floor hides it: count again without floors.

        Args:
            share: In [0, 1].

        Raises:
            ValueError: A share out of range, or no image.
        """
        bins, _ = self.located(share)
        return torch.where(bins >= 0, _middles(bins.device)[bins.clamp(min=0)], torch.nan)

    def located(self, share: float) -> tuple[Tensor, Tensor]:
        """In which bin the level of this share lies, and how many values of that bin are above it, ``(units,)`` each.

        The bin is -1 where a floor hides it. Arguments and errors as in :meth:`exceeded`.
        """
        check_number(share, "share", "ActivationHistogram", high=1.0)
        if self.total == 0:
            raise ValueError(message("dataset", "network_dissection", "of at least one image", "none"))
        rank = min(floor(share * int(self.total)), int(self.total) - 1)
        so_far = self.counts.cumsum(1)
        counted = so_far[:, -1]
        reached = counted > rank
        bins = torch.searchsorted(so_far, (counted - rank)[:, None]).flatten()  # as many values from the lowest on
        known = reached & (_middles(bins.device)[bins] * (1 - RELATIVE_ERROR) > self.floors)
        zero = ~reached & (self.floors == 0) & (self.lowest >= 0)
        above = torch.where(reached, counted - so_far.gather(1, bins[:, None]).flatten(), counted)
        return torch.where(known, bins, torch.where(zero, _HALF, -1)), rank - above


def bin_keys(bins: Tensor) -> tuple[Tensor, Tensor]:
    """The lowest and the highest float of bins, as places in the order of all floats: 0 is zero, 1 the next, ..."""
    size = (bins - _HALF).abs()
    near = (size + _OFFSET) << _SHIFT
    far = torch.where(size == _HALF, 0x7F7FFFFF, near + (1 << _SHIFT) - 1)
    near = torch.where(size == 0, -far, near)
    return torch.where(bins < _HALF, -far, near), torch.where(bins < _HALF, -near, far)


def _bins(values: Tensor) -> Tensor:
    """Bin of every value: negative ones from the largest magnitude on, zero in the middle, positive ones."""
    size = ((values.abs().view(torch.int32) >> _SHIFT) - _OFFSET).clamp_(0, _HALF).long()
    return torch.where(values < 0, _HALF - size, _HALF + size)


def _middles(device: torch.device) -> Tensor:
    """The value that stands for every bin."""
    order = torch.arange(_HALF + 1, dtype=torch.int32, device=device)
    size = (((order + _OFFSET) << _SHIFT) + (1 << (_SHIFT - 1))).view(torch.float32)
    size[0] = 0.0
    return torch.cat([-size.flip(0)[:-1], size])
