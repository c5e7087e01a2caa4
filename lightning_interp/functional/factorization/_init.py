"""Starting points for the basis V of a non-negative factorisation."""

from typing import Literal

import torch
from torch import Tensor

from lightning_interp.functional.factorization._matrix import Matrix
from lightning_interp.functional.factorization._solvers import hals

Init = Literal["auto", "random", "nndsvd", "nndsvda", "channels"]
_OVERSAMPLING, _POWER_ITERATIONS = 8, 2
_FILL = 0.1  # share of the mean entry that "nndsvda" writes over zeros
_HIGH_RANK = 8  # "auto" also tries "channels" from a rank of one eighth of the columns on


def seeded(generator: torch.Generator | None) -> torch.Generator:
    """The given generator, or a fresh one with a fixed seed: the global one is never touched."""
    return torch.Generator().manual_seed(0) if generator is None else generator


def initial_basis(a: Matrix, k: int, init: str, generator: torch.Generator | None) -> Tensor:
    """Non-negative starting rows ``(b, k, m)``.

    "random" draws ``|normal| * sqrt(mean(A) / k)``; "nndsvd" takes the stronger sign of each singular vector pair;
    "nndsvda" also fills its zeros, which multiplicative updates could never leave; "channels" are the ``k`` columns of
    the identity with most energy in A. At high ranks of sparse activations these are far ahead, on dense low-rank
    products far behind: "auto" then lets both take one step and keeps the better, problem by problem.
    """
    generator = seeded(generator)
    if init == "auto":
        return _auto(a, k, generator)
    if init == "random":
        mean = a.times(a.norm.new_ones(a.shape[0], 1, a.shape[1])).mean(dim=-1, keepdim=True) / a.shape[1]
        return _normal(k, a.shape[2], a, generator).abs() * (mean / k).sqrt()
    if init == "channels":
        return _channels(a, k)
    rows = _nndsvd(a, k, generator)
    return rows if init == "nndsvd" else torch.maximum(rows, _FILL * rows.mean(dim=(1, 2), keepdim=True))


def _auto(a: Matrix, k: int, generator: torch.Generator) -> Tensor:
    best = initial_basis(a, k, "nndsvda", generator)
    if k * _HIGH_RANK < a.shape[2]:
        return best
    other = _channels(a, k)
    residuals = [next(hals(a, v.new_zeros(a.shape[0], k, a.shape[1]), v)) for v in (best, other)]
    return torch.where((residuals[0] <= residuals[1])[:, None, None], best, other)


def _channels(a: Matrix, k: int) -> Tensor:
    b, _, m = a.shape
    chosen = a.energy().topk(k, dim=-1).indices
    return a.norm.new_full((b, k, m), 1 / k).scatter_(2, chosen[..., None], 1.0)  # no zeros here either


def _nndsvd(a: Matrix, k: int, generator: torch.Generator) -> Tensor:
    right, left = _singular_pairs(a, k, generator)
    strength = [(s * right).clamp(min=0).norm(dim=-1) * (s * left).clamp(min=0).norm(dim=-1) for s in (1, -1)]
    sign = torch.where(strength[0] >= strength[1], 1.0, -1.0).to(right.dtype)
    return (sign[..., None] * right).clamp(min=0)


def _singular_pairs(a: Matrix, k: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Leading right ``(b, k, m)`` and scaled left ``(b, k, n)`` singular vectors by subspace iteration."""
    _, n, m = a.shape
    width = min(k + _OVERSAMPLING, n, m)
    rows = _normal(width, m, a, generator)
    for _ in range(_POWER_ITERATIONS):
        rows = torch.linalg.qr(a.times(a.times_t(rows)).mT).Q.mT
    projected = a.times_t(rows)
    _, rotation = torch.linalg.eigh(projected @ projected.mT)
    rotation = rotation.flip(-1)[..., :k].mT
    return rotation @ rows, rotation @ projected


def _normal(rows: int, m: int, a: Matrix, generator: torch.Generator) -> Tensor:
    """One draw for all problems ``(b, rows, m)``, so that a problem's result does not depend on its neighbours."""
    return torch.randn(rows, m, generator=generator, device=generator.device).to(a.norm).expand(a.shape[0], -1, -1)
