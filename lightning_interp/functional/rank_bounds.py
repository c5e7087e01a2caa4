"""Bounds on what a layer can tell about its input: the log-rank bound and the rectangle cover number."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_interp._checks import check_number
from lightning_interp.functional.factorization import factorize_path

__all__ = ["LogRankBound", "RectangleCoverBounds", "log_rank_bound", "rectangle_cover_bounds"]


@dataclass(frozen=True)
class LogRankBound:
    """Upper bound on the information a batch of activations carries about which row (patch) it came from.

    Attributes:
        k: Smallest rank tried whose relative error is at most ``eps``.
        nats: ``log(k)``.
        error: Relative error reached at ``k``.
        eps: The error that counts as exact.
    """

    k: int
    nats: float
    error: float
    eps: float


@dataclass(frozen=True)
class RectangleCoverBounds:
    """Bounds on the smallest number of all-ones rectangles that cover the support of a matrix.

    Attributes:
        lower: Size of a fooling set found greedily.
        upper: Size of a cover found greedily.
    """

    lower: int
    upper: int


def log_rank_bound(
    a: Tensor, *, eps: float = 0.05, ks: Sequence[int] | None = None, generator: torch.Generator | None = None
) -> LogRankBound:
    r"""Bound the mutual information of row index and activation by the log of the non-negative rank.

    An exact non-negative factorisation of rank :math:`k` gives :math:`I(i, Z) \le \log k`; with noise, exact means a
    relative error of at most ``eps``.

    Args:
        a: Non-negative activations ``(n, m)``.
        eps: Relative Frobenius error that counts as exact.
        ks: Ranks to try, increasing; powers of two up to the full rank by default, which is always exact.
        generator: Source of randomness of the factorisation.

    Returns:
        The bound at the smallest rank that is good enough; the full rank ``min(n, m)`` when none of ``ks`` is.

    Raises:
        ValueError: If ``eps`` is not in [0, 1].
        NegativeActivationsError: If ``a`` has negative entries.

    Example:
        >>> a = torch.rand(40, 2) @ torch.rand(2, 30)
        >>> log_rank_bound(a, ks=[1, 2, 3], eps=0.01, generator=torch.Generator().manual_seed(0)).k
        2

    Reference:
        Thesis, section 3.2, proposition 2.
    """
    check_number(eps, "eps", "log_rank_bound", high=1)
    full = min(a.shape)
    grid = [2**i for i in range(full.bit_length()) if 2**i < full] if ks is None else list(ks)
    k, error = full, 0.0
    for rank, factors in zip(grid, factorize_path(a, grid, generator=generator), strict=True):
        if float(factors.error) <= eps:
            k, error = rank, float(factors.error)
            break
    return LogRankBound(k, math.log(k), error, eps)


def rectangle_cover_bounds(a: Tensor) -> RectangleCoverBounds:
    """Bound the rectangle cover number of the support of ``a`` from both sides.

    A cover of 1 means the same units are active in all rows that are active at all: the layer is linear on the batch.

    Args:
        a: Matrix ``(n, m)``; its entries above zero are the support.

    Returns:
        ``lower`` from a greedy fooling set, ``upper`` from a greedy cover by maximal rectangles; 0 for no support.

    Raises:
        ValueError: If ``a`` is not a matrix.

    Example:
        >>> rectangle_cover_bounds(torch.eye(4))
        RectangleCoverBounds(lower=4, upper=4)

    Reference:
        Thesis, section 3.3, figure 3.2.
    """
    if a.ndim != 2:
        raise ValueError(f"The `a` parameter of `rectangle_cover_bounds` must be a matrix. Got shape {tuple(a.shape)}.")
    # Equal rows, and equal columns, are covered together; empty ones need no cover.
    support = (a > 0).unique(dim=0).unique(dim=1)
    support = support[support.any(1)][:, support.any(0)]
    if not support.numel():
        return RectangleCoverBounds(0, 0)
    return RectangleCoverBounds(_fooling_set(support), min(_greedy_cover(support), *support.shape))


def _greedy_cover(support: Tensor) -> int:
    rectangles = list(_maximal_rectangles(support)) + [(c, r) for r, c in _maximal_rectangles(support.T)]
    rows = torch.stack([r for r, _ in rectangles]).float()
    columns = torch.stack([c for _, c in rectangles]).float()
    uncovered, size = support.float(), 0
    while uncovered.any():
        gain = ((rows @ uncovered) * columns).sum(1)
        best = int(gain.argmax())
        uncovered = uncovered * (1 - torch.outer(rows[best], columns[best]))
        size += 1
    return size


def _maximal_rectangles(support: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """For every row: start with its support, admit the most similar rows one by one, keep the largest rectangle."""
    for row in support:
        overlap = (support & row).sum(1)
        order = overlap.argsort(descending=True, stable=True)
        shrinking = (support[order] & row).int().cummin(0).values.bool()  # running intersection with the row
        area = shrinking.sum(1) * torch.arange(1, len(order) + 1, device=support.device)
        columns = shrinking[int(area.argmax())]
        yield (support | ~columns).all(1), columns
        yield (support | ~row).all(1), row


def _fooling_set(support: Tensor) -> int:
    """Greedy set of ones no two of which fit into one rectangle, rare rows and columns first."""
    ones = support.nonzero()
    weight = support.sum(1)[ones[:, 0]] * support.sum(0)[ones[:, 1]]
    ones = ones[weight.argsort(stable=True)]
    size = 0
    while len(ones):
        i, j = ones[0]
        together = support[i, ones[:, 1]] & support[ones[:, 0], j]
        ones, size = ones[~together], size + 1
    return size
