"""The two iterations behind ``nmf``: coordinate descent (HALS) and multiplicative updates.

Both keep U transposed, ``(b, k, n)``, so that a component is one contiguous row, update ``u`` and ``v`` in place and
yield the squared residual ``||A - UV||^2`` of every problem after each iteration, without ever forming UV.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from lightning_interp.functional.factorization._matrix import Matrix

_BLOCK = 16  # rows updated between two matrix products
_PATIENCE = 10  # sweeps between two looks at the convergence of ``solve_u``
_TINY = 1e-18  # smaller factor entries become 0: their products would be denormal, ten times slower on CPUs
_MOMENTUM, _GROWTH, _CEILING_GROWTH, _SHRINK = 0.5, 1.05, 1.01, 1.5


class Sweep:
    """Coordinate descent on ``||A - x^T other||^2`` over the rows of ``x`` ``(b, k, n)``, in place, with x >= 0.

    A block of rows first meets all other rows in one matrix product; only inside the block do rows wait for each
    other. The views are made once, since making them would cost more than the arithmetic.
    """

    def __init__(self, x: Tensor) -> None:
        b, k, n = x.shape
        self.x = x
        self.gram = x.new_empty(b, k, k)
        self.delta = x.new_empty(b, 1, n)
        target = x.new_empty(b, min(_BLOCK, k), n)
        self.blocks = [self._plan(target, start, min(start + _BLOCK, k)) for start in range(0, k, _BLOCK)]

    def _plan(self, target: Tensor, start: int, end: int) -> tuple[slice, Tensor, list[tuple[Tensor, ...]]]:
        width = end - start
        rows: list[tuple[Tensor, ...]] = []
        for i in range(width):
            j = start + i
            coupling = self.gram[:, j + 1 : end, j : j + 1]
            rows.append((target[:, i : i + 1], self.x[:, j : j + 1], target[:, i + 1 : width], coupling))
        return slice(start, end), target[:, :width], rows

    def __call__(self, gram: Tensor, cross: Tensor, sweeps: int) -> None:
        """Sweep against ``gram = other other^T`` ``(b, k, k)`` and ``cross = other A^T`` ``(b, k, n)``."""
        diagonal = gram.diagonal(dim1=-2, dim2=-1)
        alive = diagonal > 0
        divisor = torch.where(alive, diagonal, 1.0)[..., None]
        torch.div(gram, divisor, out=self.gram)
        # the row itself is left out of its own target, except a row without influence, which stays as it is
        self.gram.diagonal(dim1=-2, dim2=-1).copy_(alive.to(gram.dtype) - 1)
        cross = cross / divisor
        for _ in range(sweeps):
            self._run(cross)

    def _run(self, cross: Tensor) -> None:
        delta = self.delta
        for index, target, rows in self.blocks:
            torch.baddbmm(cross[:, index], self.gram[:, index], self.x, alpha=-1, out=target)
            for new, old, later, coupling in rows:
                new.clamp_(min=0)
                torch.sub(new, old, out=delta)
                later.addcmul_(coupling, delta, value=-1)
            torch.threshold(target, _TINY, 0.0, out=self.x[:, index])


def hals(a: Matrix, u: Tensor, v: Tensor) -> Iterator[Tensor]:
    """Accelerated HALS with extrapolated V.

    U is solved almost exactly for the given V, so extrapolating V alone accelerates the pair. A problem whose
    residual rises drops its momentum for one step (Ang and Gillis, 2019).
    """
    update_u, update_v = Sweep(u), Sweep(v)
    # a second sweep is cheap beside the product with A, unless there are many components
    sweeps = 2 if 2 * v.shape[1] <= min(a.shape[1:]) else 1
    previous = v.clone()
    best = torch.full_like(a.norm, float("inf"))
    momentum, ceiling = torch.full_like(a.norm, _MOMENTUM), torch.ones_like(a.norm)
    extrapolated = v.clone()
    while True:
        update_u(extrapolated @ extrapolated.mT, a.times_t(extrapolated), sweeps)
        v.copy_(extrapolated)
        gram, cross = u @ u.mT, a.times(u)
        update_v(gram, cross, sweeps)
        residual = _residual(a, v, gram, cross)
        yield residual
        better = residual <= best
        step = torch.where(better, momentum, 0.0)[:, None, None]
        torch.clamp(torch.lerp(previous, v, 1 + step), min=0, out=extrapolated)
        grown = torch.minimum(ceiling, _GROWTH * momentum)
        ceiling = torch.where(better, (_CEILING_GROWTH * ceiling).clamp(max=1), momentum)
        momentum = torch.where(better, grown, momentum / _SHRINK)
        previous.copy_(v)
        best = residual


def multiplicative(a: Matrix, u: Tensor, v: Tensor) -> Iterator[Tensor]:
    """Multiplicative updates of Lee and Seung (2001): the residual never rises, zeros stay zeros."""
    while True:
        _scale(u, a.times_t(v), (v @ v.mT) @ u)
        gram, cross = u @ u.mT, a.times(u)
        _scale(v, cross, gram @ v)
        yield _residual(a, v, gram, cross)


def solve_u(a: Matrix, v: Tensor, *, max_sweeps: int = 500, tol: float = 1e-5) -> Tensor:
    """Non-negative U, transposed ``(b, k, n)``, that minimises ``||A - UV||`` for a fixed ``v`` ``(b, k, m)``."""
    u = v.new_zeros(a.shape[0], v.shape[1], a.shape[1])
    sweep, gram, cross = Sweep(u), v @ v.mT, a.times_t(v)
    for _ in range(0, max_sweeps, _PATIENCE):
        before = u.clone()
        sweep(gram, cross, _PATIENCE)
        if float((u - before).abs().amax()) <= tol * float(u.amax()):
            break
    return u


def _scale(x: Tensor, numerator: Tensor, denominator: Tensor) -> None:
    x.mul_(numerator).div_(denominator.clamp_(min=_TINY))
    torch.nn.functional.threshold(x, _TINY, 0.0, inplace=True)


def _residual(a: Matrix, v: Tensor, gram: Tensor, cross: Tensor) -> Tensor:
    """``||A||^2 - 2 <U^T A, V> + <U^T U, V V^T>`` per problem; rounding may leave it slightly negative."""
    return a.norm**2 - 2 * (v * cross).sum(dim=(1, 2)) + (gram * (v @ v.mT)).sum(dim=(1, 2))
