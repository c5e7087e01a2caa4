"""Pixels that predicted and true masks have in common over a set of images."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from lightning_interp._checks import check_choice, message

__all__ = ["IoUAverage", "MaskAreas", "iou_matrix", "mask_areas", "object_areas", "object_iou"]

IoUAverage: TypeAlias = Literal["set", "images"]
_PIXELS_AT_ONCE = 2**20


@dataclass(frozen=True)
class MaskAreas:
    """Pixels of ``K`` factors and ``T`` parts, counted over images; those of disjoint sets of images add up.

    Where nothing could be counted, ratios are NaN.

    Attributes:
        intersection: Pixels in both, ``(K, T)``.
        factors: Pixels of each factor where the part is annotated, ``(K, T)``.
        parts: Pixels of each part, ``(T,)``.
    """

    intersection: Tensor
    factors: Tensor
    parts: Tensor

    @classmethod
    def zeros(cls, n_factors: int, n_parts: int) -> "MaskAreas":
        """Of no images."""
        both = torch.zeros(n_factors, n_parts, dtype=torch.long)
        return cls(both, both.clone(), both.new_zeros(n_parts))

    def __add__(self, other: "MaskAreas") -> "MaskAreas":
        return MaskAreas(self.intersection + other.intersection, self.factors + other.factors, self.parts + other.parts)

    @property
    def iou(self) -> Tensor:
        """Intersection over union, ``(K, T)``: thesis, equation 4.4."""
        return self.intersection / (self.factors + self.parts - self.intersection)

    @property
    def intersection_over_parts(self) -> Tensor:
        """Share of each part that lies in each factor, ``(K, T)``: thesis, equation 4.5."""
        return self.intersection / self.parts

    @property
    def intersection_over_factors(self) -> Tensor:
        """Share of each factor that lies in each part, ``(K, T)``: thesis, equation 4.6."""
        return self.intersection / self.factors


def mask_areas(binary: Tensor, truth: Tensor) -> MaskAreas:
    """Count the pixels that factors and parts have in common, a few images at a time.

    Args:
        binary: Masks of factors, bool, ``(N, K, H, W)``.
        truth: Masks of parts, ``(N, T, H, W)``, bool or whole numbers: above 0 is the part; pixels below 0 are not
            annotated, like the borders of objects in PASCAL VOC, and count for nothing.

    Returns:
        The counts.

    Raises:
        ValueError: ``binary`` is not made of bools, ``truth`` not of whole numbers, or they differ in images or size.

    Example:
        >>> factor, part = torch.zeros(2, 2, 1, 1, 4, dtype=torch.bool)
        >>> factor[0, 0, 0, :3] = True
        >>> part[0, 0, 0, 2:] = True
        >>> mask_areas(factor, part).iou
        tensor([[0.2500]])

    Reference:
        Thesis, section 4.3.2.
    """
    check_masks(binary, truth, "mask_areas", ndim=4)
    areas = MaskAreas.zeros(binary.shape[1], truth.shape[1])
    for images in _chunks(binary):
        own, target = binary[images].double(), truth[images].to(binary.device)
        part, annotated = (target > 0).double(), (target >= 0).double()
        both, alone = (torch.einsum("nkhw,nthw->kt", own, other) for other in (part, annotated))
        areas += MaskAreas(*(counted.cpu().long() for counted in (both, alone, part.sum((0, 2, 3)))))
    return areas


def iou_matrix(binary: Tensor, truth: Tensor) -> Tensor:
    """Intersection over union of factors and parts over a set: masks of all images are one long mask.

    Args:
        binary: As in :func:`mask_areas`.
        truth: As in :func:`mask_areas`.

    Returns:
        ``(K, T)``; NaN where neither has a pixel.

    Raises:
        ValueError: As for :func:`mask_areas`.

    Example:
        >>> masks = torch.eye(3, dtype=torch.bool)[None, :, None]
        >>> iou_matrix(masks, masks[:, :2])
        tensor([[1., 0.],
                [0., 1.],
                [0., 0.]])

    Reference:
        Thesis, equations 4.3 and 4.4.
    """
    return mask_areas(binary, truth).iou


def object_areas(masks: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels in both of two masks, and in either, of every image.

    Args:
        masks: Bool, ``(N, H, W)``.
        truth: ``(N, H, W)``, as in :func:`mask_areas`.

    Returns:
        Intersections and unions, each ``(N,)``.

    Raises:
        ValueError: As for :func:`mask_areas`.
    """
    check_masks(masks, truth, "object_iou", ndim=3)
    target = truth.to(masks.device)
    own, part = masks & (target >= 0), target > 0
    return (own & part).sum((1, 2)), (own | part).sum((1, 2))


def object_iou(masks: Tensor, truth: Tensor, *, average: IoUAverage = "set") -> Tensor:
    """Intersection over union of one object over a set.

    Args:
        masks: Bool, ``(N, H, W)``.
        truth: ``(N, H, W)``, as in :func:`mask_areas`.
        average: ``"set"`` counts pixels over all images, as the thesis does; ``"images"`` is the mean over the images
            with a pixel in either mask.

    Returns:
        A scalar; NaN where there is no pixel.

    Raises:
        ValueError: As for :func:`mask_areas`, or ``average`` is unknown.

    Example:
        >>> masks = torch.tensor([[[True, True]], [[True, False]]])
        >>> object_iou(masks, torch.tensor([[[1, 0]], [[1, -1]]]))
        tensor(0.6667)

    Reference:
        Thesis, section 4.3.2 and table 4.2.
    """
    check_choice(average, "average", "object_iou", get_args(IoUAverage))
    intersection, union = object_areas(masks, truth)
    return intersection.sum() / union.sum() if average == "set" else (intersection / union).nanmean()


def check_masks(binary: Tensor, truth: Tensor, owner: str, *, ndim: int) -> None:
    """Refuse masks that are not bool, and a truth of another size or of floats."""
    shape = "(N, K, H, W)" if ndim == 4 else "(N, H, W)"
    if binary.ndim != ndim or binary.dtype != torch.bool:
        raise ValueError(message("masks", owner, f"bool, {shape}: see `binarize`", binary))
    sizes = [(len(each), *each.shape[-2:]) for each in (binary, truth)]
    if truth.ndim != ndim or sizes[0] != sizes[1]:
        must = f"{sizes[0][0]} images of {sizes[0][1]} x {sizes[0][2]} pixels, like the masks held against it"
        raise ValueError(message("truth", owner, must, truth))
    if truth.is_floating_point():
        raise ValueError(message("truth", owner, "bool or whole numbers", truth.dtype))


def _chunks(masks: Tensor) -> Iterator[slice]:
    at_once = max(1, _PIXELS_AT_ONCE // max(1, masks[0].numel() if len(masks) else 1))
    return (slice(i, i + at_once) for i in range(0, len(masks), at_once))
