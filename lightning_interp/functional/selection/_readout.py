"""Run batches through a model and look at layers on the way, without keeping what they return."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from lightning_interp._checks import check_int, message
from lightning_interp.hooks import observe

Spatial: TypeAlias = Literal["none", "mean", "max"]
Images: TypeAlias = Tensor | list[Tensor]  # a detector takes a list of images of different sizes
Batches: TypeAlias = Tensor | Iterable[Any]

__all__ = ["Batches", "Images", "Spatial", "image_batches", "model_device", "reading"]


@contextmanager
def reading(
    model: nn.Module, layers: Sequence[str], spatial: Spatial, read: Callable[[int, Tensor], None], *, n_images: int
) -> Iterator[None]:
    """Call ``read(i, activation)`` when layer ``i`` returns, pooled. Copy what is kept: it may change in place."""

    def reader(i: int) -> Callable[[Tensor], None]:
        def look(activation: Tensor) -> None:
            if activation.shape[:1] != (n_images,):  # a detector's head returns one row per box
                must = f"layers that return one row for each of {n_images} images. {layers[i]!r} does not"
                raise ValueError(message("layers", "class_statistics", must, activation))
            read(i, _pooled(activation, spatial))

        return look

    with observe(model, {name: reader(i) for i, name in enumerate(layers)}):
        yield


def _pooled(activation: Tensor, spatial: Spatial) -> Tensor:
    if activation.ndim <= 2 or spatial == "none":
        return activation
    positions = activation.flatten(2)
    return positions.mean(2) if spatial == "mean" else positions.amax(2)


def image_batches(
    model: nn.Module, images: Batches, batch_size: int, owner: str, *, labels: Tensor | None = None
) -> Iterator[tuple[Images, Any]]:
    """``(images on the model's device, what came with them)``; a tensor is cut into batches, empty ones left out."""
    device = model_device(model)
    for batch in _cut(images, labels, check_int(batch_size, "batch_size", owner), owner):
        first, *rest = batch if isinstance(batch, list | tuple) else [batch]
        several = first if isinstance(first, list | tuple) else [first]
        if not all(isinstance(image, Tensor) for image in several):
            must = "a tensor (n, C, H, W), or batches that begin with images"
            raise TypeError(message("images", owner, must, first))
        moved = [image if device is None else image.to(device) for image in several]
        if len(first):
            yield moved if isinstance(first, list | tuple) else moved[0], rest


def model_device(model: nn.Module) -> torch.device | None:
    """Where the model is; None for one without parameters."""
    parameter = next(model.parameters(), None)
    return None if parameter is None else parameter.device


def _cut(images: Batches, labels: Tensor | None, batch_size: int, owner: str) -> Iterable[Any]:
    if labels is None:
        return images.split(batch_size) if isinstance(images, Tensor) else images
    if not isinstance(images, Tensor) or len(labels) != len(images):
        raise ValueError(message("labels", owner, "one label for each image of a tensor of images", labels))
    return zip(images.split(batch_size), labels.split(batch_size), strict=True)
