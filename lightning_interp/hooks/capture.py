"""Read the outputs of layers while a model runs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

from lightning_interp._checks import suggestion
from lightning_interp.hooks.calls import CallWatcher, watched_calls
from lightning_interp.hooks.names import address, split_address, without_wrappers
from lightning_interp.hooks.select import LayerSpec, select_layers
from lightning_interp.hooks.tensors import first_tensor, swap_first


class Activations(Mapping[str, Tensor]):
    """What :func:`capture` yields: layer name -> output in the last forward pass."""

    def __init__(self) -> None:
        self._tensors: dict[str, Tensor] = {}
        self._ran = False

    def __getitem__(self, name: str) -> Tensor:
        for key in (name, address(*split_address(without_wrappers(name)))):
            if key in self._tensors:
                return self._tensors[key]
        if not self._ran:
            raise RuntimeError(f"No activation of {name!r} yet: run the model inside `with capture(...)` first.")
        known = ", ".join(repr(layer) for layer in self._tensors) or "none"
        raise KeyError(
            f"{name!r} was not captured in the last forward pass; captured: {known}.{suggestion(name, self)}"
        )

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def _forget(self, names: list[str]) -> None:
        self._ran = True
        stale = set(names)
        self._tensors = {key: value for key, value in self._tensors.items() if split_address(key)[0] not in stale}


@contextmanager
def capture(model: nn.Module, layers: LayerSpec, *, detach: bool = True) -> Iterator[Activations]:
    """Record the outputs of layers in the forward passes run inside the context.

    A layer that runs several times in one forward pass is recorded as ``relu``, ``relu:1``, ...; ask for ``relu:1`` to
    get that call alone. Of a tuple, list or dict output the first tensor is taken. Compiled modules run eagerly.

    Args:
        model: any module, wrapped or not.
        layers: as in :func:`select_layers`.
        detach: ``False`` keeps the graph, so that outputs can be differentiated with respect to the activations.

    Returns:
        A mapping from layer name to the tensor of the last forward pass, of the layer's shape ``(N, C, ...)``. Later
        in-place operations (``ReLU(inplace=True)``) do not reach it. It stays valid after the context.

    Raises:
        LayerNotReachedError: a forward pass ran, and a selected layer never took part in it.
        TypeError: a selected layer returned no tensor.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(inplace=True))
        >>> with capture(model, nn.Linear) as activations:
        ...     output = model(torch.ones(2, 4))
        >>> torch.equal(activations["0"].relu(), output)
        True
    """
    chosen = set(select_layers(model, layers))
    activations = Activations()

    def record(name: str, inputs: object, output: object) -> object:
        if name not in chosen and split_address(name)[0] not in chosen:
            return None
        tensor = first_tensor(output)
        if tensor is None:
            raise TypeError(f"Layer {name!r} cannot be captured: it returned no tensor but {type(output).__name__}.")
        if detach:
            activations._tensors[name] = tensor.detach().clone()
            return None
        # The network goes on with the copy: the recorded tensor stays in its graph and out of reach of in-place ops.
        activations._tensors[name] = tensor
        return swap_first(output, tensor.clone())

    watcher = CallWatcher(model, chosen, record, activations._forget)
    with watched_calls(watcher, model):
        yield activations
    watcher.check_reached(sorted(chosen), "layers", "capture")
