"""What is sampled: codes, the images they make, what neurons say to these, and how different they are."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from lightning_interp._checks import message
from lightning_interp.functional.inverse_set.generators import CodeGenerator
from lightning_interp.functional.synthesis.objectives import Objective
from lightning_interp.hooks import differentiable, forward_to

__all__ = ["Encoder", "Problem", "Seen", "check_differentiable", "problem"]

Encoder: TypeAlias = str | Callable[[Tensor], Tensor]
_OWNER = "sample_inverse_set"


@dataclass(frozen=True)
class Seen:
    """One pass over some codes.

    Attributes:
        images: ``(K, C, H, W)``.
        activations: What the neurons say, ``(K, p)``.
        features: By which distances are measured, ``(K, D)``.
    """

    images: Tensor
    activations: Tensor
    features: Tensor


@dataclass(frozen=True)
class Problem:
    """Neurons, their intervals, and how images come from codes.

    Attributes:
        look: From codes to what is seen.
        encode: From images to features of any shape.
        low: Of each neuron's interval, ``(p,)``.
        high: ``(p,)``.
        generator: From codes to images.
        bounds: Lowest and highest numbers of a code, or None.
    """

    look: Callable[[Tensor], Seen]
    encode: Callable[[Tensor], Tensor]
    low: Tensor
    high: Tensor
    generator: CodeGenerator
    bounds: tuple[Tensor, Tensor] | None

    def place(self, activations: Tensor) -> Tensor:
        """Where activations ``(K, p)`` are in their intervals: 0 at the lower end, 1 at the upper."""
        return (activations - self.low) / (self.high - self.low)

    def feasible(self, activations: Tensor, *, slack: float = 0.0) -> Tensor:
        """Which images have all activations inside, ``slack`` of the width away from both ends or right on them."""
        place = self.place(activations)
        low, high = activations == self.low, activations == self.high  # a ReLU that is off is just at 0
        return (((place >= slack) | low) & ((place <= 1 - slack) | high)).all(1)

    def restrict(self, codes: Tensor) -> Tensor:
        """Codes within their bounds."""
        return codes if self.bounds is None else codes.clamp(*self.bounds)


@contextmanager
def problem(
    model: nn.Module,
    objectives: Sequence[Objective],
    intervals: Tensor,
    generator: CodeGenerator,
    encoder: Encoder,
    *,
    bounds: tuple[float | Tensor, float | Tensor] | None = None,
) -> Iterator[Problem]:
    """Hold everything in eval mode, with constant parameters, as long as samples are taken.

    Args:
        model: The network of the neurons.
        objectives: The neurons.
        intervals: ``(p, 2)``.
        generator: From codes to images.
        encoder: Layer of ``model``, or a function from images to features.
        bounds: Of the numbers of a code.

    Returns:
        The problem.
    """
    layers = {layer for objective in objectives for layer in objective.layers}
    inner = {encoder} if isinstance(encoder, str) else set()
    modules = [network for network in (generator.network, encoder) if isinstance(network, nn.Module)]
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    with ExitStack() as stack:
        run = stack.enter_context(forward_to(model, sorted(layers | inner)))
        for module in modules:
            stack.enter_context(differentiable(module))

        def look(codes: Tensor) -> Seen:
            images = generator(codes)
            seen = _run(run, images)
            activations = torch.stack([objective(seen) for objective in objectives], 1).float()
            features = seen[encoder] if isinstance(encoder, str) else encoder(images)
            return Seen(images, activations, features.flatten(1).float())

        def encode(images: Tensor) -> Tensor:
            return run(images)[encoder] if isinstance(encoder, str) else encoder(images)

        limits = None
        if bounds is not None:
            limits = torch.as_tensor(bounds[0]).to(device), torch.as_tensor(bounds[1]).to(device)
        low, high = intervals.to(device).unbind(1)
        yield Problem(look, encode, low, high, generator, limits)


def check_differentiable(found: Problem, codes: Tensor, encoder: Encoder) -> None:
    """Refuse an encoder that does not tell how features change with codes."""
    codes = codes.detach().clone().requires_grad_()
    features = found.look(codes).features
    name = repr(encoder) if isinstance(encoder, str) else type(encoder).__name__
    if features.requires_grad:
        # of a sum of squares the gradient is zero only where nothing depends on the codes, or all features are
        (gradient,) = torch.autograd.grad(features.square().sum(), codes, allow_unused=True)
        if gradient is not None and (bool(gradient.any()) or not bool(features.any())):
            return
    must = f"a layer whose output can be differentiated; that of {name} tells nothing about the image"
    raise ValueError(message("encoder", _OWNER, must, encoder))


def _run(run: Callable[[Tensor], dict[str, Tensor]], images: Tensor) -> dict[str, Tensor]:
    try:
        return run(images)
    except RuntimeError as error:
        must = f"one whose images the network takes; it makes {tuple(images.shape[1:])} and the network says: {error}"
        raise ValueError(message("generator", _OWNER, must, images)) from error
