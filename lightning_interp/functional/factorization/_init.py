"""Starting points for the basis V of a non-negative factorisation."""

import torch
from torch import Tensor

from lightning_interp.functional.factorization._matrix import Matrix

INITS = ("random", "nndsvd", "nndsvda")
_OVERSAMPLING, _POWER_ITERATIONS = 8, 2
_FILL = 0.1  # share of the mean entry that "nndsvda" writes over zeros


def seeded(generator: torch.Generator | None) -> torch.Generator:
    """The given generator, or a fresh one with a fixed seed: the global one is never touched."""
    return torch.Generator().manual_seed(0) if generator is None else generator


def initial_basis(a: Matrix, k: int, init: str, generator: torch.Generator | None) -> Tensor:
    """Non-negative starting rows ``(b, k, m)``.

    "random" draws ``|normal| * sqrt(mean(A) / k)``; "nndsvd" takes the stronger sign of each singular vector pair;
    "nndsvda" also fills its zeros, which multiplicative updates could never leave.
    """
    b, n, m = a.shape
    generator = seeded(generator)
    if init == "random":
        draw = _normal(k, m, a, generator).abs()
        ones = a.norm.new_ones(b, 1, n)
        mean = a.times(ones).mean(dim=-1, keepdim=True) / n
        return draw * (mean / k).sqrt()
    rows = _nndsvd(a, k, generator)
    return rows if init == "nndsvd" else torch.maximum(rows, _FILL * rows.mean(dim=(1, 2), keepdim=True))


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
