"""Images as loaders yield them: batches or lists, of any sizes, with gaps."""

from math import ceil
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from lightning_interp._checks import check_int, message
from lightning_interp.functional.retrieval.boxes import check_boxes

__all__ = ["by_size", "images_of", "prepare", "scale_box"]

_OWNER = "describe_images"


def images_of(batch: Any) -> list[Tensor | None]:
    """The images ``(C, H, W)`` of a batch, None for one that could not be read: see ``describe_images``."""
    images = batch[0] if isinstance(batch, tuple) or (isinstance(batch, list) and _holds_batches(batch)) else batch
    found = list(images) if isinstance(images, list | tuple | Tensor) else [images]
    for image in found:
        if image is not None and not (isinstance(image, Tensor) and image.ndim == 3):
            must = "batches (B, C, H, W), lists of images (C, H, W), or tuples that begin with either"
            raise ValueError(message("loader", _OWNER, must, image))
    return found


def _holds_batches(batch: list[Any]) -> bool:
    """Whether a list is not of images but what a loader makes of tuples: ``[images, labels]``."""
    return bool(batch) and (isinstance(batch[0], list | tuple) or (isinstance(batch[0], Tensor) and batch[0].ndim == 4))


def prepare(
    images: list[Tensor | None], boxes: Tensor | None, image_size: int | None
) -> tuple[dict[int, Tensor], dict[int, str]]:
    """Cut images to their boxes and scale their smaller side.

    Returns:
        Images that can be described, by their place in the batch, and why the others cannot.
    """
    found: dict[int, Tensor] = {}
    skipped: dict[int, str] = {}
    for i, image in enumerate(images):
        if image is None:
            skipped[i] = "cannot be read"
        elif not bool(torch.isfinite(image).all()):
            skipped[i] = "holds NaN or inf"
        else:
            image = image if boxes is None else _cut(image, boxes[i])
            found[i] = image if image_size is None else _with_smaller_side(image, image_size)
    return found, skipped


def _cut(image: Tensor, box: Tensor) -> Tensor:
    left, top, right, bottom = check_boxes(box[None], [image.shape[1:]], _OWNER)[0].tolist()
    return image[:, int(top) : ceil(bottom), int(left) : ceil(right)]


def _with_smaller_side(image: Tensor, side: int) -> Tensor:
    check_int(side, "image_size", _OWNER)
    scale = side / min(image.shape[1:])
    size = [max(1, round(length * scale)) for length in image.shape[1:]]
    scaled: Tensor = resize(image, size, antialias=True)
    return scaled


def scale_box(box: Tensor, image: Tensor, to: Tensor) -> Tensor:
    """A box in ``image (C, H, W)``, in pixels of the scaled image ``to``."""
    checked = check_boxes(box[None], [image.shape[1:]], _OWNER)[0]
    down, across = to.shape[1] / image.shape[1], to.shape[2] / image.shape[2]
    return checked * torch.tensor([across, down, across, down])


def by_size(images: dict[int, Tensor]) -> list[tuple[list[int], Tensor]]:
    """Images of each size as one batch, with their places."""
    groups: dict[torch.Size, list[int]] = {}
    for i, image in images.items():
        groups.setdefault(image.shape, []).append(i)
    return [(places, torch.stack([images[i] for i in places])) for places in groups.values()]
