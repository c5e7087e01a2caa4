"""PCA whitening of descriptors, learned on images of their own."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from lightning_interp._checks import check_int, message

__all__ = ["Whitening"]

_SMALLEST = 1e-6  # of the largest variance: directions with less are rounding


@dataclass(frozen=True)
class Whitening:
    """A centre, and directions along which descriptors have unit variance around it.

    Attributes:
        mean: ``(C,)``.
        projection: ``(D, C)``, the direction of largest variance first.
        variance: Of each direction before it was scaled, ``(D,)``.
    """

    mean: Tensor
    projection: Tensor
    variance: Tensor

    @classmethod
    def fit(cls, parts: Iterable[Tensor], *, dim: int | None = None) -> "Whitening":
        """Learn from descriptors, in one pass that holds two matrices.

        Args:
            parts: Descriptors ``(n, C)``, batch by batch; zero rows are left out.
            dim: Directions to keep; by default all in which descriptors vary.

        Raises:
            ValueError: There are fewer than two descriptors, or they vary in fewer than ``dim`` directions.

        Example:
            >>> rows = torch.randn(500, 6, generator=torch.Generator().manual_seed(0)) @ torch.rand(6, 6)
            >>> white = Whitening.fit([rows], dim=4)(rows)
            >>> bool(torch.allclose(white.T @ white / 499, torch.eye(4), atol=1e-3))
            True

        Reference:
            Jegou and Chum, Negative evidences and co-occurrences in image retrieval, ECCV 2012.
        """
        n, total, second = 0, torch.zeros(1), torch.zeros(1)
        for part in parts:
            rows = part.double().cpu()
            rows = rows[(rows != 0).any(1)]
            n, total, second = n + len(rows), total + rows.sum(0), second + rows.mT @ rows
        if n < 2:
            raise ValueError(message("parts", "Whitening.fit", f"two descriptors at least; there are {n}", n))
        mean = total / n
        variance, directions = torch.linalg.eigh((second - n * torch.outer(mean, mean)) / (n - 1))
        variance, directions = variance.flip(0), directions.flip(1).mT
        rank = min(n - 1, int((variance > _SMALLEST * variance[0].clamp(min=1e-30)).sum()))
        if dim is not None:
            check_int(dim, "dim", "Whitening.fit", high=max(rank, 1))
        variance, directions = variance[: dim or rank], directions[: dim or rank]
        return cls(mean.float(), (directions / variance.sqrt()[:, None]).float(), variance.float())

    def __call__(self, rows: Tensor) -> Tensor:
        """Whitened descriptors ``(..., D)`` of descriptors ``(..., C)``."""
        if rows.shape[-1] != len(self.mean):
            must = f"descriptors of {len(self.mean)} channels, as those it was learned on"
            raise ValueError(message("rows", "Whitening", must, rows))
        return (rows - self.mean.to(rows)) @ self.projection.to(rows).mT

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by name."""
        return {"mean": self.mean, "projection": self.projection, "variance": self.variance}

    def save(self, path: str | Path) -> None:
        """Write to a safetensors file."""
        save_file({name: tensor.contiguous() for name, tensor in self.tensors().items()}, path, {"whitening": "1"})

    @classmethod
    def load(cls, path: str | Path) -> "Whitening":
        """Read what :meth:`save` wrote."""
        with safe_open(path, framework="pt") as file:
            if "whitening" not in (file.metadata() or {}):
                raise ValueError(message("path", "Whitening.load", "a file written by Whitening.save", str(path)))
            return cls(**{name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118  # no mapping
