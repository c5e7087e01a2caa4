"""One door to all methods: a factorisation at one rank, or along increasing ranks at a fraction of the cost."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from lightning_interp._checks import check_choice, check_int, check_number, message
from lightning_interp.functional.factorization._init import Init, initial_basis
from lightning_interp.functional.factorization._matrix import Negatives
from lightning_interp.functional.factorization.base import Factorization
from lightning_interp.functional.factorization.kmeans import kmeans
from lightning_interp.functional.factorization.nmf import (
    SOLVERS,
    Settings,
    direct,
    fit,
    is_direct,
    nmf,
    prepare,
    warn_unconverged,
)
from lightning_interp.functional.factorization.pca import pca, pca_path
from lightning_interp.functional.factorization.random_ablation import random_ablation, random_ablation_path

FactorizationMethod = Literal["nmf", "pca", "kmeans", "random_ablation"]
METHODS: dict[str, Callable[..., Factorization]] = {
    "nmf": nmf,
    "pca": pca,
    "kmeans": kmeans,
    "random_ablation": random_ablation,
}


def factorize(a: Tensor, k: int, *, method: FactorizationMethod = "nmf", **options: Any) -> Factorization:
    """Factorise with the method of that name.

    Args:
        a: matrix ``(n, m)`` or batch ``(b, n, m)``.
        k: number of components, in ``[1, m]``.
        method: "nmf", "pca", "kmeans" or "random_ablation".
        options: keyword arguments of that function.

    Returns:
        The same result object for every method.

    Raises:
        ValueError: for an unknown method, and whatever the method refuses.

    Example:
        >>> import torch
        >>> from lightning_interp.functional.factorization import factorize
        >>> factorize(torch.eye(4), 4, method="nmf").error.item()
        0.0

    Reference:
        Thesis section 2.3.
    """
    return METHODS[check_choice(method, "method", "factorize", tuple(METHODS))](a, k, **options)


def factorize_path(
    a: Tensor,
    ks: Sequence[int],
    *,
    method: FactorizationMethod = "nmf",
    generator: torch.Generator | None = None,
    **options: Any,
) -> Iterator[Factorization]:
    """Factorise at increasing ranks, one after the other, sharing work between them.

    NMF starts each rank from the one before, PCA decomposes once, random ablation keeps nested columns. At most one
    ConvergenceWarning is raised, after the last rank.

    Args:
        a: matrix ``(n, m)`` or batch ``(b, n, m)``.
        ks: strictly increasing ranks, each in ``[1, m]``.
        method: "nmf", "pca", "kmeans" or "random_ablation".
        generator: source of randomness; None for a fixed seed.
        options: further keyword arguments of the method.

    Yields:
        One result per rank.

    Raises:
        ValueError: for an unknown method or ranks that do not increase, and whatever the method refuses.

    Example:
        >>> import torch
        >>> from lightning_interp.functional.factorization import factorize_path
        >>> [f.k for f in factorize_path(torch.eye(4), [1, 2, 4], method="pca")]
        [1, 2, 4]

    Reference:
        Thesis sections 2.3 and 3.2.
    """
    check_choice(method, "method", "factorize_path", tuple(METHODS))
    ks = [check_int(k, "ks", "factorize_path") for k in ks]
    if not ks or any(low >= high for low, high in pairwise(ks)):
        raise ValueError(message("ks", "factorize_path", "strictly increasing and not empty", ks))
    if method == "nmf":
        return _nmf_path(a, ks, generator=generator, **options)
    if method == "pca":
        return pca_path(a, ks, owner="factorize_path", **options)
    if method == "random_ablation":
        return random_ablation_path(a, ks, generator=generator, owner="factorize_path", **options)
    return (kmeans(a, k, generator=generator, **options) for k in ks)


def _nmf_path(
    a: Tensor,
    ks: Sequence[int],
    *,
    generator: torch.Generator | None,
    solver: Literal["hals", "mu"] = "hals",
    init: Init = "nndsvda",
    max_iter: int = 200,
    tol: float = 1e-4,
    negatives: Negatives = "error",
) -> Iterator[Factorization]:
    owner = "factorize_path"
    check_choice(solver, "solver", owner, SOLVERS)
    check_choice(init, "init", owner, get_args(Init))
    settings = Settings(solver, check_int(max_iter, "max_iter", owner), check_number(tol, "tol", owner))
    problem = prepare(a, owner, negatives)
    check_int(ks[-1], "ks", owner, high=problem.original.shape[-1])
    iterated = [k for k in ks if not is_direct(problem, k)]
    # one basis of the largest rank starts all: each rank takes over the last one's rows and adds the next
    basis = initial_basis(problem.matrix, iterated[-1], init, generator) if iterated else problem.matrix.norm
    unconverged = []
    for k in ks:
        if k not in iterated:
            yield direct(problem, k)
            continue
        result, converged = fit(problem, basis[:, :k], settings)
        basis[:, :k] = result.v
        if not converged:
            unconverged.append(k)
        yield result
    if unconverged:
        warn_unconverged(f"k = {', '.join(map(str, unconverged))}", settings)
