"""How much a unit and a concept overlap by chance."""

import torch
from torch import Tensor

__all__ = ["chance_overlap"]

_DRAWS_AT_ONCE = 2**20


def chance_overlap(
    active: Tensor, present: Tensor, *, n_permutations: int, generator: torch.Generator
) -> tuple[float, float]:
    r"""Compare the overlap of a unit and a concept with that after the images are dealt anew.

    Under the null hypothesis it does not matter which image's activity meets which image's annotation. Permuting whole
    images keeps the sizes and places of both, and the dependence of neighbouring pixels, which a binomial test would
    ignore. Of the overlaps :math:`s = \sum_i \langle a_i, c_i \rangle` and :math:`s_r` of :math:`R` permutations,

    .. math:: p = \frac{1 + \#\{r : s_r \ge s\}}{R + 1}.

    Args:
        active: Share of every place of a grid where the unit is active, ``(n, G)``, for each of ``n`` images.
        present: Share that shows the concept, ``(n, G)``, of the same images.
        n_permutations: How often the images are dealt.
        generator: Decides the permutations.

    Returns:
        The intersection over union to be expected by chance, and the p-value; both NaN where the concept is nowhere.

    Example:
        >>> shown = torch.eye(20)
        >>> _, p = chance_overlap(shown, shown, n_permutations=99, generator=torch.Generator().manual_seed(0))
        >>> p
        0.01

    Reference:
        Good, Permutation, parametric and bootstrap tests of hypotheses, 2005, chapter 3.
    """
    if not present.any():
        return float("nan"), float("nan")
    active, present = active.double(), present.double()
    expected = float(active.sum(0) @ present.sum(0)) / len(active)
    union = float(active.sum() + present.sum()) - expected
    # Most images have no part in it: of the others, the overlap of each with each.
    rows, columns = active.any(1).nonzero().flatten(), present.any(1).nonzero().flatten()
    table = torch.cat([active[rows] @ present[columns].T, torch.zeros(len(rows), 1, dtype=torch.float64)], 1)
    place = torch.full((len(active),), len(columns))
    place[columns] = torch.arange(len(columns))
    least = table[torch.arange(len(rows)), place[rows]].sum() * (1 - 1e-9)  # sums in another order round otherwise
    n_reached = 0
    for part in torch.arange(n_permutations).split(max(1, _DRAWS_AT_ONCE // len(active))):
        dealt = torch.rand(len(part), len(active), generator=generator).argsort(1)[:, rows]
        n_reached += int((table[torch.arange(len(rows)), place[dealt]].sum(1) >= least).sum())
    return expected / union, (1 + n_reached) / (n_permutations + 1)
