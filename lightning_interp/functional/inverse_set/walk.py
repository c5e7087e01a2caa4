"""From seeds to samples: steps inside the feasible region, each code away from the others and from where it was."""

import torch
from torch import Generator, Tensor

from lightning_interp.functional.inverse_set.lagrangian import Lagrangian
from lightning_interp.functional.inverse_set.seeds import Run

__all__ = ["walk"]

_SLACK = 1e-4  # a sample must stay inside when it is measured anew in another batch
_LONGER, _SHORTER = 1.2, 0.5  # a step, after one that ended inside or outside
_LONGEST, _SHORTEST, _STILL = 4.0, 1e-3, 1e-4  # steps, and what is none, in first steps


def walk(
    lagrangian: Lagrangian,
    seeds: Tensor,
    n: int,
    run: Run,
    *,
    generator: Generator,
    step: float = 0.1,
    max_steps: int,
) -> tuple[Tensor, Tensor]:
    """Take samples until there are ``n``.

    Args:
        lagrangian: With the multipliers and mu of the seeds, which stay.
        seeds: Codes inside, ``(K, ...)``.
        n: Samples wanted, the seeds among them.
        run: Takes the trace.
        generator: Source of directions where a code has come to an end.
        step: First length of a step, in lengths of the typical code.
        max_steps: Gradient steps at most.

    Returns:
        Codes of the samples, ``(m, ...)``, and the seed of each, ``(m,)``, m <= n; on the CPU.
    """
    codes = seeds.clone()
    unit = step * (float(seeds.flatten(1).norm(dim=1).mean()) or 1.0)
    lengths = torch.full((len(seeds),), unit, device=seeds.device)
    fixed: Tensor | None = None
    taken = Taken(codes, _STILL * unit)
    found: list[Tensor] = []
    descent: list[Tensor] = []
    for _ in range(max_steps):
        seen, gradient = lagrangian.gradient(codes, fixed)
        run.add(seen, lagrangian, is_walk=True)
        inside = lagrangian.problem.feasible(seen.activations, slack=_SLACK)
        new = taken.add(codes, inside)
        found.append(codes[new].cpu())
        descent.append(new.nonzero().flatten().cpu())
        if sum(map(len, found)) >= n:
            break
        measured = lagrangian.measured(codes, seen)
        fixed = measured if fixed is None else torch.where(new[:, None], measured, fixed)
        lengths = torch.where(inside, lengths * _LONGER, lengths * _SHORTER).clamp(_SHORTEST * unit, _LONGEST * unit)
        direction = _direction(gradient, inside & ~new, generator)
        codes = lagrangian.problem.restrict(codes + (lengths[:, None] * direction).view_as(codes))
    return torch.cat(found)[:n], torch.cat(descent)[:n]


class Taken:
    """Codes that are samples already, so that none comes twice.

    Args:
        codes: The walking ones, ``(K, ...)``.
        near: Codes that moved less than this have come to an end.
    """

    def __init__(self, codes: Tensor, near: float) -> None:
        self._last, self._near = torch.full_like(codes, float("inf")), near
        self._all: set[bytes] = set()

    def add(self, codes: Tensor, inside: Tensor) -> Tensor:
        """Take the new ones of those inside; which these are, ``(K,)``."""
        moved = torch.linalg.vector_norm((codes - self._last).flatten(1), dim=1) > self._near
        new: Tensor = inside & moved
        for i in new.nonzero().flatten().tolist():
            key = codes[i].cpu().numpy().tobytes()
            new[i] = key not in self._all  # codes at their bounds may come back to a corner
            self._all.add(key)
        self._last[new] = codes[new]
        return new


def _direction(gradient: Tensor, stuck: Tensor, generator: Generator) -> Tensor:
    """Down the gradient, or anywhere for a code that is stuck: rows of unit length."""
    down = -gradient.flatten(1)
    anywhere = torch.randn(down.shape, generator=generator).to(down)
    stuck = stuck | (down.norm(dim=1) == 0)
    direction = torch.where(stuck[:, None], anywhere, down)
    return torch.nn.functional.normalize(direction, dim=1)
