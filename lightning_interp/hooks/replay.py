"""Record a forward pass call by call, and run it again from the middle: the engine of ``resume``."""

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lightning_interp.hooks.tensors import first_tensor, swap_first

Forward = Callable[..., Any]


@contextmanager
def forwards_wrapped(modules: Iterable[nn.Module], wrap: Callable[[nn.Module, Forward], Forward]) -> Iterator[None]:
    """Give module instances a wrapped ``forward``; hooks around it stay in use. Undone on exit."""
    own = {module: vars(module).get("forward") for module in modules}
    try:
        for module in own:
            vars(module)["forward"] = wrap(module, module.forward)
        yield
    finally:
        for module, forward in own.items():
            vars(module).pop("forward", None)
            if forward is not None:
                vars(module)["forward"] = forward


@dataclass(eq=False)
class RecordedCall:
    """One module call: ``after`` is the position of the first call that is not nested in it."""

    module: nn.Module
    after: int = 0
    reference: Callable[[], Any] = lambda: None  # the output, for as long as somebody else needs it
    placeholder: Any = None
    skippable: bool = False
    output: Callable[[], Any] = lambda: None  # what it returns when it is skipped


class Recording:
    """The calls of one forward pass in the order in which they start, up to and after the chosen call of a layer."""

    def __init__(self, layer: nn.Module, index: int) -> None:
        self.calls: list[RecordedCall] = []
        self.chosen: RecordedCall | None = None
        self.chosen_output: Any = None
        self._layer, self._index = layer, index

    def wrap(self, module: nn.Module, forward: Forward) -> Forward:
        """A forward that also notes the call."""

        def recorded(*args: Any, **kwargs: Any) -> Any:
            call = RecordedCall(module)
            self.calls.append(call)
            output = forward(*args, **kwargs)
            call.after = len(self.calls)
            if self.chosen is None:
                _remember(call, output)
                if module is self._layer:
                    self._index -= 1
                    if self._index < 0:
                        self._choose(call, output)
            return output

        return recorded

    def _choose(self, chosen: RecordedCall, output: Any) -> None:
        self.chosen = chosen
        self.chosen_output = (
            swap_first(output, tensor.clone()) if (tensor := first_tensor(output)) is not None else output
        )
        # Only outputs that some variable still holds can be needed further on (skip connections, lists of features).
        clones: dict[int, Tensor] = {}
        for call in self.calls:
            if call.after and call is not chosen:
                call.skippable = True
                call.output = _kept(call.reference(), call.placeholder, clones)
                call.reference = lambda: None

    def can_resume(self) -> bool:
        """Whether skipping keeps the numbering of calls: no layer runs both inside a skipped module and later on."""
        hidden: set[nn.Module] = set()
        visible: set[nn.Module] = set()
        position = 0
        while position < len(self.calls):
            call = self.calls[position]
            visible.add(call.module)
            end = call.after if call.skippable or call is self.chosen else position + 1
            hidden.update(nested.module for nested in self.calls[position + 1 : end])
            position = end
        return self.chosen is not None and hidden.isdisjoint(visible)


def _remember(call: RecordedCall, output: Any) -> None:
    if isinstance(output, Tensor) and (output.is_floating_point() or output.is_complex()):
        call.reference = weakref.ref(output)
        # One NaN seen as the whole shape: costs no memory, and shows wherever a dead value is used after all.
        call.placeholder = output.new_full((), torch.nan).expand(output.shape)
    else:  # rare: tuples, integers
        call.reference = lambda: output


def _kept(output: Any, placeholder: Any, clones: dict[int, Tensor]) -> Callable[[], Any]:
    if output is None:
        return lambda: placeholder
    if not isinstance(output, Tensor):
        return lambda: output
    # Cloned now and at every use, since the rest of the network may change it in place.
    return clones.setdefault(id(output), output.clone()).clone


class Replay:
    """Runs a recorded forward pass again, where every call that returned before the chosen one is skipped."""

    def __init__(self, recording: Recording, activation: Tensor) -> None:
        self.recording, self.activation = recording, activation
        before = next(i for i, call in enumerate(recording.calls) if call is recording.chosen)
        self.modules = {call.module for call in recording.calls[: before + 1]}
        self._position = 0
        self._done = False

    def wrap(self, module: nn.Module, forward: Forward) -> Forward:
        """A forward that runs only behind the chosen call."""

        def replayed(*args: Any, **kwargs: Any) -> Any:
            if self._done:
                return forward(*args, **kwargs)
            call = self.recording.calls[self._position]
            if call.module is not module:
                raise RuntimeError("The forward pass took another path than the recorded one.")
            if call is self.recording.chosen:
                self._done = True
                # A copy, since the network may change it in place.
                return swap_first(self.recording.chosen_output, self.activation.clone())
            if call.skippable:
                self._position = call.after
                return call.output()
            self._position += 1
            return forward(*args, **kwargs)

        return replayed
