"""The images that excite each unit most."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["TopImages"]


@dataclass(frozen=True)
class TopImages:
    """For every unit the images with the largest activation; those of disjoint sets of images add up.

    Attributes:
        values: Largest activation at any position, best first, ``(units, k)``; minus infinity where images are lacking.
        indices: Which images, ``(units, k)``; of equal values the lower index comes first. -1 where images are lacking.
    """

    values: Tensor
    indices: Tensor

    @classmethod
    def zeros(cls, n_units: int, k: int, *, device: torch.device | None = None) -> "TopImages":
        """Of no images."""
        values = torch.full((n_units, k), -torch.inf, dtype=torch.float32, device=device)
        return cls(values, torch.full((n_units, k), -1, dtype=torch.long, device=device))

    def __add__(self, other: "TopImages") -> "TopImages":
        values, indices = torch.cat([self.values, other.values], 1), torch.cat([self.indices, other.indices], 1)
        by_index = indices.argsort(dim=1, stable=True)
        values, indices = values.gather(1, by_index), indices.gather(1, by_index)
        best = values.argsort(dim=1, descending=True, stable=True)[:, : self.values.shape[1]]
        return TopImages(values.gather(1, best), indices.gather(1, best))

    def update(self, maxima: Tensor, indices: Tensor) -> "TopImages":
        """With the largest activations ``(B, units)`` of the images ``indices`` ``(B,)``."""
        rows = indices.to(maxima.device).expand(maxima.shape[1], -1)
        return self + TopImages(maxima.T.float(), rows)
