"""How well factors show objects and their parts, and boxes enclose them: metrics reduced over ranks."""

from collections.abc import Sequence
from typing import Any, get_args

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_interp._checks import check_choice, check_int, check_number, message
from lightning_interp.functional.localization.colocalization import correct_localization
from lightning_interp.functional.localization.mask_areas import IoUAverage, MaskAreas, mask_areas, object_areas

__all__ = ["CorLoc", "ObjectIoU", "PartIoU"]

_AREAS = ("intersection", "factors", "parts")


class ObjectIoU(Metric):
    """Intersection over union of one object over a set of images.

    Args:
        average: ``"set"`` counts pixels over all images, as the thesis does; ``"images"`` is the mean over the images
            with a pixel in either mask.
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        ValueError: ``average`` is unknown.

    Example:
        >>> metric = ObjectIoU()
        >>> metric.update(torch.tensor([[[True, True]]]), torch.tensor([[[1, 0]]]))
        >>> metric.update(torch.tensor([[[True, False]]]), torch.tensor([[[1, -1]]]))
        >>> metric.compute()
        tensor(0.6667)

    Reference:
        Thesis, section 4.3.2 and table 4.2.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    intersection: Tensor
    union: Tensor
    ratios: Tensor
    n_images: Tensor

    def __init__(self, *, average: IoUAverage = "set", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.average = check_choice(average, "average", "ObjectIoU", get_args(IoUAverage))
        for name in ("intersection", "union", "n_images"):
            self.add_state(name, torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("ratios", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, masks: Tensor, truth: Tensor) -> None:
        """Add some images; none at all is fine.

        Args:
            masks: Bool, ``(N, H, W)``.
            truth: ``(N, H, W)``, bool or whole numbers: above 0 is the object, pixels below 0 are not annotated.
        """
        intersection, union = (counted.to(self.device) for counted in object_areas(masks, truth))
        seen = union > 0
        self.intersection += intersection.sum()
        self.union += union.sum()
        self.ratios += (intersection[seen].double() / union[seen]).sum()
        self.n_images += seen.sum()

    def compute(self) -> Tensor:
        """IoU over all images of all ranks; NaN without any pixel."""
        if self.average == "set":
            return self.intersection / self.union
        return (self.ratios / self.n_images).float()


class PartIoU(Metric):
    """Intersection over union of every factor with every part over a set of images.

    Args:
        n_factors: Number of factors.
        n_parts: Number of parts.
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        ValueError: A number is below 1.

    Example:
        >>> metric = PartIoU(3, 2)
        >>> masks = torch.eye(3, dtype=torch.bool)[None, :, None]
        >>> metric.update(masks, masks[:, :2])
        >>> metric.compute()
        tensor([[1., 0.],
                [0., 1.],
                [0., 0.]])

    Reference:
        Thesis, equations 4.3 to 4.6.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    intersection: Tensor
    factors: Tensor
    parts: Tensor

    def __init__(self, n_factors: int, n_parts: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shape = check_int(n_factors, "n_factors", "PartIoU"), check_int(n_parts, "n_parts", "PartIoU")
        empty = MaskAreas.zeros(*self.shape)
        for name in _AREAS:
            self.add_state(name, getattr(empty, name), dist_reduce_fx="sum")

    def update(self, binary: Tensor, truth: Tensor) -> None:
        """Add some images; none at all is fine.

        Args:
            binary: Masks of factors, bool, ``(N, K, H, W)``.
            truth: Masks of parts, ``(N, T, H, W)``, as in
                :func:`~lightning_interp.functional.localization.mask_areas.mask_areas`.
        """
        more = mask_areas(binary, truth)
        if more.intersection.shape != self.shape:
            must = f"masks of {self.shape[0]} factors, held against {self.shape[1]} parts"
            raise ValueError(message("binary", "PartIoU", must, more.intersection))
        for name in _AREAS:
            state = getattr(self, name)
            setattr(self, name, state + getattr(more, name).to(state))

    def compute(self) -> Tensor:
        """IoU over all images of all ranks, ``(K, T)``; NaN where neither has a pixel."""
        return MaskAreas(self.intersection, self.factors, self.parts).iou

    def areas(self) -> MaskAreas:
        """The counts of all images of all ranks, to merge factors or parts by."""
        synced = self._is_synced
        with self.sync_context(should_sync=not synced, should_unsync=not synced):
            return MaskAreas(*(getattr(self, name).clone() for name in _AREAS))


class CorLoc(Metric):
    """Share of images whose box is correct, and the mean of that over classes.

    Args:
        n_classes: Number of classes; each is a set of images of its own.
        iou_threshold: The overlap with an object must exceed it.
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        ValueError: An option is out of range.

    Example:
        >>> metric = CorLoc(n_classes=2)
        >>> truth = [torch.tensor([[0, 0, 4, 4]])] * 2
        >>> metric.update(torch.tensor([[0, 0, 4, 3], [2, 2, 6, 6]]), truth, torch.tensor([0, 1]))
        >>> metric.compute(), metric.per_class()
        (tensor(0.5000), tensor([1., 0.]))

    Reference:
        Thesis, section 4.4.1 and table 4.3.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    correct: Tensor
    total: Tensor

    def __init__(self, n_classes: int = 1, *, iou_threshold: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n_classes = check_int(n_classes, "n_classes", "CorLoc")
        self.iou_threshold = check_number(iou_threshold, "iou_threshold", "CorLoc", high=1)
        for name in ("correct", "total"):
            self.add_state(name, torch.zeros(n_classes, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, boxes: Tensor, truth: Sequence[Tensor], labels: Tensor | None = None) -> None:
        """Add some images; none at all is fine.

        Args:
            boxes: One per image, ``(N, 4)``; -1 for none.
            truth: Boxes of the objects of each image, ``(M, 4)``, of the class of its set.
            labels: Class of the set of each image, ``(N,)``; the first by default.
        """
        right = correct_localization(boxes, truth, iou_threshold=self.iou_threshold).to(self.device)
        labels = torch.zeros_like(right, dtype=torch.long) if labels is None else labels.to(self.device)
        if labels.shape != right.shape or (len(labels) and not 0 <= labels.min() <= labels.max() < self.n_classes):
            must = f"a class in [0, {self.n_classes - 1}] for each of {len(right)} images"
            raise ValueError(message("labels", "CorLoc", must, labels.tolist()))
        self.correct += torch.bincount(labels[right], minlength=self.n_classes)
        self.total += torch.bincount(labels, minlength=self.n_classes)

    def compute(self) -> Tensor:
        """Mean over the classes with images, of all ranks; NaN without any."""
        return (self.correct / self.total).nanmean()

    def per_class(self) -> Tensor:
        """Share of correct images of every class, ``(n_classes,)``; NaN for a class without images."""
        synced = self._is_synced
        with self.sync_context(should_sync=not synced, should_unsync=not synced):
            return self.correct / self.total
