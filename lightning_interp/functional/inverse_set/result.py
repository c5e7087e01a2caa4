"""Samples of an inverse set."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from lightning_interp._checks import message
from lightning_interp.functional.inverse_set.diversity import mean_pairwise_distance
from lightning_interp.functional.synthesis.pixels import PixelSpace

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TRACE", "InverseSet"]

_TENSORS = ("images", "codes", "activations", "features", "seeds", "intervals", "reached", "trace")
TRACE = ("is_walk", "violation", "n_feasible", "mu", "multiplier", "diversity")


@dataclass(frozen=True)
class InverseSet:
    """Images that excite neurons to a level, all different.

    Attributes:
        names: The neurons.
        images: ``(n, C, H, W)`` as the network takes them; all have their activations in the intervals.
        codes: Of which the generator makes them, ``(n, *code_shape)``.
        activations: ``(n, p)``, measured anew on the finished images.
        features: What the encoder says, ``(n, D)``.
        seeds: The seed each sample descends from, ``(n,)``.
        intervals: ``(p, 2)``.
        reached: Lowest and highest activation that was met on the way, ``(p, 2)``.
        trace: A row per gradient step, ``(T, 6)``: whether it is of the walk (else of the search for seeds), the mean
            violation in widths of the interval, how many codes are inside, mu, the largest multiplier, and the mean
            squared distance between features.
        space: How to show the images.
    """

    names: tuple[str, ...]
    images: Tensor
    codes: Tensor
    activations: Tensor
    features: Tensor
    seeds: Tensor
    intervals: Tensor
    reached: Tensor
    trace: Tensor
    space: PixelSpace

    def __len__(self) -> int:
        return len(self.images)

    @property
    def pixels(self) -> Tensor:
        """The images in [0, 1]."""
        return self.space.to_pixels(self.images)

    @property
    def diversity(self) -> float:
        """Mean pairwise distance of the features."""
        return mean_pairwise_distance(self.features)

    @property
    def n_steps(self) -> tuple[int, int]:
        """Gradient steps for the seeds, and of the walk."""
        n_walk = int(self.trace[:, 0].sum())
        return len(self.trace) - n_walk, n_walk

    def to_dataframe(self) -> "pd.DataFrame":
        """A row per sample: its seed, its activations and whether they are in their intervals."""
        import pandas as pd

        columns = {name: self.activations[:, i].tolist() for i, name in enumerate(self.names)}
        inside = ((self.activations >= self.intervals[:, 0]) & (self.activations <= self.intervals[:, 1])).all(1)
        return pd.DataFrame({"sample": range(len(self)), "seed": self.seeds, **columns, "in_range": inside})

    def trace_dataframe(self) -> "pd.DataFrame":
        """A row per gradient step."""
        import pandas as pd

        return pd.DataFrame(self.trace.numpy(), columns=list(TRACE)).rename_axis("step").reset_index()

    def save(self, path: str | Path) -> None:
        """Write to a safetensors file."""
        meta = {"names": self.names, "mean": self.space.mean, "std": self.space.std}
        tensors = {name: getattr(self, name).cpu().contiguous() for name in _TENSORS}
        save_file(tensors, path, {"inverse_set": json.dumps(meta)})

    @classmethod
    def load(cls, path: str | Path) -> "InverseSet":
        """Read what :meth:`save` wrote."""
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("inverse_set")
            if text is None:
                raise ValueError(message("path", "InverseSet.load", "a file written by InverseSet.save", str(path)))
            meta = json.loads(text)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
        space = PixelSpace(tuple(meta["mean"]), tuple(meta["std"]))
        return cls(names=tuple(meta["names"]), **tensors, space=space)
