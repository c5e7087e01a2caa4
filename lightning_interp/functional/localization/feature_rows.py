"""The activations of a set of images as one matrix, in memory or, where that is too small, in a file."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision.transforms.v2.functional import resize

from lightning_interp._checks import check_choice, check_int, message
from lightning_interp.functional.localization.alignment import cell_centers
from lightning_interp.hooks import forward_to, reflection_padding, select_layers

__all__ = ["FeatureRows", "ImageSet", "ImageSize", "Padding", "feature_rows", "image_batches"]

ImageSet: TypeAlias = Tensor | Sequence[Any] | Dataset[Any]
ImageSize: TypeAlias = int | tuple[int, int]
Padding: TypeAlias = Literal["zeros", "reflect"]


@dataclass(frozen=True)
class FeatureRows:
    """Activations of a layer, a row per position.

    Attributes:
        rows: ``(N * h * w, C)``: images in order, positions row by row.
        shape: ``(N, h, w)``.
        centers: Where the cells lie in the image: rows ``(h,)`` and columns ``(w,)``, in pixels.
        image_size: Height and width of the images.
        layer: Name of the layer.
    """

    rows: Tensor
    shape: tuple[int, int, int]
    centers: tuple[Tensor, Tensor]
    image_size: tuple[int, int]
    layer: str


@contextmanager
def feature_rows(
    model: nn.Module,
    images: ImageSet,
    layer: str | None = None,
    *,
    padding: Padding = "zeros",
    image_size: ImageSize | None = None,
    batch_size: int = 32,
    max_bytes: int = 2**31,
) -> Iterator[FeatureRows]:
    """Collect the activations of a layer for a set of images.

    Where they take more than ``max_bytes`` they are written to a temporary file that is mapped into memory and goes
    with the context: slower, with the same numbers.

    Args:
        model: A network; it runs in eval mode and is left as it was.
        images: ``(N, C, H, W)``, a list of images, or a dataset that yields images or tuples that begin with one.
        layer: A layer with maps; the last one of ``"last_block"`` by default.
        padding: ``"reflect"`` swaps the zero padding of convolutions, for networks with batch norm.
        image_size: Resize images to this square, or height and width; needed where they differ in size.
        batch_size: Images per forward pass.
        max_bytes: Of activations to hold in memory.

    Returns:
        The matrix, its shape, and where the cells lie.

    Raises:
        ValueError: There is no image, images differ in size, or the layer has no map.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.ReLU())
        >>> with feature_rows(net, torch.rand(4, 3, 8, 12)) as found:
        ...     found.rows.shape, found.shape, found.layer
        (torch.Size([96, 5]), (4, 4, 6), '1')
    """
    check_choice(padding, "padding", "feature_rows", ("zeros", "reflect"))
    n = len(images)  # type: ignore[arg-type]  # a dataset that can be indexed has a length
    if not n:
        raise ValueError(message("images", "feature_rows", "at least one image", "none"))
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    batches = (batch.to(device) for batch in image_batches(images, image_size=image_size, batch_size=batch_size))
    first = next(batches)
    name = layer if layer is not None else select_layers(model, "last_block", example_input=first[:1])[-1]
    with ExitStack() as stack:
        features = stack.enter_context(forward_to(model, name))
        centers = _centers(features, first[:1], name)
        stack.enter_context(reflection_padding(model) if padding == "reflect" else nullcontext())
        with torch.no_grad():
            maps = features(first)[name]
            _, channels, h, w = maps.shape
            rows = stack.enter_context(_storage((n * h * w, channels), maps, max_bytes))
            done = _put(rows, maps, 0)
            for batch in batches:
                done = _put(rows, features(batch)[name], done)
        # Half precision is for the network: what is done with the rows stays in single precision.
        stack.enter_context(torch.autocast(rows.device.type, enabled=False))
        yield FeatureRows(rows, (n, h, w), centers, (first.shape[2], first.shape[3]), name)


def image_batches(images: ImageSet, *, image_size: ImageSize | None = None, batch_size: int = 32) -> Iterator[Tensor]:
    """Batches ``(B, C, H, W)`` of a set of images, in order.

    Args:
        images: As in :func:`feature_rows`.
        image_size: As in :func:`feature_rows`.
        batch_size: Images of a batch.

    Raises:
        ValueError: Images differ in size or are no images.
    """
    check_int(batch_size, "batch_size", "image_batches")
    shape: torch.Size | None = None
    for start in range(0, len(images), batch_size):  # type: ignore[arg-type]
        batch = [_image(images[i], i, image_size) for i in range(start, min(start + batch_size, len(images)))]  # type: ignore[arg-type]
        for i, image in enumerate(batch, start):
            shape = shape or image.shape
            if image.shape != shape:
                must = f"images of one size, or set `image_size=`; image 0 is {tuple(shape)}, image {i} is not"
                raise ValueError(message("images", "image_batches", must, image))
        yield torch.stack(batch)


def _image(item: Any, index: int, image_size: ImageSize | None) -> Tensor:
    image = item[0] if isinstance(item, tuple | list) else item
    if not isinstance(image, Tensor) or image.ndim != 3:
        raise ValueError(message("images", "image_batches", f"images (C, H, W); number {index} is not", image))
    if image_size is None:
        return image
    size = [image_size, image_size] if isinstance(image_size, int) else list(image_size)
    resized: Tensor = resize(image, size, antialias=True)
    return resized


def _centers(features: Any, image: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    image = image.clone().requires_grad_()
    maps = features(image)[layer]
    if maps.ndim != 4:
        must = f"a layer with maps (N, C, h, w); {layer!r} has none"
        raise ValueError(message("layer", "feature_rows", must, maps))
    return cell_centers(maps, image)


@contextmanager
def _storage(shape: tuple[int, int], like: Tensor, max_bytes: int) -> Iterator[Tensor]:
    if shape[0] * shape[1] * 4 <= check_int(max_bytes, "max_bytes", "feature_rows", low=0):
        yield torch.empty(shape, device=like.device)
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = str(Path(folder) / "rows")
        mapped = torch.from_file(path, shared=True, size=shape[0] * shape[1], dtype=torch.float32)
        yield mapped.view(shape)


def _put(rows: Tensor, maps: Tensor, done: int) -> int:
    new = maps.movedim(1, -1).flatten(0, 2)
    rows[done : done + len(new)] = new.float()
    return done + len(new)
