"""Tables of how much activations change under a perturbation and under noise of equal size."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ActivationChange", "ChangedMap", "LayerChange"]


@dataclass(frozen=True)
class LayerChange:
    """How much one layer changes.

    Attributes:
        norms: Mean over images of three Euclidean norms of each unit's map and, last, of the whole layer: clean, its
            change by the perturbation, and its change by noise, ``(3, units + 1)``.
    """

    norms: Tensor

    @property
    def change(self) -> Tensor:
        """Relative change by the perturbation, ``(units + 1,)``; NaN where nothing was said on the clean images."""
        return _relative(self.norms[1], self.norms[0])

    @property
    def change_by_noise(self) -> Tensor:
        """Relative change by noise of equal norm, ``(units + 1,)``."""
        return _relative(self.norms[2], self.norms[0])

    @property
    def ratio(self) -> Tensor:
        """How many times more the perturbation changes than noise, ``(units + 1,)``; NaN where nothing changes."""
        return self.norms[1] / self.norms[2]


@dataclass(frozen=True)
class ChangedMap:
    """The maps of one unit on some images and on their perturbed twins.

    Attributes:
        layer: Name of the layer.
        unit: The unit.
        clean: ``(n, h, w)``.
        perturbed: ``(n, h, w)``.
    """

    layer: str
    unit: int
    clean: Tensor
    perturbed: Tensor

    @property
    def difference(self) -> Tensor:
        """Perturbed minus clean, ``(n, h, w)``."""
        return self.perturbed - self.clean


@dataclass(frozen=True)
class ActivationChange:
    """How much activations change under a perturbation, and under noise of equal norm.

    Attributes:
        layers: Layer name -> its changes, in network order.
        maps: Of the most changed units of each layer that has maps.
        n_images: How many images were compared.
        n_noise: How many draws of noise, for each.
    """

    layers: Mapping[str, LayerChange]
    maps: tuple[ChangedMap, ...]
    n_images: int
    n_noise: int

    def to_dataframe(self) -> "pd.DataFrame":
        """A row per unit: ``layer``, ``unit``, ``change``, ``change_by_noise``, ``ratio``."""
        import pandas as pd  # here, because importing it takes a second

        tables = []
        for name, layer in self.layers.items():
            columns = {key: value[:-1].numpy() for key, value in _columns(layer).items()}
            units = range(layer.norms.shape[1] - 1)
            tables.append(pd.DataFrame({"layer": name, "unit": units, **columns}))
        return pd.concat(tables, ignore_index=True)

    def by_layer(self) -> "pd.DataFrame":
        """A row per layer, all its units in one vector: ``change``, ``change_by_noise``, ``ratio``."""
        import pandas as pd

        rows = {name: {k: float(v[-1]) for k, v in _columns(layer).items()} for name, layer in self.layers.items()}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("layer")

    def save(self, path: str | Path) -> None:
        """Write to a safetensors file."""
        tensors = {f"{i}/norms": layer.norms for i, layer in enumerate(self.layers.values())}
        for i, each in enumerate(self.maps):
            tensors |= {f"{i}/clean": each.clean.contiguous(), f"{i}/perturbed": each.perturbed.contiguous()}
        meta = {
            "layers": list(self.layers),
            "maps": [(each.layer, each.unit) for each in self.maps],
            "n_images": self.n_images,
            "n_noise": self.n_noise,
        }
        save_file(tensors, path, metadata={"activation_change": json.dumps(meta)})

    @classmethod
    def load(cls, path: str | Path) -> "ActivationChange":
        """Read what :meth:`save` wrote."""
        with safe_open(path, framework="pt") as file:
            meta = json.loads(file.metadata()["activation_change"])
            layers = {name: LayerChange(file.get_tensor(f"{i}/norms")) for i, name in enumerate(meta["layers"])}
            maps = tuple(
                ChangedMap(layer, unit, file.get_tensor(f"{i}/clean"), file.get_tensor(f"{i}/perturbed"))
                for i, (layer, unit) in enumerate(meta["maps"])
            )
        return cls(layers, maps, meta["n_images"], meta["n_noise"])


def _columns(layer: LayerChange) -> dict[str, Tensor]:
    return {"change": layer.change, "change_by_noise": layer.change_by_noise, "ratio": layer.ratio}


def _relative(change: Tensor, clean: Tensor) -> Tensor:
    return torch.where(change == 0, 0.0, change / clean).where((clean > 0) | (change == 0), torch.nan)
