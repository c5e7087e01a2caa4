"""Activations of many batches, on the CPU."""

from collections.abc import Iterable
from itertools import chain

import torch
from torch import Tensor, nn

from lightning_interp._checks import check_int, message
from lightning_interp.exceptions import LayerNotReachedError
from lightning_interp.hooks.capture import capture
from lightning_interp.hooks.names import unwrap
from lightning_interp.hooks.select import LayerSpec, select_layers
from lightning_interp.hooks.state import evaluating
from lightning_interp.hooks.tensors import first_tensor


def collect(
    model: nn.Module,
    batches: Iterable[Tensor | tuple[Tensor, ...] | list[Tensor]],
    layers: LayerSpec,
    *,
    device: torch.device | str | None = None,
    max_images: int | None = None,
) -> dict[str, Tensor]:
    """Run batches through a model, in eval mode and without gradients, and concatenate the outputs of layers.

    Args:
        model: any module, wrapped or not.
        batches: a loader or any iterable of images ``(B, C, H, W)`` or of ``(images, ...)`` tuples.
        layers: as in :func:`select_layers`; the first batch serves as its ``example_input``.
        device: where the batches go; the device of the model's first parameter by default.
        max_images: stop after this many images. The result takes ``4 * max_images * C * H * W`` bytes per layer.

    Returns:
        Layer name, as in :func:`select_layers` -> activations ``(N, C, ...)`` on the CPU.

    Raises:
        LayerNotReachedError: a selected layer did not run for one of the batches.
        TypeError: ``batches`` is a tensor, or a batch holds no tensor.
        ValueError: no batches, or unlike shapes of activations.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> activations = collect(model, [torch.ones(8, 4), torch.ones(8, 4)], "1", max_images=10)
        >>> activations["1"].shape
        torch.Size([10, 3])
    """
    if isinstance(batches, Tensor):
        raise TypeError(message("batches", "collect", "an iterable of batches, such as [images]", batches))
    limit = None if max_images is None else check_int(max_images, "max_images", "collect")
    iterator = (_images(batch, _device(model, device)) for batch in batches)
    first = next(iterator, None)
    if first is None:
        raise ValueError(message("batches", "collect", "at least one batch", "none"))
    names = select_layers(model, layers, example_input=first)
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    n_images = 0
    with evaluating(model), capture(model, names) as activations:
        for images in chain([first], iterator):
            images = images if limit is None else images[: limit - n_images]
            unwrap(model)(images)
            for name in names:
                if name not in activations:
                    raise LayerNotReachedError(message("layers", "collect", "layers that run for every batch", name))
                parts[name].append(activations[name].cpu())
            n_images += len(images)
            if n_images == limit:
                break
    return {name: _concatenated(tensors, name) for name, tensors in parts.items()}


def _device(model: nn.Module, device: torch.device | str | None) -> torch.device | str | None:
    parameter = next(model.parameters(), None)
    return device if device is not None or parameter is None else parameter.device


def _images(batch: object, device: torch.device | str | None) -> Tensor:
    images = first_tensor(batch)
    if images is None:
        raise TypeError(message("batches", "collect", "an iterable of tensors or of (images, ...) tuples", batch))
    return images if device is None else images.to(device)


def _concatenated(tensors: list[Tensor], name: str) -> Tensor:
    shapes = {tuple(tensor.shape[1:]) for tensor in tensors}
    if len(shapes) > 1:
        must = f"batches that give activations of one shape at layer {name!r}; resize the images or use batches of one"
        raise ValueError(message("batches", "collect", must, sorted(shapes)))
    return torch.cat(tensors)
