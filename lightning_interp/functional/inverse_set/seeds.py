"""Seeds: the first codes inside their intervals, far from each other."""

import torch
from torch import Tensor

from lightning_interp.functional.inverse_set.lagrangian import Lagrangian, Repulsion, mean_squared_distance
from lightning_interp.functional.inverse_set.problem import Problem, Seen

__all__ = ["Run", "find_seeds"]

_LEAST = 0.5


class Run:
    """What happened so far: a row per gradient step, and the activations that were met.

    Args:
        n_neurons: Number of neurons, p.

    Attributes:
        trace: See :class:`~lightning_interp.functional.inverse_set.result.InverseSet`.
        reached: Lowest and highest activation, ``(p, 2)``.
    """

    def __init__(self, n_neurons: int) -> None:
        self.trace: list[list[float]] = []
        self.reached = torch.tensor([float("inf"), -float("inf")]).repeat(n_neurons, 1)

    def add(self, seen: Seen, lagrangian: Lagrangian, *, is_walk: bool) -> Tensor:
        """Write down one step; which codes are feasible, ``(K,)``."""
        low, high = seen.activations.amin(0).cpu(), seen.activations.amax(0).cpu()
        self.reached = torch.stack([low.minimum(self.reached[:, 0]), high.maximum(self.reached[:, 1])], 1)
        inside = lagrangian.problem.feasible(seen.activations)
        place = lagrangian.problem.place(seen.activations)
        violation = torch.maximum(-place, place - 1).clamp(min=0).mean()
        values = (violation, inside.sum(), lagrangian.mu, lagrangian.multipliers.amax())
        spread = mean_squared_distance(seen.features)
        self.trace.append([float(value) for value in (is_walk, *values, spread)])
        return inside


def find_seeds(
    problem: Problem,
    codes: Tensor,
    run: Run,
    *,
    repulsion: Repulsion = "encoder",
    mu: float = 10.0,
    alpha: float = 10.0,
    steps: int = 100,
    rounds: int = 6,
    lr: float = 0.05,
    batch_size: int = 64,
    to_the_end: bool = False,
) -> tuple[Tensor, Lagrangian]:
    """Move codes until all are inside, and no further.

    Args:
        problem: Neurons, intervals and generator.
        codes: To start from, ``(K, ...)``.
        run: Takes the trace.
        repulsion: What keeps codes away from each other, see ``Lagrangian``.
        mu: First weight of squared violations.
        alpha: What it is multiplied by after each round.
        steps: Gradient steps of a round.
        rounds: At most.
        lr: Of Adam, in root mean squares of the codes.
        batch_size: Codes that are differentiated at once.
        to_the_end: Go on when all are inside, for all rounds.

    Returns:
        Codes that are or were inside, ``(S, ...)``, S <= K, and the Lagrangian with its last multipliers for them.
    """
    multipliers = codes.new_zeros(len(codes), 2 * len(problem.low), dtype=torch.float32)
    lagrangian = Lagrangian(problem, repulsion, multipliers, mu, 1.0, batch_size)
    lagrangian.scale = _scale(lagrangian, codes)
    values = codes.detach().clone()
    optimizer = torch.optim.Adam([values], lr=lr * (float(codes.square().mean().sqrt()) or 1.0))
    best, met = values.clone(), torch.zeros(len(codes), dtype=torch.bool, device=codes.device)
    for i in range(rounds * steps):
        seen, values.grad = lagrangian.gradient(values)
        inside = run.add(seen, lagrangian, is_walk=False)
        best[inside], met = values[inside], met | inside
        if bool(inside.all()) and not to_the_end:
            break
        if i % steps == steps - 1:
            lagrangian.raise_multipliers(seen.activations, alpha)
        optimizer.step()
        values.copy_(problem.restrict(values))
    lagrangian.multipliers = lagrangian.multipliers[met]
    return best[met], lagrangian


def _scale(lagrangian: Lagrangian, codes: Tensor) -> float:
    """Mean squared distance at the start, but at least a part of the mean square: a start may be all in one place."""
    with torch.no_grad():
        batches = codes.split(lagrangian.batch_size)
        rows = torch.cat([lagrangian.measured(part, lagrangian.problem.look(part)) for part in batches])
    return max(float(mean_squared_distance(rows)), _LEAST * float(rows.square().sum(1).mean())) or 1.0
