"""Boxes of queries: what is a box, how much of a factor lies inside, and how far it agrees with the truth."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_interp._checks import message

__all__ = ["box_overlaps", "check_boxes", "share_inside"]

_ROUNDING = 1.0  # data sets round boxes and sizes of images, each on its own


def check_boxes(
    boxes: Tensor | Sequence[Sequence[float]],
    sizes: Tensor | Sequence[Sequence[int]],
    owner: str,
    *,
    parameter: str = "boxes",
) -> Tensor:
    """Refuse what is no box in its image, and name it.

    Args:
        boxes: Left, top, right and bottom in pixels, right and bottom exclusive, ``(N, 4)``.
        sizes: Height and width of each image, ``(N, 2)``.
        owner: The function that took the boxes.
        parameter: Its parameter.

    Returns:
        The boxes, float64, ``(N, 4)``; what sticks out by up to a pixel is cut off.

    Raises:
        ValueError: A box is not finite, empty or inverted, or reaches beyond its image by more than a pixel; or there
            is not one box per image.

    Example:
        >>> check_boxes([[0, 2.5, 16.4, 9]], [(12, 16)], "search")
        tensor([[ 0.0000,  2.5000, 16.0000,  9.0000]], dtype=torch.float64)
    """
    given = torch.as_tensor(boxes, dtype=torch.float64)
    if given.ndim != 2 or given.shape != (len(sizes), 4):
        must = f"left, top, right and bottom for each of {len(sizes)} images"
        raise ValueError(message(parameter, owner, must, boxes))
    down, across = torch.as_tensor(sizes, dtype=torch.float64, device=given.device).view(-1, 2).unbind(1)
    limits = torch.stack([across, down, across, down], 1)
    cut = given.clamp(min=0.0).minimum(limits)
    finite = given.isfinite().all(1)
    within = ((given - cut).abs() <= _ROUNDING).all(1)
    filled = (cut[:, 2:] > cut[:, :2]).all(1)
    for i in (~(finite & within & filled)).nonzero().flatten().tolist():
        problem = "not finite" if not finite[i] else "empty or inverted" if within[i] else "outside of the image"
        must = f"left, top, right and bottom inside the image; box {i} is {problem}, {down[i]:g} x {across[i]:g} pixels"
        raise ValueError(message(parameter, owner, must, given[i].tolist()))
    return cut


def share_inside(
    maps: Tensor, boxes: Tensor, centers_rows: Tensor, centers_columns: Tensor, image_size: tuple[int, int]
) -> Tensor:
    """The share of each factor's activation that lies inside the box of its image.

    A cell stands for the tile of the image up to the middle between it and its neighbours, at the border up to the end
    of the image, and counts by the share of the tile that is inside the box.

    Args:
        maps: Non-negative, ``(N, k, h, w)``.
        boxes: Left, top, right and bottom in pixels of the image, right and bottom exclusive, ``(N, 4)``.
        centers_rows: Where the cells lie, from
            :func:`~lightning_interp.functional.localization.alignment.cell_centers`: rows ``(h,)`` ...
        centers_columns: ... and columns, ``(w,)``.
        image_size: Height and width of the images.

    Returns:
        ``(N, k)`` in [0, 1]; 0 for a factor that is silent in the image.

    Example:
        >>> maps = torch.tensor([[[[3.0, 1.0]], [[0.0, 2.0]]]])
        >>> share_inside(maps, torch.tensor([[0, 0, 6, 4]]), torch.tensor([1.5]), torch.tensor([1.5, 5.5]), (4, 8))
        tensor([[0.8750, 0.5000]])

    Reference:
        Thesis, sections 5.3.1 and 5.3.2: factors that keep more than 75 % of their activation within the box.
    """
    places = boxes.double()
    down = _covered(centers_rows.to(places), image_size[0], places[:, 1::2]).to(maps)
    across = _covered(centers_columns.to(places), image_size[1], places[:, ::2]).to(maps)
    inside = torch.einsum("nkhw,nh,nw->nk", maps, down, across)
    total = maps.sum((2, 3))
    return (inside / total.where(total > 0, 1.0)).clamp(0, 1)


def box_overlaps(boxes: Tensor, truth: Tensor) -> Tensor:
    """Intersection over union of each box with its own true one.

    Args:
        boxes: Left, top, right and bottom, right and bottom exclusive, ``(N, 4)``; -1 for none.
        truth: In the same pixels, ``(N, 4)``.

    Returns:
        float64 ``(N,)``; 0 where there is no box.

    Raises:
        ValueError: Shapes differ, a value is not finite, or a true box is empty or inverted.

    Example:
        >>> box_overlaps(torch.tensor([[0, 0, 4, 2], [-1, -1, -1, -1]]), torch.tensor([[0, 0, 4, 4], [0, 0, 2, 2]]))
        tensor([0.5000, 0.0000], dtype=torch.float64)

    Reference:
        Thesis, section 5.3.2 and table 5.2.
    """
    from torchvision.ops import box_iou

    if boxes.ndim != 2 or boxes.shape != (len(truth), 4) or not bool(torch.isfinite(boxes).all()):
        must = f"a finite box for each of {len(truth)} images, (N, 4)"
        raise ValueError(message("boxes", "box_overlaps", must, boxes))
    exact = truth.double()
    if exact.shape != boxes.shape or not bool((exact.isfinite().all(1) & (exact[:, 2:] > exact[:, :2]).all(1)).all()):
        raise ValueError(message("truth", "box_overlaps", "finite boxes that are neither empty nor inverted", truth))
    pairs = zip(boxes.to(exact), exact, strict=True)
    return torch.cat([exact.new_zeros(0), *(box_iou(own[None], true[None])[0] for own, true in pairs)])


def _covered(centers: Tensor, size: int, spans: Tensor) -> Tensor:
    """``(N, n)``: the share of each tile of one axis that a span ``(N, 2)`` covers."""
    middles = (centers[1:] + centers[:-1] + 1) / 2  # 0 is the middle of the first pixel
    edges = torch.cat([middles.new_zeros(1), middles, middles.new_full((1,), size)]).clamp(0, size)
    first, behind = edges[:-1], edges[1:]
    start, stop = spans.unbind(1)
    common = (torch.minimum(behind, stop[:, None]) - torch.maximum(first, start[:, None])).clamp(min=0)
    # A cell whose field is centred far outside of the image has an empty tile, a point on the border.
    touched = (first >= start[:, None]) & (behind <= stop[:, None])
    return torch.where(behind > first, common / (behind - first), touched.double())
