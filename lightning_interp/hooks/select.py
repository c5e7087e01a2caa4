"""Choose layers by name, glob, type or predicate, or by their place in the network."""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

from torch import nn

from lightning_interp._checks import message, suggestion
from lightning_interp.hooks.composites import composites
from lightning_interp.hooks.last_block import last_block
from lightning_interp.hooks.names import address, aliases, named_layers, split_address, without_wrappers
from lightning_interp.hooks.trace import Trace, trace_forward

_One: TypeAlias = str | type[nn.Module] | Callable[[str, nn.Module], bool]
LayerSpec: TypeAlias = _One | Sequence[_One]

_PLACES = {"last_block": last_block, "composites": composites}  # found by following a forward pass


def select_layers(model: nn.Module, layers: LayerSpec, *, example_input: Any = None) -> list[str]:
    """Names of the chosen layers in network order, without duplicates.

    Names are those of the original model: ``DataParallel``, ``DDP``, ``FSDP`` and ``torch.compile`` are seen through,
    and their prefixes in given names are dropped. The second call of a layer in one forward pass is ``relu:1``.

    Args:
        model: any module, wrapped or not.
        layers: ``"last_block"``, ``"composites"``, a name or glob (``"features.2[0-9]"``), a module type, a function of
            ``(name, module)``, or a list of those. ``"last_block"`` are the feature maps of the last run of
            convolutions at the lowest resolution, each after its norm, dropout and activation; for a network without
            convolutions, the hidden linear layers. Where some of them end in an activation, only those are meant: the
            others are signed shortcuts or projections. See :func:`~lightning_interp.hooks.last_block.last_block`.
            ``"composites"`` are all convolutions and linear layers, each after its norm, activation and pooling.
        example_input: a batch ``(N, ...)``, or the arguments of ``forward`` as a tuple or dict. With it, the order is
            that of the forward pass instead of ``named_modules``. ``"last_block"`` and ``"composites"`` need a forward
            pass; without ``example_input`` they use ``model.example_input_array`` or guess an input.

    Returns:
        Layer names for :func:`capture`, :func:`replace`, :func:`collect` and :func:`resume`.

    Raises:
        ValueError: nothing matched, or no input is known that runs through the model.
        TypeError: ``layers`` is none of the above.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 10))
        >>> select_layers(model, ["[01]", nn.Flatten])
        ['0', '1', '2']

    Reference:
        Thesis, chapter 3: compression acts on the last convolutional block in network order.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(message("model", "select_layers", "an nn.Module", model))
    specs = list(layers) if isinstance(layers, Sequence) and not isinstance(layers, str) else [layers]
    if not specs:
        raise ValueError(message("layers", "select_layers", "at least one layer", layers))
    traced = example_input is not None or any(isinstance(spec, str) and spec in _PLACES for spec in specs)
    trace = trace_forward(model, example_input) if traced else None
    modules, known = named_layers(model), aliases(model)
    chosen: set[str] = set()
    for spec in specs:
        place = _PLACES.get(spec) if isinstance(spec, str) else None
        found = place(trace) if trace and place else _matches(spec, modules, known)
        if not found:
            some = ", ".join(repr(name) for name in list(modules)[:6]) or "none"
            must = f"something that matches a layer of {type(model).__name__}"
            text = message("layers", "select_layers", must, spec)
            raise ValueError(f"{text}{suggestion(spec, modules)} Its first layers: {some}.")
        chosen.update(found)
    return sorted(chosen, key=_network_order(modules, trace))


def _matches(spec: object, modules: dict[str, nn.Module], known: dict[str, str]) -> list[str]:
    if isinstance(spec, str):
        return _by_name(spec, known) or _by_name(without_wrappers(spec), known)
    if isinstance(spec, type):
        return [name for name, module in modules.items() if isinstance(module, spec)]
    if callable(spec) and not isinstance(spec, nn.Module):
        return [name for name, module in modules.items() if spec(name, module)]
    must = "'last_block', 'composites', a name, a glob, a module type, a function of (name, module), or a list of those"
    raise TypeError(message("layers", "select_layers", must, spec))


def _by_name(pattern: str, known: dict[str, str]) -> list[str]:
    """The layer of that name or alias, else those that match it as a glob; ``:1`` chooses the call."""
    base, index = split_address(pattern)
    paths = [base] if base in known else [path for path in known if fnmatchcase(path, base)]
    return [address(known[path], index) for path in paths]


def _network_order(modules: dict[str, nn.Module], trace: Trace | None) -> Callable[[str], tuple[int, int, int]]:
    forward = {call.name: position for position, call in enumerate(trace.calls)} if trace else {}
    listed = {name: position for position, name in enumerate(modules)}

    def key(name: str) -> tuple[int, int, int]:
        base, index = split_address(name)
        return forward.get(name, len(forward)), listed[base], index

    return key
