"""Accuracy against the rank of the activations, and the area under that curve (AuC)."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from lightning_interp.functional.compression.sweep import CompressionCounts

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CompressionCurve", "compression_auc"]


def compression_auc(
    ks: Sequence[int],
    accuracy: Tensor,
    *,
    width: int,
    start: Tensor | float | None = None,
    end: Tensor | float | None = None,
) -> Tensor:
    """Area under accuracy against rank, divided by the layer width, so that it is at most 1.

    Trapezoid rule over the grid, extended to both ends of ``[0, width]`` so that different grids are comparable.

    Args:
        ks: The grid, increasing, within ``[0, width]``.
        accuracy: ``(..., len(ks))``, accuracy at each rank.
        width: Number of channels of the layer, the largest possible rank.
        start: Accuracy at rank 0, ``(...)``; that of the smallest ``k`` by default.
        end: Accuracy at full rank, ``(...)``; that of the largest ``k`` by default.

    Returns:
        The area, ``(...)``.

    Raises:
        ValueError: If the grid is empty, not increasing, or leaves ``[0, width]``.

    Example:
        >>> compression_auc([2, 4], torch.tensor([0.5, 1.0]), width=8, start=0.0, end=1.0)
        tensor(0.7500)

    Reference:
        Thesis, section 3.5.2 (layer-by-layer analysis).
    """
    grid = list(ks)
    if not grid or grid != sorted(set(grid)) or grid[0] < 0 or grid[-1] > width:
        raise ValueError(
            f"The `ks` parameter of `compression_auc` must be increasing ints in [0, {width}]. Got {grid}."
        )
    first, last = accuracy[..., :1], accuracy[..., -1:]
    first = first if start is None else torch.as_tensor(start).to(first).expand_as(first[..., 0]).unsqueeze(-1)
    last = last if end is None else torch.as_tensor(end).to(last).expand_as(last[..., 0]).unsqueeze(-1)
    x = torch.tensor([0, *grid, width], dtype=accuracy.dtype, device=accuracy.device)
    return torch.trapezoid(torch.cat([first, accuracy, last], dim=-1), x) / width


@dataclass(frozen=True)
class CompressionCurve:
    """Accuracy of a network whose activations were compressed to rank ``k``, for several ``k``.

    Attributes:
        ks: The ranks.
        width: Channels of the widest compressed layer: the full rank.
        layers: The compressed layers, in network order.
        method: Factorisation used.
        residual: Whether the residual ``A - A_k`` was fed on instead of ``A_k``.
        counts: The additive counts all numbers below derive from.
    """

    ks: tuple[int, ...]
    width: int
    layers: tuple[str, ...]
    method: str
    residual: bool
    counts: CompressionCounts

    @property
    def accuracy(self) -> Tensor:
        """Accuracy at each ``k``, ``(len(ks),)``."""
        return self._overall()[1:-1]

    @property
    def full_accuracy(self) -> float:
        """Accuracy of the same images with uncompressed activations."""
        return float(self._overall()[-1])

    @property
    def zero_accuracy(self) -> float:
        """Accuracy of the same images with all activations of the layers set to zero (rank 0)."""
        return float(self._overall()[0])

    @property
    def auc(self) -> float:
        """Area under accuracy against rank over ``[0, width]``, divided by ``width``."""
        return float(self._area(self._overall()))

    @property
    def relative_auc(self) -> float:
        """``auc / full_accuracy``; NaN when nothing is classified correctly."""
        return self.auc / self.full_accuracy if self.full_accuracy > 0 else float("nan")

    @property
    def class_accuracy(self) -> Tensor:
        """Accuracy per class at each ``k``, ``(len(ks), n_classes)``; NaN for classes without images."""
        return self._per_class()[1:-1]

    @property
    def class_auc(self) -> Tensor:
        """AuC of each class, ``(n_classes,)``; NaN for classes without images."""
        return self._area(self._per_class().T)

    @property
    def raw_error(self) -> Tensor:
        """Frobenius error ``||A - A_k||`` summed in squares over batches, ``(len(layers), len(ks))``."""
        return self.counts.squared_error.sqrt()

    @property
    def relative_error(self) -> Tensor:
        """``||A - A_k|| / ||A||`` per layer and ``k``, ``(len(layers), len(ks))``; 0 for an all-zero layer."""
        return (self.counts.squared_error / self.counts.squared_norm.clamp(min=1e-30)).sqrt()

    def to_dataframe(self) -> "pd.DataFrame":
        """One row per rank, the ends 0 and ``width`` included."""
        import pandas as pd  # here, because importing it takes a second

        return pd.DataFrame({"k": [0, *self.ks, self.width], "accuracy": self._by_rank(self._overall()).tolist()})

    def save(self, path: str | Path) -> None:
        """Write the curve to a safetensors file."""
        meta = asdict(replace(self, counts=None))  # type: ignore[arg-type]
        save_file(asdict(self.counts), path, metadata={"curve": json.dumps(meta)})

    @classmethod
    def load(cls, path: str | Path) -> "CompressionCurve":
        """Read a curve that :meth:`save` wrote."""
        with safe_open(path, framework="pt") as file:
            meta: dict[str, Any] = json.loads(file.metadata()["curve"])
            counts = CompressionCounts(**{name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        return cls(**{**meta, "ks": tuple(meta["ks"]), "layers": tuple(meta["layers"]), "counts": counts})

    def _overall(self) -> Tensor:
        return self.counts.correct.sum(1) / self.counts.total.sum().clamp(min=1)

    def _per_class(self) -> Tensor:
        return self.counts.correct / self.counts.total  # 0 / 0 = NaN marks classes without images

    def _by_rank(self, rows: Tensor) -> Tensor:
        # Of the residual, rank 0 leaves everything and full rank nothing.
        return torch.cat([rows[-1:], rows[1:-1], rows[:1]]) if self.residual else rows

    def _area(self, rows: Tensor) -> Tensor:
        rows = self._by_rank(rows.movedim(-1, 0)).movedim(0, -1)
        return compression_auc(self.ks, rows[..., 1:-1], width=self.width, start=rows[..., 0], end=rows[..., -1])
