"""Positions of activation maps as samples: which units are active there, and which concepts it shows."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from lightning_interp.functional.dissection.overlap import Concepts, LabelPlanes

__all__ = ["ConceptCells", "pooled_labels"]


@dataclass(frozen=True)
class ConceptCells:
    """``N`` positions of activation maps; a position stands for the pixels it covers.

    Attributes:
        active: 1 where a unit is above its level, else 0, ``(N, units)`` uint8.
        present: Share of the pixels that show each concept, ``(N, C)`` float16.
        annotated: Share of the pixels that are annotated with each category, ``(N, categories)`` float16.
    """

    active: Tensor
    present: Tensor
    annotated: Tensor

    @classmethod
    def of(
        cls, activation: Tensor, levels: Tensor, labels: Sequence[Sequence[LabelPlanes]], concepts: Concepts
    ) -> "ConceptCells":
        """Of one batch, on the CPU.

        Args:
            activation: ``(B, units, h, w)``, or ``(B, units)`` of a linear layer.
            levels: ``(units,)``.
            labels: What is annotated in every image.
            concepts: All concepts.
        """
        maps = activation if activation.ndim == 4 else activation[:, :, None, None]
        size = (maps.shape[2], maps.shape[3])
        active = (maps.float() > levels.view(1, -1, 1, 1)).byte().cpu()
        pooled = [pooled_labels(entries, concepts, size) for entries in labels]
        present = torch.stack([shares for shares, _ in pooled])
        annotated = torch.stack([shares for _, shares in pooled])
        return cls(_rows(active), _rows(present).half(), _rows(annotated).half())

    @classmethod
    def cat(cls, parts: Sequence["ConceptCells"]) -> "ConceptCells":
        """All positions of several batches."""
        names = ("active", "present", "annotated")
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))

    @property
    def n_bytes(self) -> int:
        """Memory they take."""
        return sum(part.numel() * part.element_size() for part in (self.active, self.present, self.annotated))


def pooled_labels(entries: Sequence[LabelPlanes], concepts: Concepts, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Shares of the pixels around each position that show a concept, and that are annotated.

    Args:
        entries: What is annotated in one image.
        concepts: All concepts.
        size: Height and width of the grid of positions.

    Returns:
        ``(C, h, w)`` and ``(categories, h, w)``.
    """
    present = torch.zeros(len(concepts.names), *size)
    annotated = torch.zeros(len(concepts.categories), *size)
    for entry in entries:
        shares = adaptive_avg_pool2d(entry.planes.cpu().reshape(1, -1, *entry.size), size)[0]
        present[entry.concepts], annotated[entry.categories] = shares.split(
            [len(entry.concepts), len(entry.categories)]
        )
    return present, annotated


def _rows(maps: Tensor) -> Tensor:
    return maps.movedim(1, -1).flatten(0, -2)
