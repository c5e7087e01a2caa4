"""The matrix to factorise: checked, made non-negative, scaled to a safe range; dense batches or one sparse matrix."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor

from lightning_interp._checks import check_choice, message
from lightning_interp.exceptions import NegativeActivationsError

Negatives = Literal["error", "clamp", "split", "shift"]
NEGATIVES = ("error", "clamp", "split", "shift")
_SAFE = 1e6  # squares of entries in [1 / _SAFE, _SAFE] neither overflow nor vanish in float32


@dataclass(frozen=True)
class Matrix:
    """A batch of non-negative matrices, reached only through its two products.

    Args:
        times: ``(b, k, n) -> (b, k, m)``, the product ``x A``.
        times_t: ``(b, k, m) -> (b, k, n)``, the product ``x A^T``.
        shape: ``(b, n, m)``.
        norm: Frobenius norms, shape ``(b,)``.
        scale: what the entries were divided by, shape ``(b, 1, 1)``; None for 1.
        dense: the entries, shape ``(b, n, m)``.
        energy: the squared norms of the columns, shape ``(b, m)``.
    """

    times: Callable[[Tensor], Tensor]
    times_t: Callable[[Tensor], Tensor]
    shape: tuple[int, int, int]
    norm: Tensor
    scale: Tensor | None
    dense: Callable[[], Tensor]
    energy: Callable[[], Tensor]


def working(a: Tensor, owner: str) -> Tensor:
    """Check that ``a`` is a float matrix or batch and return it in the precision of the maths (at least float32).

    Args:
        a: matrix ``(n, m)``, batch ``(b, n, m)`` or sparse matrix ``(n, m)``.
        owner: the public function, for the message.
    """
    if not isinstance(a, Tensor):
        raise TypeError(message("a", owner, "a tensor", a))
    sparse = a.layout != torch.strided
    if a.dim() not in ((2,) if sparse else (2, 3)) or 0 in a.shape[:1] or a.shape[-1] == 0:
        shapes = "(n, m) with at least one column" if sparse else "(n, m) or (b, n, m) with at least one column"
        raise ValueError(message("a", owner, f"of shape {shapes} and at least one row", a))
    if a.is_complex() or a.dtype == torch.bool:
        raise TypeError(message("a", owner, "a tensor of real numbers", a.dtype))
    return a.detach() if a.dtype in (torch.float32, torch.float64) else a.detach().float()


def check_finite(a: Tensor, owner: str) -> tuple[Tensor, Tensor]:
    """Smallest and largest entry of a working tensor ``(..., n, m)``; NaN and inf are refused."""
    low, high = torch.aminmax(a) if a.numel() else (a.new_zeros(()), a.new_zeros(()))
    if not bool(torch.isfinite(low) & torch.isfinite(high)):
        raise ValueError(f"{message('a', owner, 'finite', a)} It holds NaN or inf: look for a diverged training run.")
    return low, high


def non_negative(a: Tensor, owner: str, negatives: str) -> tuple[Tensor, Tensor | None]:
    """Apply ``negatives`` to a working tensor and return it with the offset that ``reconstruct`` adds back.

    Args:
        a: dense ``(..., n, m)`` or sparse ``(n, m)``.
        owner: the public function, for the message.
        negatives: "error" refuses, "clamp" zeroes, "split" doubles the columns to ``[A+, A-]``, "shift" subtracts each
            column's minimum.

    Raises:
        NegativeActivationsError: for ``negatives="error"`` and a negative entry.
    """
    check_choice(negatives, "negatives", owner, NEGATIVES)
    if a.layout != torch.strided:
        return _non_negative_sparse(a.to_sparse(layout=torch.sparse_coo).coalesce(), owner, negatives), None
    low, _ = check_finite(a, owner)
    if negatives == "split":
        return torch.cat([a.clamp(min=0), (-a).clamp(min=0)], dim=-1), None
    if negatives == "shift":
        offset = a.amin(dim=-2)
        return a - offset.unsqueeze(-2), offset
    if negatives == "error" and low < 0:
        raise _negative(a, owner, low)
    return a.clamp(min=0) if low < 0 else a, None


def as_matrix(a: Tensor) -> Matrix:
    """Wrap non-negative ``a``, dense ``(b, n, m)`` or sparse ``(n, m)``, with its products and norms."""
    sparse = a.layout != torch.strided
    values = a.values()[None, None] if sparse else a
    peak = values.flatten(1).amax(dim=1)[:, None, None] if values.numel() else a.new_ones(1, 1, 1)
    scale = None
    if bool(((peak > _SAFE) | ((peak < 1 / _SAFE) & (peak > 0))).any()):
        scale = torch.where(peak > 0, peak, 1.0)
        values = values / scale
    if not sparse:
        return _dense(values, scale)
    return _sparse(_with_values(a, values[0, 0]), scale)


def _dense(a: Tensor, scale: Tensor | None) -> Matrix:
    a = a.contiguous()
    return Matrix(
        times=lambda x: x @ a,
        # BLAS streams a tall matrix far faster from the left than as a transposed right factor
        times_t=lambda x: (a @ x.mT).mT.contiguous(),
        shape=cast("tuple[int, int, int]", tuple(a.shape)),
        norm=torch.linalg.vector_norm(a, dim=(1, 2)),
        scale=scale,
        dense=lambda: a,
        energy=lambda: a.square().sum(dim=1),
    )


def _sparse(a: Tensor, scale: Tensor | None) -> Matrix:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support", category=UserWarning)
        rows, columns = a.to_sparse_csr(), a.t().coalesce().to_sparse_csr()
    return Matrix(
        times=lambda x: (columns @ x[0].mT).mT.contiguous()[None],
        times_t=lambda x: (rows @ x[0].mT).mT.contiguous()[None],
        shape=(1, a.shape[0], a.shape[1]),
        norm=torch.linalg.vector_norm(a.values())[None],
        scale=scale,
        dense=lambda: a.to_dense()[None],
        energy=lambda: torch.zeros_like(a.to_dense()[0]).index_add(0, a.indices()[1], a.values().square())[None],
    )


def _non_negative_sparse(a: Tensor, owner: str, negatives: str) -> Tensor:
    low, _ = check_finite(a.values(), owner)
    if negatives == "shift":
        ways = "Call a.to_dense() first, or use 'clamp' or 'split'."
        raise ValueError(f"{message('negatives', owner, 'another mode for a sparse matrix', negatives)} {ways}")
    if negatives == "error" and low < 0:
        raise _negative(a, owner, low)
    clamped = _with_values(a, a.values().clamp(min=0))
    if negatives != "split":
        return clamped
    return torch.cat([clamped, _with_values(a, (-a.values()).clamp(min=0))], dim=1).coalesce()


def _with_values(a: Tensor, values: Tensor) -> Tensor:
    """The sparse tensor ``a`` with other values at the same places."""
    return torch.sparse_coo_tensor(a.indices(), values, a.shape, is_coalesced=True, check_invariants=False)


def _negative(a: Tensor, owner: str, low: Tensor) -> NegativeActivationsError:
    ways = "Pass negatives='clamp', 'split' or 'shift', choose a layer after its ReLU, or use method='pca'."
    return NegativeActivationsError(f"{message('a', owner, 'non-negative', a)} Its minimum is {low.item():.3g}. {ways}")
