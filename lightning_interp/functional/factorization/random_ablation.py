"""Random ablation: keep k random columns, zero the others."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lightning_interp._checks import check_int
from lightning_interp.functional.factorization._init import seeded
from lightning_interp.functional.factorization._matrix import check_finite, working
from lightning_interp.functional.factorization.base import Factorization, relative_error


def random_ablation(a: Tensor, k: int, *, generator: torch.Generator | None = None) -> Factorization:
    """Keep ``k`` random columns of each matrix; the basis is ``k`` rows of the identity.

    Args:
        a: matrix ``(n, m)``, batch ``(b, n, m)``, or sparse matrix ``(n, m)``, which is made dense.
        k: number of columns kept, in ``[1, m]``.
        generator: source of randomness; None for a fixed seed.

    Returns:
        The kept columns ``u (.., n, k)`` and one-hot rows ``v (.., k, m)``.

    Raises:
        TypeError: when ``a`` is not a real tensor or ``k`` not an int.
        ValueError: when ``k`` is out of range, or ``a`` holds NaN or inf.

    Example:
        >>> import torch
        >>> from lightning_interp.functional.factorization import random_ablation
        >>> f = random_ablation(torch.ones(5, 4), 3)
        >>> f.reconstruct().sum(dim=1).tolist(), f.error.item()
        ([3.0, 3.0, 3.0, 3.0, 3.0], 0.5)

    Reference:
        Thesis section 2.3.
    """
    return next(random_ablation_path(a, [k], generator=generator, owner="random_ablation"))


def random_ablation_path(
    a: Tensor, ks: Sequence[int], *, generator: torch.Generator | None, owner: str
) -> Iterator[Factorization]:
    """``random_ablation`` at every rank of ``ks``: one random order per problem, so the kept columns are nested."""
    original = working(a, owner)
    original = original if original.layout == torch.strided else original.to_dense()
    check_finite(original, owner)
    m = original.shape[-1]
    for k in ks:
        check_int(k, "k", owner, high=m)
    generator = seeded(generator)
    orders = torch.rand(*original.shape[:-2], m, generator=generator, device=generator.device).argsort(dim=-1)
    identity = torch.eye(m, device=original.device, dtype=original.dtype)
    for k in ks:
        v = identity[orders[..., :k].to(original.device)]
        u = original @ v.mT
        rough = Factorization(u, v, u.new_zeros(()), 0, "random_ablation", dtype=a.dtype)
        yield Factorization(u, v, relative_error(original, rough), 0, "random_ablation", dtype=a.dtype)
