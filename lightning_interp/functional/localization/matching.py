"""Which factors are which parts: matches one to one, and unions of factors or parts that belong together."""

from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from lightning_interp._checks import check_number, message
from lightning_interp.functional.localization.mask_areas import MaskAreas, mask_areas

__all__ = ["Groups", "match_parts", "merge_factors", "merge_parts", "select_factors", "union_masks"]

Groups = tuple[tuple[int, ...], ...]


def match_parts(iou: Tensor) -> list[tuple[int, int]]:
    """Pairs of a factor and a part that prefer each other: the maximum of both its row and its column.

    Args:
        iou: Of factors and parts, ``(K, T)``; NaN and 0 are no match.

    Returns:
        Pairs (factor, part), by factor. Only where IoUs are equal does one come twice.

    Example:
        >>> match_parts(torch.tensor([[0.6, 0.2], [0.1, 0.4], [0.5, 0.3]]))
        [(0, 0), (1, 1)]

    Reference:
        Thesis, section 4.3.2.
    """
    values = iou.nan_to_num(0)
    if not values.numel():
        return []
    best = (values == values.amax(1, keepdim=True)) & (values == values.amax(0)) & (values > 0)
    return [(factor, part) for factor, part in best.nonzero().tolist()]


def merge_parts(areas: MaskAreas, *, share: float = 0.2) -> Groups:
    """Parts that one factor covers together, as further targets: torso and leg of a factor that shows both.

    The factors stay what they are, so a prediction that is measured on such targets has used no truth.

    Args:
        areas: From :func:`~lightning_interp.functional.localization.mask_areas.mask_areas`.
        share: A part belongs to a factor that covers at least this much of it.

    Returns:
        Groups of two parts or more, each once, in the order of the factors.

    Raises:
        ValueError: ``share`` is out of (0, 1].

    Example:
        >>> factor = torch.tensor([True, True, True, False]).view(1, 1, 1, 4)
        >>> parts = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1]]).view(1, 2, 1, 4)
        >>> merge_parts(mask_areas(factor, parts))
        ((0, 1),)

    Reference:
        Thesis, equations 4.5, 4.9 and 4.10.
    """
    return _groups(areas.intersection_over_parts >= _checked(share, "merge_parts"))


def merge_factors(areas: MaskAreas, *, share: float = 0.2) -> Groups:
    """Factors that lie in one part together, as further factors: an ankle and a thigh are a leg.

    This looks at the truth of the images counted: one for one-shot prediction, all for exploration.

    Args:
        areas: As in :func:`merge_parts`.
        share: A factor belongs to a part that holds at least this much of it.

    Returns:
        Groups of two factors or more, each once, in the order of the parts.

    Raises:
        ValueError: ``share`` is out of (0, 1].

    Example:
        >>> factors = torch.eye(3, dtype=torch.bool).view(1, 3, 1, 3)
        >>> merge_factors(mask_areas(factors, torch.tensor([1, 1, 0]).view(1, 1, 1, 3)))
        ((0, 1),)

    Reference:
        Thesis, equations 4.6, 4.7 and 4.8.
    """
    return _groups(areas.intersection_over_factors.mT >= _checked(share, "merge_factors"))


def union_masks(masks: Tensor, groups: Sequence[Sequence[int]]) -> Tensor:
    """Masks of groups of factors or parts.

    Args:
        masks: ``(N, K, H, W)``, bool, or whole numbers where those below 0 are not annotated.
        groups: Numbers of masks.

    Returns:
        ``(N, len(groups), H, W)`` of the same dtype. In a group, one mask that is there outweighs others that are not
        annotated, and these outweigh those that are not there.

    Example:
        >>> union_masks(torch.eye(3, dtype=torch.bool).view(1, 3, 1, 3), [[0, 2]]).flatten()
        tensor([ True, False,  True])
    """
    if not groups:
        return masks[:, :0]
    return torch.stack([_union(masks[:, list(group)]) for group in groups], 1)


def select_factors(
    binary: Tensor, truth: Tensor, *, ks: Sequence[int] | None = None, share: float = 0.2
) -> tuple[int, ...]:
    """The factors that show an object, by a few annotated images.

    Candidates are every factor, the union of those that lie in the object by ``share``, and those of them that come
    from one factorisation.

    Args:
        binary: Masks of factors on the annotated images, bool, ``(n, K, H, W)``.
        truth: Masks of the object, ``(n, H, W)``, as in
            :func:`~lightning_interp.functional.localization.mask_areas.mask_areas`.
        ks: Numbers of factors of several factorisations, one after the other in ``binary``; a single one by default.
        share: See :func:`merge_factors`.

    Returns:
        Numbers of the factors whose union has the largest IoU.

    Raises:
        ValueError: No factor overlaps the object, masks differ in size, or ``ks`` do not add up to K.

    Example:
        >>> factors = torch.eye(4, dtype=torch.bool).view(1, 4, 1, 4)
        >>> select_factors(factors, torch.tensor([[[0, 1, 1, 1]]]))
        (1, 2, 3)

    Reference:
        Thesis, section 4.3.2 and table 4.2, one-shot.
    """
    target = truth[:, None]
    areas, n_factors = mask_areas(binary, target), binary.shape[1]
    ends = list(accumulate(ks if ks is not None else [n_factors], initial=0))
    if ends[-1] != n_factors:
        raise ValueError(message("ks", "select_factors", f"numbers that add up to {n_factors}", ks))
    merged = merge_factors(areas, share=share)
    within = [tuple(k for k in group if low <= k < high) for group in merged for low, high in pairwise(ends)]
    candidates = (*((k,) for k in range(n_factors)), *filter(None, within), *merged)
    iou = mask_areas(union_masks(binary, candidates), target).iou[:, 0].nan_to_num(0)
    if not bool((iou > 0).any()):
        must = "masks that some factor overlaps; lower the threshold, or annotate other images"
        raise ValueError(message("truth", "select_factors", must, truth))
    return candidates[int(iou.argmax())]


def _union(masks: Tensor) -> Tensor:
    if masks.dtype == torch.bool:
        return masks.any(1)
    return torch.where((masks > 0).any(1), 1, masks.amin(1).clamp(max=0)).to(masks.dtype)


def _groups(members: Tensor) -> Groups:
    found = (tuple(row.nonzero().flatten().tolist()) for row in members)
    return tuple(dict.fromkeys(group for group in found if len(group) > 1))


def _checked(share: float, owner: str) -> float:
    return check_number(share, "share", owner, low=1e-6, high=1)
