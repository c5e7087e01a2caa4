"""How many images of a sampler excite the neuron as they should, how different these are, and what they took."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from benchmarks._inverse_set_samplers import ENCODER, Drawn, Sampler, Task, timed
from benchmarks._inverse_set_world import World
from lightning_interp.functional.inverse_set import mean_pairwise_distance, nearest_images
from lightning_interp.hooks import forward_to

_BATCH = 500
_KEYS = ["neuron", "level", "low", "high", "sampler"]
_SPREAD = ("in range", "diversity")


class Judge:
    """Measures images by forward passes of its own, which no sampler had a part in.

    Args:
        world: Whose network judges, and whose training images are compared with.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.known = self._seen(world.images, [ENCODER])[ENCODER].flatten(1)

    def __call__(self, task: Task, drawn: Drawn) -> dict[str, float]:
        """The scores of one sampler on one task; those that are about no image are left out."""
        seen = self._seen(drawn.images, [task.layer, ENCODER])
        inside = task.inside(task.objective(seen))
        features = seen[ENCODER].flatten(1)
        row = {"images": len(inside), "in range": float(inside.double().mean())}
        row |= {
            "diversity": mean_pairwise_distance(features[inside]),
            "diversity, all": mean_pairwise_distance(features),
        }
        row |= {"nearest training image": self._nearest(features[inside], drawn.images is self.world.images)}
        if drawn.codes is not None:
            row["code size"] = float(drawn.codes[inside].double().square().mean().sqrt())
        row |= {"steps": drawn.steps, "differentiated": drawn.differentiated, "seconds": drawn.seconds}
        row |= {} if drawn.walk is None else {"steps after seeds": drawn.walk}
        return {name: value for name, value in row.items() if not math.isnan(value)}

    def _nearest(self, features: Tensor, themselves: bool) -> float:
        if not len(features):
            return math.nan
        if themselves:  # the nearest of a training image is the second
            return float(torch.cdist(features, self.known).topk(2, largest=False).values[:, 1].mean())
        return float(nearest_images(features, [self.known])[1].mean())

    def _seen(self, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        with forward_to(self.world.net, list(layers)) as run, torch.no_grad():
            parts = [run(part) for part in images.split(_BATCH)]
        return {layer: torch.cat([part[layer] for part in parts]) for layer in layers}


def measured(
    judge: Judge, tasks: Iterable[tuple[dict[str, Any], Task]], samplers: dict[str, Sampler]
) -> list[dict[str, Any]]:
    """One row per task and sampler; the training images are the same for all seeds."""
    rows: list[dict[str, Any]] = []
    for head, task in tasks:
        for name, sampler in samplers.items():
            rows.append({**head, "sampler": name, **judge(task, timed(sampler, task))})
            print({key: round(v, 3) if isinstance(v, float) else v for key, v in rows[-1].items()}, flush=True)
    return rows


def over_seeds(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per neuron, level and sampler: means, and standard deviations of what is judged."""
    found = []
    for key, group in pd.DataFrame(rows).groupby(_KEYS, sort=False):
        values = group.drop(columns=[*_KEYS, "seed"])
        row = dict(zip(_KEYS, key, strict=True))
        for name, mean in values.mean().items():
            row[name] = mean
            if name in _SPREAD and len(group) > 1:
                row[f"{name} sd"] = values[name].std()
        found.append({name: value for name, value in row.items() if value == value})
    return found
