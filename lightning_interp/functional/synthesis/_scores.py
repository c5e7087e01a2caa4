"""What objectives compute: functions with their arguments bound, not closures, so that objectives can be pickled."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from lightning_interp._checks import check_choice, check_int, message
from lightning_interp.hooks import OUTPUT

Activations: TypeAlias = Mapping[str, Tensor]
Score: TypeAlias = Callable[[Activations], Tensor]
Position: TypeAlias = Literal["center", "max"] | tuple[int, int]


def weighted(terms: Sequence[tuple[float, Score]], seen: Activations) -> Tensor:
    """The sum of scores, each times its weight."""
    return sum((weight * score(seen) for weight, score in terms[1:]), terms[0][0] * terms[0][1](seen))


def unit_at(layer: str, index: int, position: Position, seen: Activations, *, owner: str = "unit") -> Tensor:
    """Of one unit at one position, ``(N,)``."""
    activation = _units(seen[layer], layer, index, owner)
    return activation if activation.ndim == 1 else _at(activation, position, layer)


def channel_mean(layer: str, index: int, seen: Activations) -> Tensor:
    """Of one unit, mean over its map, ``(N,)``."""
    activation = _units(seen[layer], layer, index, "channel")
    return activation if activation.ndim == 1 else activation.flatten(1).mean(1)


def log_odds_of(index: int, seen: Activations) -> Tensor:
    """Of one class against all others, ``(N,)``."""
    chosen = _units(seen[OUTPUT], OUTPUT, index, "log_odds")
    others = torch.arange(seen[OUTPUT].shape[1], device=chosen.device) != index
    return chosen - seen[OUTPUT][:, others].logsumexp(1)


def along(layer: str, vector: Tensor, power: float, seen: Activations) -> Tensor:
    """Powers of cosines to a direction, mean over positions, ``(N,)``."""
    activation = seen[layer].flatten(2) if seen[layer].ndim > 2 else seen[layer][:, :, None]
    if activation.shape[1] != len(vector):
        must = f"of length {activation.shape[1]}, the units of layer {layer!r}"
        raise ValueError(message("vector", "direction", must, vector))
    cosines = cosine_similarity(activation, vector.to(activation)[None, :, None], dim=1)
    return (cosines.sign() * (cosines.abs() + 1e-12) ** power).mean(1)


def match(layer: str, target: Tensor, seen: Activations) -> Tensor:
    """Minus the relative distance to target activations, ``(N,)``."""
    return -_distance(seen[layer], target, layer)


def match_of_grams(layer: str, target: Tensor, seen: Activations) -> Tensor:
    """Minus the relative distance to a target Gram matrix, ``(N,)``."""
    return -_distance(gram(seen[layer], layer), target, layer)


def gram(activation: Tensor, layer: str) -> Tensor:
    """Products of units over all positions, their mean: ``(N, units, units)``."""
    if activation.ndim != 4:
        must = f"a layer with maps (N, units, H, W); {layer!r} has none"
        raise ValueError(message("layer", "gram_match", must, activation))
    rows = activation.flatten(2)
    return rows @ rows.mT / rows.shape[2]


def _units(activation: Tensor, layer: str, index: int, owner: str) -> Tensor:
    """``(N,)`` or ``(N, ...)`` of one unit."""
    if activation.ndim < 2:
        raise ValueError(message("layer", owner, "a layer with outputs (N, units, ...)", activation))
    last = activation.shape[1] - 1
    try:
        return activation[:, check_int(index, "index", owner, low=0, high=last)]
    except ValueError as error:
        raise ValueError(f"{error} Layer {layer!r} has {last + 1} units.") from None


def _at(maps: Tensor, position: Position, layer: str) -> Tensor:
    """``(N,)`` of maps ``(N, ...)``."""
    if isinstance(position, str):
        check_choice(position, "position", "unit", ("center", "max"))
    if position == "max":
        return maps.flatten(1).amax(1)
    where = tuple(side // 2 for side in maps.shape[1:]) if isinstance(position, str) else tuple(position)
    if len(where) != maps.ndim - 1 or any(not 0 <= i < side for i, side in zip(where, maps.shape[1:], strict=True)):
        must = f"'center', 'max' or a place in the map of layer {layer!r}, which is {tuple(maps.shape[1:])}"
        raise ValueError(message("position", "unit", must, position))
    for i in where:
        maps = maps[:, i]
    return maps


def _distance(activation: Tensor, target: Tensor, layer: str) -> Tensor:
    if activation.shape[1:] != target.shape[1:] or len(target) not in (1, len(activation)):
        must = f"of shape {tuple(activation.shape)} as the activations of layer {layer!r}, or of one image"
        raise ValueError(message("target", "feature_match", must, target))
    target = target.to(activation)
    squared = (activation - target).flatten(1).square().sum(1)
    return squared / target.flatten(1).square().sum(1).clamp(min=torch.finfo(target.dtype).tiny)
