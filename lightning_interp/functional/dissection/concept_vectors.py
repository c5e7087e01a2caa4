"""What Net2Vec finds: a vector of weights for every concept, and how well it and single units find the concept."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Net2Vec"]


@dataclass(frozen=True)
class Net2Vec:
    """Concepts as combinations of the units of one layer.

    All intersections over unions (IoU) are of images held out of everything that was fitted or chosen. They are NaN for
    a concept that the images of one split do not show.

    Attributes:
        layer: Name of the layer.
        names: The concepts, ``C`` of them.
        categories: Their categories.
        top_units: Numbers of units that probes had, ``S`` of them, the largest last.
        levels: A unit is active above its level, ``(units,)``.
        weights: Concept vectors, those of the largest number of units, ``(C, units)``.
        bias: Added to the weighted sum of active units, ``(C,)``.
        cut: A pixel shows the concept where the sum is above the cut, ``(C,)``.
        iou_by_size: IoU of the combinations of each number of units, ``(S, C)``.
        unit: The best single unit of each concept on the images for fitting, ``(C,)``.
        unit_iou: Its IoU on those held out, ``(C,)``.
        chance_iou: What a unit of this area would have by chance, ``(C,)``.
        p_value: Of the permutation test that the single unit is no better than chance, ``(C,)``.
        adjusted_p: The same after the Benjamini-Hochberg correction for all concepts, ``(C,)``.
        n_images: Held-out images that show each concept, ``(C,)``.
    """

    layer: str
    names: tuple[str, ...]
    categories: tuple[str, ...]
    top_units: tuple[int, ...]
    levels: Tensor
    weights: Tensor
    bias: Tensor
    cut: Tensor
    iou_by_size: Tensor
    unit: Tensor
    unit_iou: Tensor
    chance_iou: Tensor
    p_value: Tensor
    adjusted_p: Tensor
    n_images: Tensor

    @property
    def iou(self) -> Tensor:
        """IoU of the combinations of the largest number of units, ``(C,)``."""
        return self.iou_by_size[-1]

    def evidence(self, activation: Tensor) -> Tensor:
        """How far each concept is above its cut, for a map of it: positive where the concept is.

        Args:
            activation: Of the layer, ``(B, units, h, w)``.

        Returns:
            ``(B, C, h, w)``.
        """
        active = (activation.float() > self.levels.to(activation.device).view(1, -1, 1, 1)).float()
        sums = torch.einsum("cu,buhw->bchw", self.weights.to(active), active)
        return sums + (self.bias - self.cut).to(active).view(1, -1, 1, 1)

    def to_dataframe(self) -> "pd.DataFrame":
        """A row per concept.

        Columns: ``concept``, ``category``, ``n_images``, ``iou``, the same for every number of units (``iou_top_4``),
        ``unit``, ``unit_iou``, ``chance_iou``, ``p_value`` and ``adjusted_p``.
        """
        import pandas as pd  # here, because importing it takes a second

        columns = {
            "concept": self.names,
            "category": self.categories,
            "n_images": self.n_images.tolist(),
            "iou": self.iou.tolist(),
            **{f"iou_top_{n}": row.tolist() for n, row in zip(self.top_units, self.iou_by_size, strict=True)},
        }
        for name in ("unit", "unit_iou", "chance_iou", "p_value", "adjusted_p"):
            columns[name] = getattr(self, name).tolist()
        return pd.DataFrame(columns)

    def save(self, path: str | Path) -> None:
        """Write to a safetensors file."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        tensors = {name: value.contiguous() for name, value in fields.items() if isinstance(value, Tensor)}
        meta = {name: value for name, value in fields.items() if name not in tensors}
        save_file(tensors, path, metadata={"net2vec": json.dumps(meta)})

    @classmethod
    def load(cls, path: str | Path) -> "Net2Vec":
        """Read what :meth:`save` wrote."""
        with safe_open(path, framework="pt") as file:
            meta = json.loads(file.metadata()["net2vec"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        lists: dict[str, Any] = {name: tuple(meta[name]) for name in ("names", "categories", "top_units")}
        return cls(layer=meta["layer"], **lists, **tensors)
