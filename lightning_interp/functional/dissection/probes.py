"""Linear probes: one weight per unit for every concept, fitted to where units are active."""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from lightning_interp.functional.dissection.cells import ConceptCells

__all__ = ["fit_probes"]

_CELLS_AT_ONCE = 2048
_RARE = 1e-3  # a unit that is active less often learns as slowly as one that is active so often


def fit_probes(
    cells: ConceptCells,
    allowed: Tensor,
    concept: Tensor,
    category: Tensor,
    *,
    epochs: int,
    lr: float,
    momentum: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    r"""Fit :math:`\sigma(\sum_k w_k a_k + b)` to the presence of a concept, where :math:`a_k` is 1 if unit k is active.

    The loss is the binary cross-entropy per pixel; pixels that show the concept weigh as much as all others together.
    It is minimised by SGD with momentum and a rate that falls to 0. The steps of a weight are divided by the weighted
    mean square of its unit, so that one ``lr`` suits units that are active often and rarely.

    Args:
        cells: Positions to learn from.
        allowed: Which units each of ``R`` probes may use, bool ``(R, units)``.
        concept: Column of ``cells.present`` each probe is to find, ``(R,)``.
        category: Column of ``cells.annotated`` that goes with it, ``(R,)``.
        epochs: Passes over all positions.
        lr: Learning rate at the start.
        momentum: Of SGD.
        generator: Decides the order of the positions.

    Returns:
        Weights ``(R, units)`` and biases ``(R,)``; those of a concept that is nowhere, or everywhere, are 0.
    """
    present, other = _totals(cells, concept, category)
    usable = (present > 0) & (other > 0)
    positive, negative = (torch.where(usable, len(cells.active) / (2 * part), 0.0) for part in (present, other))
    scale = allowed * _mean_squares(cells, concept, category, positive, negative).clamp(min=_RARE).rsqrt()
    weights, bias = (torch.zeros(shape, requires_grad=True) for shape in (allowed.shape, allowed.shape[:1]))
    optimizer = torch.optim.SGD([weights, bias], lr=lr, momentum=momentum)
    n_steps = epochs * -(-len(cells.active) // _CELLS_AT_ONCE)
    falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=n_steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(cells.active), generator=generator).split(_CELLS_AT_ONCE):
            shown, rest = _shares(cells, rows, concept, category)
            with torch.enable_grad():
                logits = cells.active[rows].float() @ (weights * scale).T + bias
                loss = positive * shown * softplus(-logits) + negative * rest * softplus(logits)
                optimizer.zero_grad()
                loss.mean(0).sum().backward()
            optimizer.step()
            falling.step()
    return (weights * scale).detach(), bias.detach()


def _shares(cells: ConceptCells, rows: Tensor, concept: Tensor, category: Tensor) -> tuple[Tensor, Tensor]:
    shown = cells.present[rows].float()[:, concept]
    return shown, (cells.annotated[rows].float()[:, category] - shown).clamp(min=0)


def _totals(cells: ConceptCells, concept: Tensor, category: Tensor) -> tuple[Tensor, Tensor]:
    """How many positions show the concept of each probe, and how many are annotated and do not, ``(R,)``."""
    rows = torch.arange(len(cells.active)).split(_CELLS_AT_ONCE)
    shown, rest = zip(*(tuple(part.sum(0) for part in _shares(cells, r, concept, category)) for r in rows), strict=True)
    return torch.stack(shown).sum(0), torch.stack(rest).sum(0)


def _mean_squares(cells: ConceptCells, concept: Tensor, category: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Weighted mean of every unit's squared activity, ``(R, units)``; the weights of a probe add up to one."""
    total = torch.zeros(len(concept), cells.active.shape[1])
    for rows in torch.arange(len(cells.active)).split(_CELLS_AT_ONCE):
        shown, rest = _shares(cells, rows, concept, category)
        total += (positive * shown + negative * rest).T @ cells.active[rows].float()
    return total / len(cells.active)
