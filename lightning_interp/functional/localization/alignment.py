"""Where the cells of a feature map lie in the image, and maps at image size that lie there too."""

import torch
from torch import Tensor

from lightning_interp.functional.synthesis.receptive_field import receptive_fields

__all__ = ["cell_centers", "enlarge"]


def cell_centers(features: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """The middle of each cell's receptive field, in pixels; it may lie outside of the image.

    Where fields are so large that the image cuts all of them on both sides, cells share the image evenly.

    Args:
        features: A feature map ``(N, C, h, w)`` with its graph.
        images: What it was computed from, ``(N, C, H, W)``.

    Returns:
        Rows ``(h,)`` and columns ``(w,)``; 0 is the middle of the first pixel.

    Example:
        >>> images = torch.ones(1, 1, 9, 12, requires_grad=True)
        >>> maps = torch.nn.Conv2d(1, 1, 3, stride=2)(images)
        >>> [places.tolist() for places in cell_centers(maps, images)]
        [[1.0, 3.0, 5.0, 7.0], [1.0, 3.0, 5.0, 7.0, 9.0]]
    """
    (h, w), (height, width) = features.shape[2:], images.shape[2:]
    places = [(row, 0) for row in range(h)] + [(0, column) for column in range(w)]
    boxes = receptive_fields(features, images, torch.tensor(places)).double()
    return _centers(boxes[:h, 0], boxes[:h, 2], height), _centers(boxes[h:, 1], boxes[h:, 3], width)


def enlarge(maps: Tensor, rows: Tensor, columns: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps at another size, linear between the centres of their cells and constant beyond the outermost.

    Args:
        maps: ``(..., h, w)``.
        rows: Centres in pixels, ``(h,)``, increasing.
        columns: ``(w,)``.
        size: Height and width to enlarge to.

    Returns:
        ``(..., H, W)``.

    Example:
        >>> enlarge(torch.tensor([[0.0, 4.0]]), torch.tensor([0.0]), torch.tensor([0.5, 2.5]), (1, 4))
        tensor([[0., 1., 3., 4.]])
    """
    down, across = (_interpolation(places, n).to(maps) for places, n in zip((rows, columns), size, strict=True))
    with torch.autocast(maps.device.type, enabled=False):  # places of cells need all their digits
        return down @ maps @ across.mT


def _centers(first: Tensor, behind: Tensor, size: int) -> Tensor:
    """``first`` and ``behind`` are affine in the cell, but cut where the image, or what is seen of it, ends."""
    cells = torch.arange(len(first), dtype=torch.double)
    edges = [(first, first > first.amin()), (behind, behind < behind.amax())]
    steps = [edge[1:] - edge[:-1] for edge, _ in edges]
    whole = [free[1:] & free[:-1] for _, free in edges]
    known = torch.cat([step[both] for step, both in zip(steps, whole, strict=True)])
    if not all(bool(free.any()) for _, free in edges) or not len(known):
        return (cells + 0.5) * size / len(cells) - 0.5
    step = known.mode().values  # a last window that hangs over the border (ceil_mode) may differ
    low, high = ((edge - step * cells)[free].mode().values for edge, free in edges)
    centers: Tensor = step * cells + (low + high - 1) / 2
    return centers


def _interpolation(places: Tensor, size: int) -> Tensor:
    """``(size, n)``: the weight of each cell for each pixel."""
    pixels = torch.arange(size, dtype=torch.double)
    if len(places) == 1:
        return torch.ones(size, 1, dtype=torch.double)
    right = torch.searchsorted(places, pixels).clamp(1, len(places) - 1)
    share = ((pixels - places[right - 1]) / (places[right] - places[right - 1])).clamp(0, 1)
    weights = torch.zeros(size, len(places), dtype=torch.double)
    weights.scatter_(1, (right - 1)[:, None], (1 - share)[:, None])
    return weights.scatter_add_(1, right[:, None], share[:, None])
