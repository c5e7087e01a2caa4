"""Re-run only the part of a network behind a layer."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lightning_interp._checks import message
from lightning_interp.exceptions import LayerNotReachedError
from lightning_interp.hooks.calls import not_reached
from lightning_interp.hooks.names import named_layers, split_address, unwrap
from lightning_interp.hooks.replace import replace
from lightning_interp.hooks.replay import Recording, Replay, forwards_wrapped
from lightning_interp.hooks.select import select_layers
from lightning_interp.hooks.state import eager, evaluating
from lightning_interp.hooks.tensors import first_tensor


class ResumedForward:
    """A recorded forward pass that continues from other activations of one layer; what :func:`resume` yields.

    Attributes:
        activation: the layer's output in the recorded pass, of the layer's shape ``(N, C, ...)``.
        output: the model's output in the recorded pass.
        resumed: whether only the part behind the layer runs (else the whole model, with the layer replaced).
    """

    def __init__(self, model: nn.Module, layer: str, inputs: Tensor | tuple[Any, ...]) -> None:
        self._model, self._layer = unwrap(model), layer
        self._inputs = inputs if isinstance(inputs, tuple) else (inputs,)
        self._recording, self.output = self._record()
        tensor = first_tensor(self._recording.chosen_output)
        if tensor is None:
            raise TypeError(f"Layer {layer!r} cannot be resumed from: it returned no tensor.")
        self.activation = tensor.clone()
        self.resumed = self._recording.can_resume() and self._verified()

    def __call__(self, activation: Tensor) -> Any:
        """The model's output for ``activation`` (of the recorded shape) in place of the layer's own output."""
        if activation.shape != self.activation.shape:
            must = f"a tensor of shape {tuple(self.activation.shape)}, as recorded at layer {self._layer!r}"
            raise ValueError(message("activation", "resume", must, activation))
        activation = activation.to(self.activation)
        if self.resumed:
            return self._tail(activation)
        with replace(self._model, {self._layer: lambda _: activation}):
            return self._forward()

    def _record(self) -> tuple[Recording, Any]:
        name, index = split_address(self._layer)
        layers = named_layers(self._model)
        recording = Recording(layers[name], index)
        with forwards_wrapped([self._model, *layers.values()], recording.wrap):
            output = self._forward()
        if recording.chosen is None:
            names = {module: name for name, module in layers.items()}
            ran = [names[call.module] for call in recording.calls if call.module in names]
            counts = {name: ran.count(name) for name in ran}
            raise LayerNotReachedError(not_reached(self._layer, counts, "layer", "resume"))
        return recording, output

    def _verified(self) -> bool:
        try:
            return _same(self._tail(self.activation), self.output)
        except Exception:  # whatever a network raises on NaN placeholders: then it cannot be resumed
            return False

    def _tail(self, activation: Tensor) -> Any:
        replay = Replay(self._recording, activation)
        with forwards_wrapped(replay.modules, replay.wrap):
            return self._forward()

    def _forward(self) -> Any:
        # Copies of the inputs, since some networks normalise them in place.
        inputs = [item.clone() if isinstance(item, Tensor) else item for item in self._inputs]
        with eager(self._model), evaluating(self._model):
            return self._model(*inputs)


@contextmanager
def resume(model: nn.Module, layer: str, inputs: Tensor | tuple[Any, ...]) -> Iterator[ResumedForward]:
    """Record one forward pass, then re-run only what comes behind ``layer``, from activations of your choice.

    Every module call that had returned when the layer did is skipped: it gives back its recorded output where a
    variable still holds that (skip connections), and otherwise NaNs. The recorded activation must reproduce the
    recorded output exactly; where it does not (an operation outside modules needs a value that is gone), the whole
    model runs with the layer replaced: slower, equally right. The passes run in eval mode and without gradients;
    ``replace`` and ``capture`` on later layers work inside and around the context.

    Args:
        model: any module, wrapped or not.
        layer: the name of one layer, or of one call of it (``relu:1``).
        inputs: the model's input ``(N, ...)``, or a tuple of its positional arguments.

    Returns:
        A :class:`ResumedForward` with the recorded ``activation`` and ``output``; call it with an activation.

    Raises:
        LayerNotReachedError: the layer did not run.
        TypeError: the layer returned no tensor.
        ValueError: ``layer`` is not exactly one layer, or an activation has another shape than the recorded one.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> with resume(model, "1", torch.ones(5, 4)) as run:
        ...     torch.equal(run(run.activation), run.output), run(torch.zeros(5, 3)).shape, run.resumed
        (True, torch.Size([5, 2]), True)

    Reference:
        Thesis, chapter 3: a compression curve runs the layers behind the compressed one once per K.
    """
    names = select_layers(model, layer)
    if len(names) != 1:
        raise ValueError(message("layer", "resume", f"one layer; this matches {len(names)}", layer))
    yield ResumedForward(model, names[0], inputs)


def _same(output: Any, recorded: Any) -> bool:
    if isinstance(recorded, Tensor):
        return isinstance(output, Tensor) and torch.equal(output, recorded)
    if isinstance(recorded, dict):
        return output.keys() == recorded.keys() and all(_same(output[key], recorded[key]) for key in recorded)
    if isinstance(recorded, tuple | list):
        return len(output) == len(recorded) and all(map(_same, output, recorded))
    return bool(output == recorded)
