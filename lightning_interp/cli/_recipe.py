"""How the pictures of an index are described, so that a query is described in the same way."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lightning_interp._checks import message
from lightning_interp.cli.networks import load_network
from lightning_interp.functional.retrieval.describer import Describer, DescriptorMethod
from lightning_interp.functional.retrieval.index import ImageIndex
from lightning_interp.functional.retrieval.whitening import Whitening
from lightning_interp.functional.synthesis.pixels import PixelSpace

__all__ = ["Recipe", "about_of"]

_WHITENING = "whitening.safetensors"


@dataclass(frozen=True)
class Recipe:
    """What ``lightning-interp index`` was told, by the names of its options; kept in the index's ``about``."""

    model: str
    model_args: dict[str, Any] | None
    ckpt: str | None
    weights: str | None
    layer: str | None
    method: DescriptorMethod
    k: int
    image_size: int
    mean: list[float]
    std: list[float]
    whiten: str | None
    dim: int | None

    @classmethod
    def read(cls, about: Mapping[str, Any], folder: Path) -> "Recipe":
        """From the ``about`` of the index in a folder."""
        names = [field.name for field in fields(cls)]
        if not {*names, "pictures"} <= about.keys():
            must = "an index that `lightning-interp index` has made; this one does not say how to describe a picture"
            raise ValueError(message("index", "lightning-interp", must, str(folder)))
        return cls(**{name: about[name] for name in names})

    @property
    def space(self) -> PixelSpace:
        """From pixels to what the network takes."""
        return PixelSpace.of(self.mean, self.std, channels=3)

    def network(self) -> nn.Module:
        """The network; its weights, where random, are always the same ones."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return load_network(self.model, arguments=self.model_args, ckpt=self.ckpt, weights=self.weights)

    def describer(self, net: nn.Module, whitening: Whitening | None) -> Describer:
        """What describes pictures."""
        return Describer(net, self.method, self.layer, self.k, whitening)

    def fingerprint(self, describer: Describer) -> str:
        """Of everything descriptors depend on; where the files of the network lie is not among it."""
        seen = {name: value for name, value in asdict(self).items() if name in ("image_size", "mean", "std")}
        return hashlib.sha256(f"{describer.fingerprint()} {json.dumps(seen)}".encode()).hexdigest()

    def save_whitening(self, whitening: Whitening | None, folder: Path) -> None:
        """Put it where the index will be."""
        if whitening is not None:
            folder.mkdir(parents=True, exist_ok=True)
            whitening.save(folder / _WHITENING)

    def load_whitening(self, folder: Path) -> Whitening | None:
        """The one beside the index, where it has one."""
        return None if self.whiten is None else Whitening.load(folder / _WHITENING)


def about_of(folder: Path) -> Mapping[str, Any] | None:
    """What is known about the index in a folder; None where there is no index."""
    try:
        return ImageIndex.open(folder).about
    except FileNotFoundError:
        return None
