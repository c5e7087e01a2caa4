"""Local descriptors of feature maps by pooling: the classical ways to describe an image by its activations."""

import torch
from torch import Tensor

from lightning_interp._checks import check_int, check_number, message

__all__ = ["channel_weights", "crow", "gem", "mac", "rmac", "rmac_regions", "spoc"]

_OVERLAP = 0.4
_MAX_EXTRA = 6  # regions that the longer side may have more than the shorter one


def mac(maps: Tensor) -> Tensor:
    """Maximum of every channel, ``(B, 1, C)`` of maps ``(B, C, h, w)``.

    Reference:
        Tolias, Sicre and Jegou, ICLR 2016, section 3.
    """
    return maps.amax((2, 3))[:, None]


def spoc(maps: Tensor) -> Tensor:
    """Sum of every channel, ``(B, 1, C)`` of maps ``(B, C, h, w)``, without a prior for the centre.

    Reference:
        Babenko and Lempitsky, ICCV 2015, section 3.
    """
    return maps.sum((2, 3))[:, None]


def gem(maps: Tensor, *, power: float = 3.0) -> Tensor:
    """Generalised mean of every channel, ``(B, 1, C)`` of maps ``(B, C, h, w)``.

    Args:
        maps: Non-negative; what is below zero counts as zero.
        power: 1 is the mean; the maximum in the limit.

    Reference:
        Radenovic, Tolias and Chum, PAMI 2018, equation 3.
    """
    power = check_number(power, "power", "gem", low=1)
    return maps.clamp(min=0).pow(power).mean((2, 3)).pow(1 / power)[:, None]


def channel_weights(maps: Tensor) -> Tensor:
    """Weights that raise channels which are active at few positions, ``(B, C)`` of maps ``(B, C, h, w)``.

    ``W_c = log(sum_j Q_j / Q_c)`` with ``Q_c`` the share of positions at which the channel is positive; 0 for a channel
    that is nowhere.

    >>> maps = torch.tensor([[[[1.0, 1.0]], [[0.0, 2.0]], [[0.0, 0.0]]]])
    >>> [round(weight, 3) for weight in channel_weights(maps)[0].tolist()]  # log 3/2, log 3, 0
    [0.405, 1.099, 0.0]

    Reference:
        Kalantidis, Mellina and Osindero, ECCV-W 2016, section 3.3; thesis, equation 5.4.
    """
    share = (maps > 0).to(maps.dtype).mean((2, 3))
    total = share.sum(1, keepdim=True)
    return torch.where(share > 0, (total / share.clamp(min=1e-12)).log(), 0.0)


def crow(maps: Tensor) -> Tensor:
    """Sum of every channel, weighted over positions and over channels, ``(B, 1, C)`` of maps ``(B, C, h, w)``.

    A position weighs ``(S / ||S||_2)^(1/2)``, with S the sum of the channels there.

    Reference:
        Kalantidis, Mellina and Osindero, ECCV-W 2016, section 3.
    """
    total = maps.sum(1, keepdim=True).clamp(min=0)
    length = torch.linalg.vector_norm(total, dim=(2, 3), keepdim=True)
    weights = (total / torch.where(length > 0, length, 1.0)).sqrt()
    return ((maps * weights).sum((2, 3)) * channel_weights(maps))[:, None]


def rmac(maps: Tensor, *, levels: int = 3) -> Tensor:
    """Maximum of every channel over square regions of several sizes, ``(B, R, C)`` of maps ``(B, C, h, w)``.

    Reference:
        Tolias, Sicre and Jegou, ICLR 2016, section 4.
    """
    regions = rmac_regions(maps.shape[2], maps.shape[3], levels=levels)
    return torch.stack([maps[:, :, y : y + side, x : x + side].amax((2, 3)) for y, x, side in regions], 1)


def rmac_regions(height: int, width: int, *, levels: int = 3) -> list[tuple[int, int, int]]:
    """Square regions of a map at several scales: top, left and side of each.

    At level l regions have side ``2 min(h, w) / (l + 1)``; l of them lie along the shorter side and ``l + m - 1`` along
    the longer one, evenly, with m chosen such that at level 1 neighbours overlap by about 40 %.

    >>> rmac_regions(4, 6, levels=1), len(rmac_regions(7, 7))
    ([(0, 0, 4), (0, 2, 4)], 14)

    Reference:
        Tolias, Sicre and Jegou, ICLR 2016, section 4.1.
    """
    check_int(levels, "levels", "rmac")
    if min(height, width) < 1:
        raise ValueError(message("maps", "rmac", "of one cell at least", (height, width)))
    short, long = sorted((height, width))
    extra = _extra(short, long)
    found: list[tuple[int, int, int]] = []
    for level in range(1, levels + 1):
        side = max(1, 2 * short // (level + 1))
        down, across = (_places(length, side, level + (extra if length > short else 0)) for length in (height, width))
        found += [(y, x, side) for y in down for x in across]
    return found


def _extra(short: int, long: int) -> int:
    """``m - 1``: how many more squares the longer side takes at level 1."""
    if short == long:
        return 0
    steps = [(long - short) / m for m in range(1, _MAX_EXTRA + 1)]
    overlaps = [(short - step) / short for step in steps]
    return 1 + min(range(_MAX_EXTRA), key=lambda m: abs(overlaps[m] - _OVERLAP))


def _places(length: int, side: int, n: int) -> list[int]:
    """Where n windows begin that lie evenly along a length."""
    if n == 1:
        return [(length - side) // 2]
    return [int(i * (length - side) / (n - 1)) for i in range(n)]
