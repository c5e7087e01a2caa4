"""Number the calls of layers within a forward pass: the shared engine of ``capture``, ``replace`` and tracing."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

from lightning_interp._checks import message, suggestion
from lightning_interp.exceptions import LayerNotReachedError
from lightning_interp.hooks.names import address, aliases, named_layers, split_address, unwrap
from lightning_interp.hooks.state import eager

OnCall = Callable[[str, Any, Any], Any]  # (address, inputs, output) -> new output, or None to leave it
OnStart = Callable[[list[str]], None]  # (names of the watched layers inside the module that starts)


class CallWatcher:
    """Counts the calls of layers within one forward pass and reports each to ``on_call`` when it returns.

    A forward pass is the outermost call of any module around a watched layer, and counts anew what is inside that
    module. So a training step that never calls the model as a whole, only ``self.encoder(x)`` and ``self.head(z)``,
    works too.
    """

    def __init__(
        self, model: nn.Module, addresses: Iterable[str], on_call: OnCall, on_start: OnStart | None = None
    ) -> None:
        self.names = {module: name for name, module in named_layers(model).items()}
        self.watched = {split_address(name)[0] for name in addresses}
        self.around = _around(model, self.watched)
        self.on_call, self.on_start = on_call, on_start
        self.started: set[nn.Module] = set()
        self.most: dict[str, int] = {}  # the largest number of calls of each watched layer in any forward pass
        self._counts: dict[str, int] = {}
        self._depth = 0

    def note(self, module: nn.Module, inputs: Any) -> None:
        """Forward pre-hook of every module: remembers what ran, for the error about what did not."""
        self.started.add(module)

    def enter(self, module: nn.Module, inputs: Any) -> None:
        """Forward pre-hook of the modules around watched layers, and of those."""
        if not self._depth:
            inside = [self.names[layer] for layer in module.modules() if self.names.get(layer) in self.watched]
            for name in inside:
                self._counts.pop(name, None)
            if self.on_start is not None:
                self.on_start(inside)
        self._depth += 1

    def returned(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        """Forward hook of watched layers."""
        name = self.names[module]
        index = self._counts.get(name, 0)
        self._counts[name] = index + 1
        self.most[name] = max(self.most.get(name, 0), index + 1)
        return self.on_call(address(name, index), (*args, *kwargs.values()), output)

    def leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        """Forward hook of the same modules as ``enter``, run after exceptions too."""
        self._depth -= 1

    def check_reached(self, addresses: Iterable[str], parameter: str, owner: str) -> None:
        """Raise when a forward pass ran and one of ``addresses`` never took part in it."""
        missing = [name for name in addresses if split_address(name)[1] >= self.most.get(split_address(name)[0], 0)]
        if self.started and missing:
            ran = {name: self.most.get(name, 1) for module, name in self.names.items() if module in self.started}
            raise LayerNotReachedError(not_reached(missing[0], ran, parameter, owner))


@contextmanager
def watched_calls(watcher: CallWatcher, model: nn.Module) -> Iterator[None]:
    """Hook ``model`` to ``watcher``, with its compiled parts run eagerly; undone on exit."""
    with ExitStack() as stack:
        stack.enter_context(eager(model))
        for module in [unwrap(model), *watcher.names]:
            stack.callback(module.register_forward_pre_hook(watcher.note).remove)
            if module in watcher.around:
                stack.callback(module.register_forward_pre_hook(watcher.enter, prepend=True).remove)
            if watcher.names.get(module) in watcher.watched:
                stack.callback(module.register_forward_hook(watcher.returned, with_kwargs=True).remove)
            if module in watcher.around:
                # always_call: the depth stays right when a forward raises and the user catches it.
                stack.callback(module.register_forward_hook(watcher.leave, always_call=True).remove)
        yield


def _around(model: nn.Module, watched: set[str]) -> set[nn.Module]:
    """The watched layers and every module they are in."""
    layers, known = named_layers(model), aliases(model)
    around = {unwrap(model)}
    for path in (path for path, name in known.items() if name in watched):
        parts = path.split(".")
        around.update(layers[known[".".join(parts[:end])]] for end in range(1, len(parts) + 1))
    return around


def not_reached(missing: str, ran: dict[str, int], parameter: str, owner: str) -> str:
    """The message about a layer that did not run: what did (with its number of calls), and why a layer may not."""
    text = message(parameter, owner, "layers that run in the forward pass", missing)
    name = split_address(missing)[0]
    if name in ran:
        return f"{text} Its calls in one forward pass: {', '.join(repr(address(name, i)) for i in range(ran[name]))}."
    some = ", ".join(repr(layer) for layer in list(ran)[:6]) or "none"
    return (
        f"{text} It did not run.{suggestion(name, ran)} Layers that ran: {some}{', ...' if len(ran) > 6 else ''}."
        " A layer whose weights are used without calling it cannot be hooked: choose the module around it."
    )
