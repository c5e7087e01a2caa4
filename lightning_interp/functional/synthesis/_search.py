"""The state of an ascent: where it is, what was best, and the gradient of the next step."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch
from torch import Generator, Tensor

from lightning_interp._checks import message
from lightning_interp.functional.synthesis._scores import Activations
from lightning_interp.functional.synthesis.autograd_graph import rectifier_rule
from lightning_interp.functional.synthesis.image_params import ImageParameters, PixelImages
from lightning_interp.functional.synthesis.objectives import Objective
from lightning_interp.functional.synthesis.regularizers import Regularizer
from lightning_interp.hooks import Features

_WAKING = 1e-3  # small, or Adam would remember it and stall when the true gradients come
Stopped: TypeAlias = Literal["steps", "threshold", "interrupted", "not finite"]


@dataclass
class Search:
    """The state of one ascent."""

    objectives: Sequence[Objective]
    parameters: ImageParameters
    regularizers: Sequence[Regularizer]
    generator: Generator
    threshold: float | None
    owner: str
    dtype: torch.dtype
    adaptive: bool  # whether the optimizer divides by the size of past gradients
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
            self.gradient, silent = _gradient(scores, images, _WAKING if self.adaptive else None)
            leaf = self.parameters.values
            outputs, signals = [images], [self.gradient]
            if penalties.requires_grad:
                # Penalties wait until an image has woken up: they would outweigh what is to wake it.
                outputs, signals = [*outputs, penalties], [*signals, -(~silent).to(penalties)]
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
                raise ValueError(_refusal(self.objectives, totals, self.owner))
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


def _gradient(scores: Tensor, images: Tensor, waking: float | None) -> tuple[Tensor, Tensor]:
    """Of the objectives in the images, and which of them ReLUs let nothing through to.

    There it is that of leaky ReLUs, with length ``waking`` if given.
    """
    total = scores.sum()
    if not total.requires_grad:
        raise ValueError(
            "No gradient flows from the objective to the images: the model detaches them or computes under "
            "torch.no_grad(). Take that out, or choose a layer in front of it."
        )
    (gradient,) = torch.autograd.grad(total, images, retain_graph=True)
    silent = (gradient.flatten(1) == 0).all(1)
    if bool(silent.any()):
        with rectifier_rule(total, "leaky", inputs=images):
            (rescued,) = torch.autograd.grad(total, images, retain_graph=True)
        if waking is not None:
            lengths = rescued.flatten(1).norm(dim=1).clamp(min=torch.finfo(rescued.dtype).tiny)
            rescued = waking * rescued / lengths.view(-1, *[1] * (images.ndim - 1))
        gradient = torch.where(silent.view(-1, *[1] * (images.ndim - 1)), rescued, gradient)
    return gradient, silent


def _refusal(objectives: Sequence[Objective], totals: Tensor, owner: str) -> str:
    row = int((~totals.isfinite()).nonzero()[0])
    name = objectives[row if len(objectives) > 1 else 0].name
    must = f"finite at the start: look for NaN in weights and start images; {name!r} is not on image {row}"
    return message("objectives", owner, must, float(totals[row]))
