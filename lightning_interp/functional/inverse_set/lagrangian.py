"""The augmented Lagrangian: images that differ, held in intervals from both sides."""

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from lightning_interp.functional.inverse_set.problem import Problem, Seen

__all__ = ["Lagrangian", "Repulsion", "mean_squared_distance"]

Repulsion: TypeAlias = Literal["encoder", "codes"] | None


@dataclass
class Lagrangian:
    """What a gradient step lowers: minus the squared distances between features, plus what is owed to the constraints.

    Distances are divided by ``scale`` and activations by the width of their interval, so that the numbers of the paper
    suit any network.

    Args:
        problem: What is sampled.
        repulsion: Distances are between features of the encoder (eq. 6) or between codes (eq. 14), or do not count
            (eq. 15).
        multipliers: One for each code and side of an interval, ``(K, 2 p)``, not negative.
        mu: Weight of squared violations.
        scale: Squared distance that counts as 1.
        batch_size: Codes that are differentiated at once.

    Reference:
        Hada and Carreira-Perpinan, section 3.4, equations 9 and 11; both sides instead of one.
    """

    problem: Problem
    repulsion: Repulsion
    multipliers: Tensor
    mu: float
    scale: float
    batch_size: int

    def slacks(self, activations: Tensor) -> Tensor:
        """How far activations ``(K, p)`` are above and below the middle, in widths of their intervals, ``(K, 2 p)``.

        Constraints begin in the middle, not at the ends, so that seeds get well inside (eps0 = eps / 2 in the paper).
        """
        place = self.problem.place(activations)
        return torch.cat([place, 1 - place], 1) - 0.5

    def owed(self, activations: Tensor) -> Tensor:
        """Constraint terms, ``(K,)``, with the slack variables put in: ``s = max(0, g - multiplier / mu)``."""
        g = self.slacks(activations)
        rest = torch.minimum(g, self.multipliers / self.mu)  # g - s
        return (-self.multipliers * rest + self.mu / 2 * rest.square()).sum(1)

    def raise_multipliers(self, activations: Tensor, factor: float) -> None:
        """After a round of steps."""
        self.multipliers = (self.multipliers - self.mu * self.slacks(activations)).clamp(min=0)
        self.mu *= factor

    def gradient(self, codes: Tensor, fixed: Tensor | None = None) -> tuple[Seen, Tensor]:
        """What the codes ``(K, ...)`` give, and the gradient of the Lagrangian.

        Args:
            codes: The codes.
            fixed: What codes keep away from besides each other: their own or the features of their images, ``(M, D)``.

        Returns:
            What was seen, without graph, and the gradient ``(K, ...)``.
        """
        others = self._all_measured(codes)
        parts, gradients = [], []
        for start in range(0, len(codes), self.batch_size):
            part = codes[start : start + self.batch_size].detach().clone().requires_grad_()
            seen = self.problem.look(part)
            measured = self.measured(part, seen)
            rows = replace(self, multipliers=self.multipliers[start : start + len(part)])
            loss = rows.owed(seen.activations).sum()
            loss = loss - self._spread(measured, measured.detach() if others is None else others, fixed)
            gradients.append(torch.autograd.grad(loss, part)[0])
            parts.append(Seen(*(value.detach() for value in (seen.images, seen.activations, seen.features))))
        values = ([getattr(part, name) for part in parts] for name in ("images", "activations", "features"))
        return Seen(*map(torch.cat, values)), torch.cat(gradients)

    def measured(self, codes: Tensor, seen: Seen) -> Tensor:
        """By what distances are measured, ``(K, D)``."""
        return codes.flatten(1) if self.repulsion == "codes" else seen.features

    def _spread(self, measured: Tensor, crowd: Tensor, fixed: Tensor | None) -> Tensor:
        if self.repulsion is None:
            return measured.new_zeros(())
        # each pair comes twice in the sum over i and j; the gradient of its other half is taken with the other code
        total = 2 * _squared(measured, crowd) / len(crowd)
        return (total if fixed is None else total + _squared(measured, fixed) / len(fixed)) / self.scale

    def _all_measured(self, codes: Tensor) -> Tensor | None:
        """Of all codes, where these do not fit into one batch."""
        if len(codes) <= self.batch_size or self.repulsion is None:
            return None
        with torch.no_grad():
            return torch.cat([self.measured(part, self.problem.look(part)) for part in codes.split(self.batch_size)])


def mean_squared_distance(rows: Tensor) -> Tensor:
    """Over all pairs of rows ``(K, D)``, each with itself among them."""
    return 2 * rows.var(0, correction=0).sum()


def _squared(rows: Tensor, others: Tensor) -> Tensor:
    """Sum of squared distances between all rows of both."""
    mean = others.mean(0)
    return len(others) * (rows - mean).square().sum() + len(rows) * (others - mean).square().sum()
