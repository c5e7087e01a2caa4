"""What to maximise: activations of units, channels, classes and directions, alone or added up."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from lightning_interp._checks import check_choice, check_int, check_number, message
from lightning_interp.hooks import OUTPUT

__all__ = ["Objective", "channel", "direction", "feature_match", "gram_match", "log_odds", "logit", "unit"]

Activations: TypeAlias = Mapping[str, Tensor]
Score: TypeAlias = Callable[[Activations], Tensor]
Position: TypeAlias = Literal["center", "max"] | tuple[int, int]


@dataclass(frozen=True, eq=False)
class Objective:
    """A number per image, computed from activations; objectives can be added, subtracted and scaled.

    Attributes:
        layers: Layers whose activations it needs.
        score: Function from ``{layer: (N, ...)}`` to ``(N,)``.
        name: For tables and figures.

    Example:
        >>> both = channel("conv", 3) - 0.5 * channel("conv", 4)
        >>> both.name, both({"conv": torch.ones(2, 5, 4, 4)})
        ('conv:3 - 0.5 * conv:4', tensor([0.5000, 0.5000]))
    """

    layers: tuple[str, ...]
    score: Score
    name: str

    def __call__(self, activations: Activations) -> Tensor:
        """The number of each image, ``(N,)``."""
        return self.score(activations)

    def __add__(self, other: "Objective") -> "Objective":
        return self._joined(other, 1.0, f"{self.name} + {other.name}")

    def __sub__(self, other: "Objective") -> "Objective":
        return self._joined(other, -1.0, f"{self.name} - {other.name}")

    def __mul__(self, factor: float) -> "Objective":
        check_number(factor, "factor", "Objective", low=-float("inf"))
        inner = f"({self.name})" if " + " in self.name or " - " in self.name else self.name
        return Objective(self.layers, partial(_weighted, [(factor, self.score)]), f"{factor:g} * {inner}")

    __rmul__ = __mul__

    def __neg__(self) -> "Objective":
        return -1.0 * self

    def _joined(self, other: "Objective", sign: float, name: str) -> "Objective":
        layers = tuple(dict.fromkeys((*self.layers, *other.layers)))
        return Objective(layers, partial(_weighted, [(1.0, self.score), (sign, other.score)]), name)


def unit(layer: str, index: int, *, position: Position = "center") -> Objective:
    """The activation of one unit at one position of its map.

    Args:
        layer: Layer with outputs ``(N, units)`` or ``(N, units, H, W)``.
        index: The unit.
        position: ``"center"`` of the map, its strongest one (``"max"``), or row and column.

    Reference:
        Erhan et al., 2009; survey, eq. 7.
    """
    return Objective((layer,), partial(_unit_at, layer, index, position), f"{layer}:{index}")


def channel(layer: str, index: int) -> Objective:
    """The mean activation of one unit over its map.

    Args:
        layer: Layer with outputs ``(N, units)`` or ``(N, units, ...)``.
        index: The unit.

    Reference:
        Olah et al., Feature Visualization, Distill 2017.
    """
    return Objective((layer,), partial(_channel_mean, layer, index), f"{layer}:{index}")


def logit(index: int, *, name: str | None = None) -> Objective:
    """The score of one class in the network's output, before the softmax.

    Args:
        index: The class.
        name: Its name.

    Reference:
        Simonyan et al., 2013; survey, section 3.2.1.
    """
    return Objective((OUTPUT,), partial(_unit_at, OUTPUT, index, "center", owner="logit"), name or f"class {index}")


def log_odds(index: int) -> Objective:
    """The logarithm of p / (1 - p), p being the softmax probability of one class.

    Args:
        index: The class.
    """
    return Objective((OUTPUT,), partial(_log_odds, index), f"log odds of class {index}")


def direction(layer: str, vector: Tensor, *, power: float = 2.0, name: str | None = None) -> Objective:
    """The cosine to a direction in a layer's space, raised to a power, mean over positions.

    Rows of ``nmf(activations, k).v`` are such directions; the picture then shows what a factor stands for.

    Args:
        layer: Layer with outputs ``(N, units)`` or ``(N, units, ...)``.
        vector: ``(units,)``.
        power: Exponent; negative cosines keep their sign.
        name: Name of the direction.

    Raises:
        ValueError: ``vector`` is not one vector, or has no length.

    Reference:
        Thesis, eq. 5.1 (the sum over positions there is a mean here); Olah et al., Distill 2017.
    """
    if vector.ndim != 1 or not bool(vector.isfinite().all()) or not bool(vector.any()):
        raise ValueError(message("vector", "direction", "one finite vector that is not zero", vector))
    return Objective((layer,), partial(_along, layer, vector, power), name or f"direction in {layer}")


def feature_match(layer: str, target: Tensor) -> Objective:
    """Minus the squared distance to target activations, relative to their squared length.

    Args:
        layer: Layer with outputs ``(N, ...)``.
        target: Activations, ``(N, ...)``, or ``(1, ...)`` for all images.

    Reference:
        Survey, eq. 14, normalised as by Mahendran and Vedaldi, CVPR 2015.
    """
    return Objective((layer,), partial(_match, layer, target), f"match at {layer}")


def gram_match(layer: str, target: Tensor) -> Objective:
    """Minus the squared distance to the Gram matrix of target activations, relative to its squared length.

    Args:
        layer: Layer with outputs ``(N, units, H, W)``.
        target: Activations whose Gram matrix is meant, ``(N, units, h, w)`` of any size, or ``(1, ...)`` for all.

    Raises:
        ValueError: The layer has no map.

    Reference:
        Gatys et al., CVPR 2016; survey, eq. 22.
    """
    return Objective((layer,), partial(_gram_match, layer, _gram(target, layer)), f"style of {layer}")


# Scores are functions of this module with their arguments bound, not closures: objectives can then be pickled.


def _weighted(terms: Sequence[tuple[float, Score]], seen: Activations) -> Tensor:
    return sum((weight * score(seen) for weight, score in terms[1:]), terms[0][0] * terms[0][1](seen))


def _unit_at(layer: str, index: int, position: Position, seen: Activations, *, owner: str = "unit") -> Tensor:
    activation = _units(seen[layer], layer, index, owner)
    return activation if activation.ndim == 1 else _at(activation, position, layer)


def _channel_mean(layer: str, index: int, seen: Activations) -> Tensor:
    activation = _units(seen[layer], layer, index, "channel")
    return activation if activation.ndim == 1 else activation.flatten(1).mean(1)


def _log_odds(index: int, seen: Activations) -> Tensor:
    chosen = _units(seen[OUTPUT], OUTPUT, index, "log_odds")
    others = torch.arange(seen[OUTPUT].shape[1], device=chosen.device) != index
    return chosen - seen[OUTPUT][:, others].logsumexp(1)


def _along(layer: str, vector: Tensor, power: float, seen: Activations) -> Tensor:
    activation = seen[layer].flatten(2) if seen[layer].ndim > 2 else seen[layer][:, :, None]
    if activation.shape[1] != len(vector):
        must = f"of length {activation.shape[1]}, the units of layer {layer!r}"
        raise ValueError(message("vector", "direction", must, vector))
    cosines = cosine_similarity(activation, vector.to(activation)[None, :, None], dim=1)
    return (cosines.sign() * (cosines.abs() + 1e-12) ** power).mean(1)


def _match(layer: str, target: Tensor, seen: Activations) -> Tensor:
    return -_distance(seen[layer], target, layer)


def _gram_match(layer: str, target: Tensor, seen: Activations) -> Tensor:
    return -_distance(_gram(seen[layer], layer), target, layer)


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


def _gram(activation: Tensor, layer: str) -> Tensor:
    if activation.ndim != 4:
        must = f"a layer with maps (N, units, H, W); {layer!r} has none"
        raise ValueError(message("layer", "gram_match", must, activation))
    rows = activation.flatten(2)
    return rows @ rows.mT / rows.shape[2]
