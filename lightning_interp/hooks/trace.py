"""Record every module call of one small forward pass."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_interp._checks import message
from lightning_interp.hooks.calls import CallWatcher, watched_calls
from lightning_interp.hooks.names import named_layers, split_address, unwrap
from lightning_interp.hooks.state import evaluating, preserved_rng
from lightning_interp.hooks.tensors import first_tensor

_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
# 64 comes first: the last feature maps are then larger than the 1x1 of globally pooled heads in most networks.
_SIDES = (64, 32, 28, 224, 299, 96, 128, 256, 16, 512)


@dataclass(frozen=True, eq=False)  # tensors have no plain equality
class Call:
    """One module call: its address, the tensors it took and returned, and what they were when it returned."""

    name: str
    module: nn.Module
    input: Tensor | None
    output: Tensor
    input_shape: tuple[int, ...]
    shape: tuple[int, ...]
    nonnegative: bool


@dataclass(frozen=True)
class Trace:
    """The module calls of one forward pass in the order in which they returned, and the model's output."""

    calls: list[Call]
    output: Tensor | None


def trace_forward(model: nn.Module, example_input: Any = None) -> Trace:
    """Run one forward pass and record it.

    The input is ``example_input`` (a batch, of which two images are used; a tuple of arguments; a dict of keyword
    arguments), else ``model.example_input_array``, else noise of a guessed shape.
    """
    original = unwrap(model)
    if example_input is None:
        example_input = getattr(original, "example_input_array", None)
    if example_input is not None:
        return _trace(original, _on_device_of(original, example_input))
    error: Exception | None = None
    for guess in _guesses(original):
        try:
            return _trace(original, guess)
        except Exception as wrong_guess:  # noqa: PERF203  # networks raise anything for an input that does not suit
            error = wrong_guess
    must = f"given: no guessed input runs through {type(original).__name__}; pass a batch or set `example_input_array`"
    text = message("example_input", "select_layers", must, None)
    raise ValueError(f"{text} The last try: {error!r}." if error else text) from error


def _trace(model: nn.Module, inputs: Any) -> Trace:
    calls: list[Call] = []

    def record(name: str, arguments: Any, output: Any) -> None:
        tensor, source = first_tensor(output), first_tensor(arguments)
        if tensor is not None:
            # Holding the tensors keeps their identities unique; shapes and signs may change in place later.
            shape = () if source is None else tuple(source.shape)
            module = layers[split_address(name)[0]]
            calls.append(Call(name, module, source, tensor, shape, tuple(tensor.shape), _is_nonnegative(tensor)))

    layers = named_layers(model)
    watcher = CallWatcher(model, layers, record)
    with evaluating(model), preserved_rng(), watched_calls(watcher, model):
        output = _call(model, inputs)
    return Trace(calls, first_tensor(output))


def _call(model: nn.Module, inputs: Any) -> Any:
    if isinstance(inputs, dict):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple | list) else model(inputs)


def _is_nonnegative(tensor: Tensor) -> bool:
    # All zeros say nothing: a zero-initialised batch norm is no activation.
    return not tensor.is_complex() and tensor.numel() > 0 and bool(tensor.min() >= 0) and bool(tensor.max() > 0)


def _on_device_of(model: nn.Module, inputs: Any) -> Any:
    parameter = next(model.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    if isinstance(inputs, Tensor):
        return inputs[:2].to(device)
    if isinstance(inputs, dict):
        return {key: item.to(device) if isinstance(item, Tensor) else item for key, item in inputs.items()}
    return tuple(item.to(device) if isinstance(item, Tensor) else item for item in inputs)


def _guesses(model: nn.Module) -> Iterator[Tensor]:
    """Noise batches that may suit the first layer with weights."""
    first = next((module for module in model.modules() if isinstance(module, (*_CONVS, nn.Linear))), None)
    if first is None or isinstance(first.weight, nn.UninitializedParameter):
        return
    shapes = (
        [(2, first.in_features)]
        if isinstance(first, nn.Linear)
        else [(2, first.in_channels, *[side] * len(first.kernel_size)) for side in _SIDES]
    )
    generator = torch.Generator().manual_seed(0)
    for shape in shapes:
        yield torch.randn(shape, generator=generator).to(first.weight)
