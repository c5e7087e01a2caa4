"""Gradient ascent on images: one loop for maximisation, inversion, fooling and style transfer."""

import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Generator, Tensor, nn

from lightning_interp._checks import check_choice, check_int, check_number, message
from lightning_interp.exceptions import ConvergenceWarning
from lightning_interp.functional.synthesis.autograd_graph import rectifier_rule
from lightning_interp.functional.synthesis.image_params import ImageParameters, PixelImages
from lightning_interp.functional.synthesis.objectives import Activations, Objective
from lightning_interp.functional.synthesis.regularizers import Regularizer
from lightning_interp.hooks import Features, differentiable, forward_to

__all__ = ["Ascent", "OptimizerName", "Stopped", "ascend"]

OptimizerName: TypeAlias = Literal["adam", "sgd", "lbfgs"]
Stopped: TypeAlias = Literal["steps", "threshold", "interrupted", "not finite"]


@dataclass(frozen=True)
class Ascent:
    """What :func:`ascend` found.

    Attributes:
        images: The best iterate of each image, ``(N, C, H, W)`` as the network takes them.
        scores: Its objective, without penalties, ``(N,)``.
        trace: The objective at the start and after each step, ``(T, N)``.
        stopped: Why it ended: ``"steps"``, ``"threshold"``, ``"interrupted"`` or ``"not finite"``.
    """

    images: Tensor
    scores: Tensor
    trace: Tensor
    stopped: Stopped


def ascend(
    model: nn.Module,
    objectives: Objective | Sequence[Objective],
    parameters: ImageParameters,
    *,
    regularizers: Sequence[Regularizer] = (),
    steps: int = 256,
    lr: float = 0.05,
    optimizer: OptimizerName = "adam",
    threshold: float | None = None,
    generator: Generator | None = None,
    owner: str = "ascend",
) -> Ascent:
    """Change images until their objectives are as large as they get.

    Where no gradient reaches an image because every ReLU on the way is off, the signal goes through them as if they
    were linear, until they wake up. Ctrl-C ends the loop and keeps the images.

    Args:
        model: A network; it runs in eval mode up to the last layer needed and is left as it was.
        objectives: One for all images, or one for each.
        parameters: The images, and what is optimised in their place. Its values are changed.
        regularizers: See :mod:`lightning_interp.functional.synthesis.regularizers`.
        steps: Steps at most.
        lr: Learning rate.
        optimizer: ``"adam"``, ``"sgd"`` (plain gradient ascent) or ``"lbfgs"``, for which all images are one problem.
        threshold: An image is finished once its objective reaches this.
        generator: Source of random views.
        owner: Function named in errors.

    Returns:
        The best image of each, by objective minus penalties, and the trace.

    Raises:
        ValueError: An option is out of range, or the objective is not finite at the start.
        TypeError: An argument is of another type.

    Example:
        >>> from lightning_interp.functional.synthesis.objectives import channel
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.ReLU())
        >>> found = ascend(net, channel("1", 0), PixelImages(torch.zeros(1, 1, 5, 5)), steps=9)
        >>> bool(found.trace[-1] > found.trace[0]), found.stopped
        (True, 'steps')
    """
    check_int(steps, "steps", owner)
    check_number(lr, "lr", owner)
    check_choice(optimizer, "optimizer", owner, get_args(OptimizerName))
    several = [objectives] if isinstance(objectives, Objective) else list(objectives)
    _check(several, parameters, regularizers, owner)
    layers = list(dict.fromkeys(layer for objective in several for layer in objective.layers))
    generator = generator or Generator().manual_seed(0)
    dtype = next((parameter.dtype for parameter in model.parameters()), torch.float32)
    search = _Search(several, parameters, regularizers, generator, threshold, owner, dtype)
    stopped: Stopped = "steps"
    with ExitStack() as stack:
        features = stack.enter_context(forward_to(model, layers))
        for module in parameters.modules:
            stack.enter_context(differentiable(module))
        try:
            stopped = search.run(features, steps, _optimizer(optimizer, parameters, lr))
        except KeyboardInterrupt:
            if not search.trace:
                raise
            stopped = "interrupted"
    if stopped == "not finite":
        text = f"The objective of `{owner}` was not finite after {len(search.trace)} steps: the best images before are"
        warnings.warn(f"{text} returned. Lower `lr` (it is {lr:g}).", ConvergenceWarning, stacklevel=3)
    return Ascent(search.best, search.scores, torch.stack(search.trace), stopped)


@dataclass
class _Search:
    """The state of one ascent."""

    objectives: Sequence[Objective]
    parameters: ImageParameters
    regularizers: Sequence[Regularizer]
    generator: Generator
    threshold: float | None
    owner: str
    dtype: torch.dtype
    trace: list[Tensor] = field(default_factory=list)
    best: Tensor = field(default_factory=lambda: torch.empty(0))
    scores: Tensor = field(default_factory=lambda: torch.empty(0))
    _totals: Tensor = field(default_factory=lambda: torch.empty(0))
    _finite: bool = True

    def run(self, features: Features, steps: int, optimizer: torch.optim.Optimizer) -> Stopped:
        for step in range(steps):
            before = len(self.trace)
            optimizer.step(lambda: self._evaluate(features))
            del self.trace[before + 1 :]  # a line search tries several points in a step
            if not self._finite:
                return "not finite"
            if self._all_reached():
                return "threshold"
            self._edit(step)
        self._evaluate(features, last=True)
        return "threshold" if self._all_reached() else "steps"

    def _evaluate(self, features: Features, *, last: bool = False) -> float:
        """Minus the total, with its gradient in ``values.grad``: optimizers descend."""
        images = self.parameters()
        seen = images
        for regularizer in self.regularizers:
            seen = regularizer.view(seen, self.generator)
        scores = _scores(self.objectives, features(seen.to(self.dtype))).float()
        penalties = self._penalties(images)
        totals = (scores - penalties).detach()
        self._remember(images.detach(), scores.detach(), totals)
        if self._finite and not last:
            self.gradient = _gradient(scores, images)
            leaf = self.parameters.values
            outputs, signals = [images], [self.gradient]
            if penalties.requires_grad:
                outputs, signals = [*outputs, penalties], [*signals, -torch.ones_like(penalties)]
            (ascent,) = torch.autograd.grad(outputs, [leaf], signals)
            leaf.grad = -ascent
        return -float(totals.sum())

    def _penalties(self, images: Tensor) -> Tensor:
        total = torch.zeros(len(images), device=images.device)
        for regularizer in self.regularizers:
            total = total + regularizer.penalty(images)
        own = self.parameters.penalty()
        return total if own is None else total + own

    def _remember(self, images: Tensor, scores: Tensor, totals: Tensor) -> None:
        self._finite = bool(totals.isfinite().all())
        if not self.trace:
            if not self._finite:
                raise ValueError(_not_finite(self.objectives, totals, self.owner))
            self.best, self.scores, self._totals = images.clone(), scores.clone(), totals.clone()
        elif self._finite:
            better = totals > self._totals
            if self.threshold is not None:
                better = (better | (scores >= self.threshold)) & (self.scores < self.threshold)  # finished ones stay
            self.best = torch.where(better.view(-1, *[1] * (images.ndim - 1)), images, self.best)
            self.scores = torch.where(better, scores, self.scores)
            self._totals = torch.where(better, totals, self._totals)
        if self._finite:
            self.trace.append(scores.clone())

    def _all_reached(self) -> bool:
        return self.threshold is not None and bool((self.scores >= self.threshold).all())

    def _edit(self, step: int) -> None:
        if isinstance(self.parameters, PixelImages):
            images = self.parameters.values.detach()
            for regularizer in self.regularizers:
                images = regularizer.edit(images, self.gradient, step)
            with torch.no_grad():
                self.parameters.values.copy_(images)
        self.parameters.restrict()


def _scores(objectives: Sequence[Objective], seen: Activations) -> Tensor:
    """``(N,)``; several objectives are about one image each."""
    if len(objectives) == 1:
        return objectives[0](seen)
    rows = [{layer: values[i : i + 1] for layer, values in seen.items()} for i in range(len(objectives))]
    return torch.cat([objective(row) for objective, row in zip(objectives, rows, strict=True)])


def _gradient(scores: Tensor, images: Tensor) -> Tensor:
    """Of the objectives in the images, rescued where ReLUs let nothing through."""
    total = scores.sum()
    if not total.requires_grad:
        raise ValueError(
            "No gradient flows from the objective to the images: the model detaches them or computes under "
            "torch.no_grad(). Take that out, or choose a layer in front of it."
        )
    (gradient,) = torch.autograd.grad(total, images, retain_graph=True)
    silent = (gradient.flatten(1) == 0).all(1)
    if bool(silent.any()):
        with rectifier_rule(total, "linear", inputs=images):
            (rescued,) = torch.autograd.grad(total, images, retain_graph=True)
        gradient = torch.where(silent.view(-1, *[1] * (images.ndim - 1)), rescued, gradient)
    return gradient


def _optimizer(name: str, parameters: ImageParameters, lr: float) -> torch.optim.Optimizer:
    leaves = [parameters.values]
    if name == "lbfgs":
        return torch.optim.LBFGS(leaves, lr=lr, max_iter=1, max_eval=20, line_search_fn="strong_wolfe")
    kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}
    return kinds[name](leaves, lr=lr)


def _check(objectives: Sequence[Any], parameters: Any, regularizers: Sequence[Any], owner: str) -> None:
    expected = (
        ("objectives", objectives, Objective, "objectives, such as channel(layer, index)"),
        ("parameters", [parameters], ImageParameters, "image parameters, such as PixelImages(start)"),
        ("regularizers", regularizers, Regularizer, "regularizers, such as TotalVariation()"),
    )
    for name, values, kind, must in expected:
        for wrong in (value for value in values if not isinstance(value, kind)):
            raise TypeError(message(name, owner, must, wrong))
    if len(objectives) not in (1, len(parameters.values)):
        must = f"one for all images or one for each of {len(parameters.values)}"
        raise ValueError(message("objectives", owner, must, f"{len(objectives)} objectives"))
    if not isinstance(parameters, PixelImages):
        for regularizer in (each for each in regularizers if each.edits):
            must = "without edits of pixels unless the parameters are pixels (parameters='pixel')"
            raise ValueError(message("regularizers", owner, must, regularizer))


def _not_finite(objectives: Sequence[Objective], totals: Tensor, owner: str) -> str:
    row = int((~totals.isfinite()).nonzero()[0])
    name = objectives[row if len(objectives) > 1 else 0].name
    must = f"finite at the start: look for NaN in weights and start images; {name!r} is not on image {row}"
    return message("objectives", owner, must, float(totals[row]))
