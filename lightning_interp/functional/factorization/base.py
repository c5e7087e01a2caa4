"""What every factorisation returns: ``A ~ U V`` with its error, reconstruction, projection of new data, and files."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from lightning_interp._checks import message
from lightning_interp.functional.factorization._matrix import as_matrix, check_finite, non_negative, working
from lightning_interp.functional.factorization._solvers import solve_u

_CHUNK = 1 << 24  # entries of UV held at a time while the error is measured


@dataclass(frozen=True)
class Factorization:
    """``A ~ U V`` for one matrix or a batch of them.

    Factors of half-precision input are float32; ``reconstruct`` returns the input's dtype.

    Args:
        u: weights of each row, shape ``(n, k)`` or ``(b, n, k)``.
        v: basis rows, shape ``(k, m)`` or ``(b, k, m)``; ``(.., k, 2 m)`` when negatives were split.
        error: relative Frobenius error ``||A - reconstruct()|| / ||A||``, shape ``()`` or ``(b,)``; 0 for a
            zero matrix.
        n_iter: iterations made; 0 when the solution is direct.
        method: "nmf", "pca", "kmeans", "spherical_kmeans" or "random_ablation".
        offset: what ``reconstruct`` adds to each column (mean of PCA, minimum of ``negatives="shift"``), shape ``(m,)``
            or ``(b, m)``; None for nothing.
        negatives: how negative entries were treated.
        dtype: dtype of the factorised matrix.
    """

    u: Tensor
    v: Tensor
    error: Tensor
    n_iter: int
    method: str
    offset: Tensor | None = None
    negatives: str = "error"
    dtype: torch.dtype = torch.float32

    @property
    def k(self) -> int:
        """Number of components."""
        return self.v.shape[-2]

    def reconstruct(self) -> Tensor:
        """The approximation of A in its own space and dtype, shape ``(n, m)`` or ``(b, n, m)``."""
        return self._expand(self.u).to(self.dtype)

    def transform(self, a: Tensor) -> Tensor:
        """Weights of new rows on the basis, which stays fixed.

        Non-negative least squares for NMF, projection for PCA, nearest centroid for k-means, kept columns for random
        ablation.

        Args:
            a: new rows, shape ``(n2, m)``, or ``(b, n2, m)`` for a batch of factorisations.

        Returns:
            U of the new rows, shape ``(n2, k)`` or ``(b, n2, k)``.

        Raises:
            ValueError: when the width or the number of problems differs from the factorised matrix.
        """
        a = self._matching(a)
        if self.method == "nmf":
            return self._solve(a)
        check_finite(a, "Factorization.transform")
        if self.method.endswith("kmeans"):
            return assign(a, self.v, spherical=self.method == "spherical_kmeans")
        return (a if self.offset is None else a - self.offset.unsqueeze(-2)) @ self.v.mT

    def save(self, path: str | Path) -> None:
        """Write tensors and metadata to one safetensors file."""
        tensors = {"u": self.u, "v": self.v, "error": self.error}
        if self.offset is not None:
            tensors["offset"] = self.offset
        facts = {"n_iter": self.n_iter, "method": self.method, "negatives": self.negatives, "dtype": str(self.dtype)}
        metadata = {"factorization": json.dumps(facts)}
        save_file({name: value.contiguous() for name, value in tensors.items()}, path, metadata=metadata)

    @classmethod
    def load(cls, path: str | Path) -> "Factorization":
        """Read a file written by ``save``; tensors come back on the CPU."""
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("factorization")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        if text is None:
            raise ValueError(message("path", "Factorization.load", "a file written by Factorization.save", str(path)))
        facts = json.loads(text)
        facts["dtype"] = getattr(torch, facts["dtype"].removeprefix("torch."))
        return cls(**tensors, **facts)

    def _expand(self, u: Tensor) -> Tensor:
        product = u @ self.v
        if self.negatives == "split":
            positive, negative = product.chunk(2, dim=-1)
            product = positive - negative
        return product if self.offset is None else product + self.offset.unsqueeze(-2)

    def _matching(self, a: Tensor) -> Tensor:
        a = working(a, "Factorization.transform").to(self.v)
        width = self.v.shape[-1] // (2 if self.negatives == "split" else 1)
        batch = tuple(self.v.shape[:-2])
        if a.shape[-1] != width or tuple(a.shape[:-2]) != batch:
            shape = ", ".join(map(str, (*batch, "n", width)))
            raise ValueError(message("a", "Factorization.transform", f"of shape ({shape})", a))
        return a

    def _solve(self, a: Tensor) -> Tensor:
        owner = "Factorization.transform"
        if self.offset is not None:
            check_finite(a, owner)
            a = (a - self.offset.unsqueeze(-2)).clamp(min=0)
        else:
            a, _ = non_negative(a, owner, self.negatives)
        dense = a.layout == torch.strided
        matrix = as_matrix(a if a.dim() == 3 or not dense else a[None])
        u = solve_u(matrix, self.v if self.v.dim() == 3 else self.v[None])
        u = (u if matrix.scale is None else u * matrix.scale).mT.contiguous()
        return u if self.v.dim() == 3 else u[0]


def assign(a: Tensor, centroids: Tensor, *, spherical: bool) -> Tensor:
    """One weight per row of ``a`` ``(..., n, m)`` on its nearest centroid ``(..., k, m)``; shape ``(..., n, k)``.

    The weight is 1, or for spherical k-means the length of the row along its unit centroid.
    """
    product = a @ centroids.mT
    closeness = product if spherical else product - centroids.pow(2).sum(dim=-1).unsqueeze(-2) / 2
    nearest = closeness.argmax(dim=-1, keepdim=True)
    weight = product.gather(-1, nearest) if spherical else torch.ones_like(nearest, dtype=a.dtype)
    return torch.zeros_like(product).scatter_(-1, nearest, weight)


def relative_error(a: Tensor, factorization: Factorization) -> Tensor:
    """``||A - reconstruct()|| / ||A||`` measured in row chunks; exact also where the closed form would cancel.

    Args:
        a: dense working tensor ``(n, m)`` or ``(b, n, m)``.
        factorization: its factors; its own ``error`` is not read.
    """
    rows = max(1, _CHUNK * a.shape[-2] // max(a.numel(), 1))
    pieces = zip(torch.split(a, rows, -2), torch.split(factorization.u, rows, -2), strict=True)
    norms = [_norm(piece - factorization._expand(u)) for piece, u in pieces]
    total = _norm(a)
    return torch.where(total > 0, torch.stack(norms).norm(dim=0) / torch.where(total > 0, total, 1.0), 0.0)


def _norm(a: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(a, dim=(-2, -1))
    return norm
