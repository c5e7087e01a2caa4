"""Run a network from its input up to some layers, so that the input can be optimised."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

from torch import Tensor, nn

from lightning_interp._checks import message
from lightning_interp.hooks.calls import CallWatcher, watched_calls
from lightning_interp.hooks.names import unwrap
from lightning_interp.hooks.select import select_layers
from lightning_interp.hooks.state import differentiable
from lightning_interp.hooks.tensors import first_tensor, swap_first

OUTPUT = "<output>"  # stands for the network's own output among layer names
Features: TypeAlias = Callable[[Tensor], dict[str, Tensor]]


class _Reached(Exception):  # no error: it ends a forward pass of which the rest is not needed
    """All layers have run."""


@contextmanager
def forward_to(model: nn.Module, layers: str | Sequence[str]) -> Iterator[Features]:
    """Make a differentiable function from images to the outputs of layers.

    The forward pass ends behind the last of them, so an early layer costs little, and a head that wants another image
    size is no hindrance. Inside, the model is in eval mode and its parameters are constants.

    Args:
        model: any module, wrapped or not; it is left as it was.
        layers: names, each of one layer or of one call of it (``relu:1``), or ``"<output>"`` for the network's output.

    Returns:
        A function from images ``(N, ...)`` to ``{layer: output}``, each with its graph and out of reach of later
        in-place operations. Of a tuple, list or dict output the first tensor is taken.

    Raises:
        ValueError: a name matches no layer, or several.
        LayerNotReachedError: the function ran, and a layer never took part in it.
        TypeError: a layer returned no tensor.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(16, 10))
        >>> with forward_to(model, "1") as features:
        ...     features(torch.ones(2, 3, 9, 7))["1"].shape
        torch.Size([2, 4, 7, 5])
    """
    asked = [layers] if isinstance(layers, str) else list(layers)
    addresses = {name: name if name == OUTPUT else _one_layer(model, name) for name in asked}
    chosen = {name for name in addresses.values() if name != OUTPUT}
    stops = OUTPUT not in addresses.values()
    seen: dict[str, Tensor] = {}
    running = False

    def record(name: str, inputs: object, output: object) -> object:
        if name not in chosen or not running:  # the model may be called for itself, too
            return None
        seen[name] = _tensor(output, name)
        if stops and len(seen) == len(chosen):
            raise _Reached
        # The network goes on with a copy: an in-place operation must not reach the tensor that is handed out.
        return swap_first(output, seen[name].clone())

    watcher = CallWatcher(model, chosen, record)

    def features(images: Tensor) -> dict[str, Tensor]:
        nonlocal running
        seen.clear()
        running = True
        try:
            output = unwrap(model)(images)
        except _Reached:
            output = None
        finally:
            running = False
        if not stops:
            seen[OUTPUT] = _tensor(output, OUTPUT)
        watcher.check_reached(sorted(chosen), "layers", "forward_to")
        return {name: seen[address] for name, address in addresses.items()}

    with differentiable(model), watched_calls(watcher, model):
        yield features


def _one_layer(model: nn.Module, name: str) -> str:
    found = select_layers(model, name)
    if len(found) != 1:
        raise ValueError(message("layers", "forward_to", f"names of one layer each; this matches {len(found)}", name))
    return found[0]


def _tensor(output: object, name: str) -> Tensor:
    tensor = first_tensor(output)
    if tensor is None:
        raise TypeError(f"Layer {name!r} returned no tensor but {type(output).__name__}.")
    return tensor
