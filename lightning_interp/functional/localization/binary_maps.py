"""Heatmaps to masks, and which factor is the object."""

from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from lightning_interp._checks import check_choice, check_number, message
from lightning_interp.functional.localization.heatmap import Heatmaps

__all__ = ["Scale", "binarize", "foreground_factor", "map_batches"]

Scale: TypeAlias = Literal["set", "image"]

_PIXELS_AT_ONCE = 2**22


def binarize(maps: Tensor | Heatmaps, *, threshold: float = 0.75, scale: Scale = "set") -> Tensor:
    """Masks of where factors are strong.

    Args:
        maps: ``(..., H, W)`` in [0, 1], or heatmaps, of which a few images at a time are brought to image size.
        threshold: Pixels from this share of the largest value on.
        scale: Largest in the ``"set"``, as in the thesis, or in each ``"image"``, so that none outshines the others;
            then a factor has a mask in every image where it is active at all.

    Returns:
        Bool, of the shape of the maps: ``(N, k, H, W)`` for heatmaps.

    Raises:
        ValueError: ``threshold`` is out of (0, 1], or ``scale`` unknown.

    Example:
        >>> binarize(torch.tensor([[0.2, 0.75, 1.0]]))
        tensor([[False,  True,  True]])

    Reference:
        Thesis, section 4.3.2, "Extracting B".
    """
    check_number(threshold, "threshold", "binarize", low=1e-6, high=1)
    check_choice(scale, "scale", "binarize", get_args(Scale))
    if isinstance(maps, Heatmaps):
        return torch.cat([binarize(batch, threshold=threshold, scale=scale) for batch in map_batches(maps)])
    if scale == "image":
        return (maps >= threshold * maps.amax((-2, -1), keepdim=True)) & (maps > 0)
    return maps >= threshold


def foreground_factor(cells: Tensor) -> int:
    """The factor that keeps most away from the border of the maps: objects lie inside, backgrounds go on beyond.

    Args:
        cells: Maps at the size of the layer, ``(N, k, h, w)``, each factor over its largest value in the set.

    Returns:
        The number of the factor with the smallest sum over the border, one cell wide. Silent factors do not count.

    Raises:
        ValueError: All factors are silent.

    Example:
        >>> ring = torch.ones(1, 1, 3, 3)
        >>> ring[..., 1, 1] = 0
        >>> foreground_factor(torch.cat([ring, 1 - ring], 1))
        1

    Reference:
        Thesis, section 4.3.2: the strategy for ResNet-50 with two factors.
    """
    border = torch.ones(cells.shape[-2:], dtype=torch.bool, device=cells.device)
    border[1:-1, 1:-1] = False
    silent = cells.amax((0, 2, 3)) <= 0
    if bool(silent.all()):
        raise ValueError(message("cells", "foreground_factor", "maps that are not zero everywhere", cells))
    on_border = cells[..., border].sum((0, 2)).masked_fill(silent, torch.inf)
    return int(on_border.argmin())


def map_batches(heatmaps: Heatmaps, images: Sequence[int] | None = None) -> Iterator[Tensor]:
    """Maps at image size, ``(n, k, H, W)``, as many images at a time as memory likes.

    Args:
        heatmaps: The maps.
        images: Which images; all by default.
    """
    chosen = range(len(heatmaps.cells)) if images is None else images
    height, width = heatmaps.image_size
    at_once = max(1, _PIXELS_AT_ONCE // (heatmaps.k * height * width))
    return (heatmaps.maps_of(chosen[i : i + at_once]) for i in range(0, len(chosen), at_once))
