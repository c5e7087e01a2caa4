"""Change the outputs of layers while a model runs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

from lightning_interp._checks import message
from lightning_interp.hooks.calls import CallWatcher, watched_calls
from lightning_interp.hooks.select import select_layers
from lightning_interp.hooks.tensors import first_tensor, swap_first


@contextmanager
def replace(model: nn.Module, functions: Mapping[str, Callable[[Tensor], Tensor]]) -> Iterator[None]:
    """Pass the outputs of layers through functions in the forward passes run inside the context.

    The network goes on with what the function returns, so layers further on see the change. Of a tuple, list or dict
    output the first tensor is passed. Compiled modules run eagerly.

    Args:
        model: any module, wrapped or not.
        functions: layer name -> function from the layer's output ``(N, C, ...)`` to a tensor of the same shape on the
            same device; the dtype is cast back to the layer's. ``relu`` is the first call of a layer in one forward
            pass, ``relu:1`` the second. A glob applies its function to every layer it matches.

    Raises:
        LayerNotReachedError: a forward pass ran, and one of the layers never took part in it.
        TypeError: an entry is no function, or it returned no tensor.
        ValueError: a name matches no layer, or a function changed the shape or the device.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
        >>> with replace(model, {"1": torch.zeros_like}):
        ...     model(torch.ones(1, 4))
        tensor([[0., 0., 0.]])
    """
    chosen: dict[str, Callable[[Tensor], Tensor]] = {}
    for pattern, function in functions.items():
        if not callable(function):
            raise TypeError(message(pattern, "replace", "a function from a tensor to a tensor", function))
        chosen.update(dict.fromkeys(select_layers(model, pattern), function))

    def apply(name: str, inputs: object, output: object) -> object:
        if name not in chosen:
            return None
        tensor = first_tensor(output)
        if tensor is None:
            raise TypeError(f"Layer {name!r} cannot be replaced: it returned no tensor but {type(output).__name__}.")
        return swap_first(output, _checked(chosen[name](tensor), tensor, name))

    watcher = CallWatcher(model, chosen, apply)
    with watched_calls(watcher, model):
        yield
    watcher.check_reached(chosen, "functions", "replace")


def _checked(new: object, old: Tensor, name: str) -> Tensor:
    must = f"a function that returns a tensor of shape {tuple(old.shape)} on {old.device}"
    if not isinstance(new, Tensor):
        raise TypeError(message(name, "replace", must, new))
    if new.shape != old.shape or new.device != old.device:
        raise ValueError(f"{message(name, 'replace', must, new)[:-1]} on {new.device}.")
    # A copy, unless it is the layer's own tensor: an in-place ReLU further on must not reach the caller's.
    return new.to(old.dtype, copy=new is not old)
