"""Co-localisation: a box around the object that a set of images has in common."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lightning_interp._checks import check_number, message
from lightning_interp.functional.localization.cosegmentation import Cosegmentation, cosegment
from lightning_interp.functional.localization.feature_rows import ImageSet

__all__ = ["Colocalization", "colocalize", "correct_localization", "largest_component_box"]

_NO_BOX = (-1, -1, -1, -1)


@dataclass(frozen=True)
class Colocalization:
    """A box per image.

    Attributes:
        boxes: Left, top, right and bottom in pixels, right and bottom exclusive; long, on the CPU, ``(N, 4)``; -1 where
            the mask is empty.
        cosegmentation: The masks they enclose, and the factors these come from.
    """

    boxes: Tensor
    cosegmentation: Cosegmentation

    @property
    def n_missing(self) -> int:
        """Images without a box."""
        return int((self.boxes[:, 0] < 0).sum())

    def scaled_boxes(self, sizes: Tensor) -> Tensor:
        """The boxes in pixels of the original images, where ``image_size`` resized them.

        Args:
            sizes: Height and width of each image, ``(N, 2)``.

        Returns:
            ``(N, 4)`` float; -1 where there is no box.

        Raises:
            ValueError: ``sizes`` has another shape.
        """
        if sizes.shape != (len(self.boxes), 2):
            must = f"a height and a width for each of {len(self.boxes)} images"
            raise ValueError(message("sizes", "scaled_boxes", must, sizes))
        down, across = (sizes.cpu() / torch.tensor(self.cosegmentation.masks.shape[1:])).unbind(1)
        return torch.where(self.boxes < 0, -1.0, self.boxes * torch.stack([across, down, across, down], 1))

    def save(self, path: str | Path) -> None:
        """Write to a safetensors file, and the co-segmentation beside it."""
        save_file({"boxes": self.boxes}, path)
        self.cosegmentation.save(_beside(Path(path)))

    @classmethod
    def load(cls, path: str | Path) -> "Colocalization":
        """Read what :meth:`save` wrote."""
        return cls(load_file(path)["boxes"], Cosegmentation.load(_beside(Path(path))))


def colocalize(
    model: nn.Module,
    images: ImageSet,
    k: int | Sequence[int] = 1,
    *,
    connectivity: Literal[4, 8] = 4,
    **options: Any,
) -> Colocalization:
    """Put a box around the object that images have in common: co-segment them and enclose the largest region.

    Args:
        model: As in :func:`~lightning_interp.functional.localization.cosegmentation.cosegment`, like all that follow.
        images: Two at least; with images of several sizes, give ``image_size``.
        k: Number of factors.
        connectivity: See :func:`largest_component_box`.
        **options: ``layer``, ``choose``, ``truth``, ``threshold``, ``scale`` and those of ``nmf_heatmaps``.

    Returns:
        A box per image, none (-1) where no pixel reaches the threshold; ``n_missing`` counts these.

    Raises:
        ValueError: As for ``cosegment``.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU())
        >>> colocalize(net, torch.rand(5, 3, 16, 12)).boxes.shape
        torch.Size([5, 4])

    Reference:
        Thesis, section 4.4.1.
    """
    found = cosegment(model, images, k, **options)
    boxes = [largest_component_box(mask, connectivity=connectivity) or _NO_BOX for mask in found.masks]
    return Colocalization(torch.tensor(boxes), found)


def largest_component_box(mask: Tensor, *, connectivity: Literal[4, 8] = 4) -> tuple[int, int, int, int] | None:
    """Box around the largest region of a mask.

    Args:
        mask: Bool, ``(H, W)``.
        connectivity: 4, as in SciPy, joins pixels that share a side; 8 also those that share a corner.

    Returns:
        Left, top, right and bottom, right and bottom exclusive; None for an empty mask. Of equally large regions the
        one that begins first, row by row.

    Raises:
        ValueError: ``mask`` is no bool ``(H, W)``, or ``connectivity`` neither 4 nor 8.

    Example:
        >>> largest_component_box(torch.tensor([[1, 0, 1, 1], [0, 0, 0, 1]]).bool())
        (2, 0, 4, 2)

    Reference:
        Zhou et al., Learning deep features for discriminative localization, CVPR 2016, section 3.2.
    """
    from scipy.ndimage import find_objects, generate_binary_structure, label

    if mask.ndim != 2 or mask.dtype != torch.bool:
        raise ValueError(message("mask", "largest_component_box", "bool, (H, W)", mask))
    if connectivity not in (4, 8):
        raise ValueError(message("connectivity", "largest_component_box", "4 or 8", connectivity))
    numbers, n_regions = label(mask.cpu().numpy(), generate_binary_structure(2, 1 if connectivity == 4 else 2))
    if not n_regions:
        return None
    sizes = torch.bincount(torch.from_numpy(numbers).flatten(), minlength=n_regions + 1)
    sizes[0] = 0
    rows, columns = find_objects(numbers)[int(sizes.argmax()) - 1]
    return columns.start, rows.start, columns.stop, rows.stop


def correct_localization(boxes: Tensor, truth: Sequence[Tensor], *, iou_threshold: float = 0.5) -> Tensor:
    """Whether the box of each image overlaps one of its objects enough; CorLoc is the share of those that do.

    Args:
        boxes: One per image, ``(N, 4)``, left, top, right and bottom, right and bottom exclusive; -1 for none, which is
            never correct.
        truth: Boxes of the objects of each image, ``(M, 4)``, in the same pixels. VOC 2007 leaves out images whose
            objects are all difficult or truncated; nothing is correct where there is no box.
        iou_threshold: The overlap must exceed it.

    Returns:
        Bool, ``(N,)``.

    Raises:
        ValueError: Boxes have another shape, or ``iou_threshold`` is out of [0, 1].

    Example:
        >>> truth = [torch.tensor([[0, 0, 2, 2], [4, 4, 8, 8]])] * 2
        >>> correct_localization(torch.tensor([[4, 4, 8, 7], [0, 0, 4, 4]]), truth)
        tensor([ True, False])

    Reference:
        Deselaers et al., Weakly supervised localization and learning with generic knowledge, IJCV 2012, section 6;
        thesis, section 4.4.1.
    """
    from torchvision.ops import box_iou

    check_number(iou_threshold, "iou_threshold", "correct_localization", high=1)
    if boxes.shape != (len(truth), 4):
        must = f"a box for each of {len(truth)} images, (N, 4)"
        raise ValueError(message("boxes", "correct_localization", must, boxes))
    correct = torch.zeros(len(truth), dtype=torch.bool, device=boxes.device)
    for i, (box, objects) in enumerate(zip(boxes.double(), truth, strict=True)):
        if objects.ndim != 2 or objects.shape[1] != 4:
            must = f"boxes (M, 4) for each image; those of image {i} are not"
            raise ValueError(message("truth", "correct_localization", must, objects))
        correct[i] = (box_iou(box[None], objects.to(box)) > iou_threshold).any() & (box[0] >= 0)
    return correct


def _beside(path: Path) -> Path:
    return path.with_suffix(f".masks{path.suffix}")
