"""Descriptors of images that several processes describe."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lightning_interp._checks import message

__all__ = ["ImageDescriptors"]


class ImageDescriptors(Metric):
    """Descriptors by the number of their image, gathered over ranks.

    Every rank must describe one image at least: samplers that pad see to it.

    Args:
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Example:
        >>> described = ImageDescriptors()
        >>> described.update(torch.tensor([7, 3]), torch.eye(2))
        >>> described.update(torch.tensor([3]), torch.eye(2)[1:])  # samplers pad
        >>> described.compute()
        tensor([3, 7])
        >>> described.vectors()
        tensor([[0., 1.],
                [1., 0.]])
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    indices: list[Tensor]
    rows: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("indices", "rows"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, indices: Tensor, vectors: Tensor) -> None:
        """Add some images; none at all is fine.

        Args:
            indices: Their numbers, ``(N,)``; one that comes twice counts once.
            vectors: Their descriptors, ``(N, D)``.
        """
        if vectors.ndim != 2 or indices.shape != vectors.shape[:1]:
            raise ValueError(
                message("vectors", "ImageDescriptors", f"a row for each of {len(indices)} images", vectors)
            )
        self.indices.append(indices.to(self.device))
        self.rows.append(vectors.to(self.device))

    def compute(self) -> Tensor:
        """Numbers of the images of all ranks, sorted, each once."""
        return self._sorted()[0]

    def vectors(self) -> Tensor:
        """Their descriptors in the order of :meth:`compute`, ``(n, D)``."""
        synced = self._is_synced
        with self.sync_context(should_sync=not synced, should_unsync=not synced):
            return self._sorted()[1]

    def _sorted(self) -> tuple[Tensor, Tensor]:
        if isinstance(self.indices, list) and not self.indices:
            return torch.zeros(0, dtype=torch.long, device=self.device), torch.zeros(0, 0, device=self.device)
        indices, rows = dim_zero_cat(self.indices), dim_zero_cat(self.rows)
        order = indices.argsort(stable=True)
        first = torch.ones(len(order), dtype=torch.bool, device=order.device)
        first[1:] = indices[order][1:] != indices[order][:-1]
        return indices[order[first]], rows[order[first]]
