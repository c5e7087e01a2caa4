"""Principal component analysis: mean-centred truncated SVD."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from lightning_interp._checks import check_int
from lightning_interp.functional.factorization._matrix import check_finite, working
from lightning_interp.functional.factorization.base import Factorization, relative_error


def pca(a: Tensor, k: int) -> Factorization:
    r"""Best rank-k approximation of the mean-centred matrix.

    .. math:: \min_{V V^T = I} \|(A - \bar a) - (A - \bar a) V^T V\|_F

    Components beyond the rank of the matrix are zero. The largest entry of each row of V is positive.

    Args:
        a: matrix ``(n, m)``, batch ``(b, n, m)``, or sparse matrix ``(n, m)``, which is made dense.
        k: number of components, in ``[1, m]``.

    Returns:
        Scores ``u (.., n, k)``, orthonormal rows ``v (.., k, m)``, and the column mean as ``offset``.

    Raises:
        TypeError: when ``a`` is not a real tensor or ``k`` not an int.
        ValueError: when ``k`` is out of range, or ``a`` holds NaN or inf.

    Example:
        >>> import torch
        >>> from lightning_interp.functional.factorization import pca
        >>> f = pca(torch.tensor([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]]), 1)
        >>> f.offset.tolist(), bool(f.error < 1e-6)
        ([2.0, 4.0], True)

    Reference:
        Thesis section 2.3.
    """
    return next(pca_path(a, [k], owner="pca"))


def pca_path(a: Tensor, ks: Sequence[int], *, owner: str) -> Iterator[Factorization]:
    """``pca`` at every rank of ``ks`` from a single decomposition."""
    original = working(a, owner)
    original = original if original.layout == torch.strided else original.to_dense()
    check_finite(original, owner)
    for k in ks:
        check_int(k, "k", owner, high=original.shape[-1])
    mean = original.mean(dim=-2)
    centred = original - mean.unsqueeze(-2)
    v = _directions(centred, max(ks))
    u = centred @ v.mT
    for k in ks:
        rough = Factorization(u[..., :k], v[..., :k, :], u.new_zeros(()), 0, "pca", mean, dtype=a.dtype)
        error = relative_error(original, rough)
        yield Factorization(rough.u, rough.v, error, 0, "pca", mean, dtype=a.dtype)


def _directions(centred: Tensor, k: int) -> Tensor:
    """Leading right singular vectors ``(.., k, m)``, zero beyond ``min(n, m)``, with a fixed sign."""
    n, m = centred.shape[-2:]
    if n <= m or centred.device.type == "mps":
        v = torch.linalg.svd(centred, full_matrices=False).Vh
    else:
        # a tall matrix: the small Gram matrix in float64 loses nothing and is ten times faster
        wide = centred.double()
        v = torch.linalg.eigh(wide.mT @ wide).eigenvectors.flip(-1).mT.to(centred.dtype)
    v = v[..., :k, :]
    v = v * torch.where(v.gather(-1, v.abs().argmax(dim=-1, keepdim=True)) < 0, -1.0, 1.0)
    return torch.nn.functional.pad(v, (0, 0, 0, k - v.shape[-2]))
