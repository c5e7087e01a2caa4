"""Non-negative matrix factorisation, batched and warm-startable."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal, get_args

import torch
from torch import Tensor

from lightning_interp._checks import check_choice, check_int, check_number, message
from lightning_interp.exceptions import ConvergenceWarning
from lightning_interp.functional.factorization._init import Init, initial_basis
from lightning_interp.functional.factorization._matrix import Matrix, Negatives, as_matrix, non_negative, working
from lightning_interp.functional.factorization._solvers import hals, multiplicative
from lightning_interp.functional.factorization.base import Factorization, relative_error

SOLVERS = ("hals", "mu")
_CHECK_EVERY = 5  # iterations between two looks at the error, each a synchronisation on GPUs
_CANCELLATION = 1e-2  # below this squared relative error the closed form has lost digits in float32


@dataclass(frozen=True)
class Problem:
    """A checked matrix, ready to be factorised at several ranks."""

    original: Tensor
    matrix: Matrix
    offset: Tensor | None
    negatives: str
    dtype: torch.dtype


@dataclass(frozen=True)
class Settings:
    """How to iterate: solver, at most ``max_iter`` times, until the error falls by less than ``tol``."""

    solver: str
    max_iter: int
    tol: float


def nmf(
    a: Tensor,
    k: int,
    *,
    solver: Literal["hals", "mu"] = "hals",
    init: Init = "auto",
    v: Tensor | None = None,
    max_iter: int = 200,
    tol: float = 1e-4,
    negatives: Negatives = "error",
    generator: torch.Generator | None = None,
) -> Factorization:
    r"""Non-negative matrix factorisation of one matrix or of a batch of equally shaped ones.

    .. math:: \min_{U, V \ge 0} \|A - U V\|_F

    A rank of ``min(n, m)`` or more has a direct, exact solution. Rows of V have unit length. A batch iterates until its
    slowest problem has converged. A sparse matrix is only ever multiplied.

    Args:
        a: non-negative matrix ``(n, m)``, batch ``(b, n, m)``, or sparse COO / CSR matrix ``(n, m)``.
        k: number of components, in ``[1, m]``.
        solver: "hals", accelerated coordinate descent, or "mu", the multiplicative updates of the thesis.
        init: start of V: "random"; from singular vectors, "nndsvd", "nndsvda" (without zeros); the strongest columns,
            "channels"; or "auto", the better of the last two.
        v: warm start, shape ``(k', m)`` or ``(b, k', m)`` with ``k' <= k``; missing rows come from ``init``.
        max_iter: most iterations.
        tol: stop when five iterations lower the relative error by less than this; 0 for all ``max_iter``.
        negatives: "error" refuses negative entries, "clamp" zeroes them, "split" factorises ``[A+, A-]``, "shift"
            subtracts the column minimum; ``reconstruct`` undoes the last two.
        generator: source of randomness; None for a fixed seed.

    Returns:
        Factors ``u (.., n, k)`` and ``v (.., k, m)``, relative error, iterations.

    Raises:
        NegativeActivationsError: on negative entries with ``negatives="error"``.
        TypeError: when an argument has the wrong type.
        ValueError: when an argument is out of range, or ``a`` holds NaN or inf.

    Example:
        >>> import torch
        >>> from lightning_interp.functional.factorization import nmf
        >>> a = torch.rand(60, 3, generator=torch.Generator().manual_seed(0)) @ torch.eye(3, 10)
        >>> f = nmf(a, 3)
        >>> f.u.shape, f.v.shape, bool(f.error < 0.01)
        (torch.Size([60, 3]), torch.Size([3, 10]), True)

    Reference:
        Thesis section 2.3; Lee and Seung (2001); Gillis and Glineur (2012); Ang and Gillis (2019).
    """
    check_choice(solver, "solver", "nmf", SOLVERS)
    check_choice(init, "init", "nmf", get_args(Init))
    settings = Settings(solver, check_int(max_iter, "max_iter", "nmf"), check_number(tol, "tol", "nmf"))
    problem = prepare(a, "nmf", negatives)
    check_int(k, "k", "nmf", high=problem.original.shape[-1])
    if is_direct(problem, k):
        return direct(problem, k)
    start = _start(problem.matrix, k, init, v, generator)
    result, converged = fit(problem, start, settings)
    if not converged:
        warn_unconverged(f"k = {k} with a relative error of {float(result.error.max()):.4f}", settings)
    return result


def prepare(a: Tensor, owner: str, negatives: str) -> Problem:
    """Check the input and treat its negative entries, once for all ranks."""
    original = working(a, owner)
    matrix, offset = non_negative(original, owner, negatives)
    batched = matrix if matrix.dim() == 3 or matrix.layout != torch.strided else matrix[None]
    return Problem(original, as_matrix(batched), offset, negatives, a.dtype)


def is_direct(problem: Problem, k: int) -> bool:
    """Whether rank ``k`` needs no iteration: it is exact, or there is nothing to explain."""
    return k >= min(problem.matrix.shape[1:]) or not bool(problem.matrix.norm.any())


def direct(problem: Problem, k: int) -> Factorization:
    """The exact solution ``A I`` or ``I A``, padded with zero components to rank ``k``."""
    a = problem.matrix.dense()
    b, n, m = a.shape
    u, v = a.new_zeros(b, k, n), a.new_zeros(b, k, m)
    if k >= m:
        u[:, :m], v[:, :m] = a.mT, torch.eye(m, device=a.device, dtype=a.dtype)
    elif k >= n:
        u[:, :n], v[:, :n] = torch.eye(n, device=a.device, dtype=a.dtype), a
    return _finish(problem, u, v, torch.zeros_like(problem.matrix.norm), 0)


def fit(problem: Problem, v: Tensor, settings: Settings) -> tuple[Factorization, bool]:
    """Iterate from the basis ``v`` ``(b, k, m)``; the flag says whether the error settled before ``max_iter``."""
    a, v = problem.matrix, v.clone()
    if settings.solver == "hals":
        u = v.new_zeros(a.shape[0], v.shape[1], a.shape[1])
        steps = hals(a, u, v)
    else:
        # one multiplicative step from a constant U; its scale fits A already
        u = a.times_t(v) / (v @ v.mT).sum(dim=-1, keepdim=True).clamp(min=1e-18)
        steps = multiplicative(a, u, v)
    residual, n_iter, converged = _iterate(steps, a.norm, settings)
    return _finish(problem, u, v, residual, n_iter), converged


def warn_unconverged(where: str, settings: Settings) -> None:
    """The one warning for a fit that used up ``max_iter``; none is due when ``tol`` is 0."""
    if settings.tol > 0:
        ways = "Raise max_iter or tol, or ignore ConvergenceWarning if a rough fit will do."
        text = f"`nmf` stopped at max_iter={settings.max_iter} before reaching tol={settings.tol:g}: {where}. {ways}"
        warnings.warn(text, ConvergenceWarning, stacklevel=3)


def _iterate(steps: Iterator[Tensor], norm: Tensor, settings: Settings) -> tuple[Tensor, int, bool]:
    """Squared relative residual ``(b,)``, iterations, and whether the error settled."""
    energy = torch.where(norm > 0, norm, 1.0) ** 2
    error, residual, n_iter = torch.ones_like(norm), energy, 0
    for n_iter, residual in enumerate(islice(steps, settings.max_iter), start=1):
        if n_iter % _CHECK_EVERY == 0 and settings.tol > 0:
            previous, error = error, (residual / energy).clamp(min=0).sqrt()
            if float((previous - error).max()) < settings.tol:
                return residual / energy, n_iter, True
    return residual / energy, n_iter, False


def _start(a: Matrix, k: int, init: str, v: Tensor | None, generator: torch.Generator | None) -> Tensor:
    if v is None:
        return initial_basis(a, k, init, generator)
    b, _, m = a.shape
    fits = isinstance(v, Tensor) and v.dim() in (2, 3) and v.shape[-1] == m and 1 <= v.shape[-2] <= k
    if not fits or (v.dim() == 3 and v.shape[0] != b):
        raise ValueError(message("v", "nmf", f"of shape (k', {m}) or ({b}, k', {m}) with k' in [1, {k}]", v))
    v = v.detach().to(a.norm)
    if not bool((v >= 0).all() & torch.isfinite(v).all()):
        raise ValueError(message("v", "nmf", "non-negative and finite", v))
    known = v.expand(b, -1, -1)
    if v.shape[-2] == k:
        return known
    return torch.cat([known, initial_basis(a, k, init, generator)[:, v.shape[-2] :]], dim=1)


def _finish(problem: Problem, u: Tensor, v: Tensor, residual: Tensor, n_iter: int) -> Factorization:
    """Unit rows of V, the caller's shapes and scale, and an error that can be trusted."""
    length = torch.linalg.vector_norm(v, dim=-1, keepdim=True)
    v = v / torch.where(length > 0, length, 1.0)
    u = u * (length if problem.matrix.scale is None else length * problem.matrix.scale)
    u, error = u.mT.contiguous(), residual.clamp(min=0).sqrt()
    if problem.original.dim() == 2:
        u, v, error = u[0], v[0], error[0]
    result = Factorization(u, v, error, n_iter, "nmf", problem.offset, problem.negatives, problem.dtype)
    exact_or_safe = n_iter == 0 or float(residual.min()) >= _CANCELLATION
    if problem.negatives == "error" and exact_or_safe:
        return result
    sparse = problem.original.layout != torch.strided
    return replace(result, error=relative_error(problem.original.to_dense() if sparse else problem.original, result))
