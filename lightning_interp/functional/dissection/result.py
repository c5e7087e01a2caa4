"""What a dissection finds, as tables."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from lightning_interp.functional.dissection.overlap import Concepts
from lightning_interp.functional.dissection.top_images import TopImages

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LayerDissection", "NetworkDissection"]


@dataclass(frozen=True)
class LayerDissection:
    """The units of one layer.

    Attributes:
        levels: The level that each unit exceeds at the chosen share of positions, ``(units,)``.
        iou: Intersection over union with every concept, ``(units, C)``.
        top: The images that excite each unit most.
    """

    levels: Tensor
    iou: Tensor
    top: TopImages


@dataclass(frozen=True)
class NetworkDissection:
    """Which concepts the units of a network detect.

    Attributes:
        concepts: The concepts, in the order of the columns of ``iou``.
        layers: Layer name -> its units, in network order.
        iou_threshold: A unit detects its best concept when its intersection over union is above this.
    """

    concepts: Concepts
    layers: Mapping[str, LayerDissection]
    iou_threshold: float

    def to_dataframe(self) -> "pd.DataFrame":
        """One row per unit: ``layer``, ``unit``, its best ``concept`` with ``category`` and ``iou``, and ``level``.

        ``detector`` says whether ``iou`` is above the threshold.
        """
        import pandas as pd  # here, because importing it takes a second

        tables = []
        for name, layer in self.layers.items():
            iou, best = layer.iou.max(1)
            category = self.concepts.category[best]
            columns = {
                "layer": name,
                "unit": range(len(best)),
                "concept": [self.concepts.names[c] for c in best.tolist()],
                "category": [self.concepts.categories[k] for k in category.tolist()],
                "iou": iou.numpy(),
                "detector": (iou > self.iou_threshold).numpy(),
                "level": layer.levels.numpy(),
            }
            tables.append(pd.DataFrame(columns))
        return pd.concat(tables, ignore_index=True)

    def unique_detectors(self) -> "pd.DataFrame":
        """Number of different concepts that units detect: a row per layer, a column per category, and ``total``."""
        import pandas as pd

        rows = {name: self._detected(layer) for name, layer in self.layers.items()}
        table = pd.DataFrame(rows).T.rename_axis("layer")
        return table.assign(total=table.sum(axis=1))

    def detected_concepts(self) -> dict[str, int]:
        """Number of different concepts that units of any layer detect, by category."""
        best = [layer.iou.max(1) for layer in self.layers.values()]
        found = torch.cat([concept[iou > self.iou_threshold] for iou, concept in best]).unique()
        return self._per_category(found)

    def _detected(self, layer: LayerDissection) -> dict[str, int]:
        iou, best = layer.iou.max(1)
        return self._per_category(best[iou > self.iou_threshold].unique())

    def _per_category(self, found: Tensor) -> dict[str, int]:
        counts = torch.bincount(self.concepts.category[found], minlength=len(self.concepts.categories))
        return dict(zip(self.concepts.categories, counts.tolist(), strict=True))

    def save(self, path: str | Path) -> None:
        """Write to a safetensors file."""
        tensors: dict[str, Tensor] = {"category": self.concepts.category}
        for i, layer in enumerate(self.layers.values()):
            parts = {"levels": layer.levels, "iou": layer.iou, "values": layer.top.values, "indices": layer.top.indices}
            tensors |= {f"{i}/{key}": value.contiguous() for key, value in parts.items()}
        meta = {
            "layers": list(self.layers),
            "iou_threshold": self.iou_threshold,
            "categories": self.concepts.categories,
            "names": self.concepts.names,
            "first": self.concepts.first,
        }
        save_file(tensors, path, metadata={"dissection": json.dumps(meta)})

    @classmethod
    def load(cls, path: str | Path) -> "NetworkDissection":
        """Read what :meth:`save` wrote."""
        with safe_open(path, framework="pt") as file:
            meta = json.loads(file.metadata()["dissection"])
            layers = {}
            for i, name in enumerate(meta["layers"]):
                levels, iou, values, indices = (
                    file.get_tensor(f"{i}/{key}") for key in ("levels", "iou", "values", "indices")
                )
                layers[name] = LayerDissection(levels, iou, TopImages(values, indices))
            names, first = tuple(meta["names"]), tuple(meta["first"])
            concepts = Concepts(tuple(meta["categories"]), names, file.get_tensor("category"), first)
        return cls(concepts, layers, meta["iou_threshold"])
