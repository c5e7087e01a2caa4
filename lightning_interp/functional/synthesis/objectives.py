"""What to maximise: activations of units, channels, classes and directions, alone or added up."""

from dataclasses import dataclass
from functools import partial

from torch import Tensor

from lightning_interp._checks import check_number, message
from lightning_interp.functional.synthesis._scores import (
    Activations,
    Position,
    Score,
    along,
    channel_mean,
    gram,
    log_odds_of,
    match,
    match_of_grams,
    unit_at,
    weighted,
)
from lightning_interp.hooks import OUTPUT

__all__ = ["Objective", "channel", "direction", "feature_match", "gram_match", "log_odds", "logit", "unit"]


@dataclass(frozen=True, eq=False)
class Objective:
    """A number per image, computed from activations; objectives can be added, subtracted and scaled.

    Attributes:
        layers: Layers whose activations it needs.
        score: Function from ``{layer: (N, ...)}`` to ``(N,)``.
        name: For tables and figures.

    Example:
        >>> import torch
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
        return Objective(self.layers, partial(weighted, [(factor, self.score)]), f"{factor:g} * {inner}")

    __rmul__ = __mul__

    def __neg__(self) -> "Objective":
        return -1.0 * self

    def _joined(self, other: "Objective", sign: float, name: str) -> "Objective":
        layers = tuple(dict.fromkeys((*self.layers, *other.layers)))
        return Objective(layers, partial(weighted, [(1.0, self.score), (sign, other.score)]), name)


def unit(layer: str, index: int, *, position: Position = "center") -> Objective:
    """The activation of one unit at one position of its map.

    Args:
        layer: Layer with outputs ``(N, units)`` or ``(N, units, H, W)``.
        index: The unit.
        position: ``"center"`` of the map, its strongest one (``"max"``), or row and column.

    Reference:
        Erhan et al., 2009; survey, eq. 7.
    """
    return Objective((layer,), partial(unit_at, layer, index, position), f"{layer}:{index}")


def channel(layer: str, index: int) -> Objective:
    """The mean activation of one unit over its map.

    Args:
        layer: Layer with outputs ``(N, units)`` or ``(N, units, ...)``.
        index: The unit.

    Reference:
        Olah et al., Feature Visualization, Distill 2017.
    """
    return Objective((layer,), partial(channel_mean, layer, index), f"{layer}:{index}")


def logit(index: int, *, name: str | None = None) -> Objective:
    """The score of one class in the network's output, before the softmax.

    Args:
        index: The class.
        name: Its name.

    Reference:
        Simonyan et al., 2013; survey, section 3.2.1.
    """
    return Objective((OUTPUT,), partial(unit_at, OUTPUT, index, "center", owner="logit"), name or f"class {index}")


def log_odds(index: int) -> Objective:
    """The logarithm of p / (1 - p), p being the softmax probability of one class.

    Args:
        index: The class.
    """
    return Objective((OUTPUT,), partial(log_odds_of, index), f"log odds of class {index}")


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
    return Objective((layer,), partial(along, layer, vector, power), name or f"direction in {layer}")


def feature_match(layer: str, target: Tensor) -> Objective:
    """Minus the squared distance to target activations, relative to their squared length.

    Args:
        layer: Layer with outputs ``(N, ...)``.
        target: Activations, ``(N, ...)``, or ``(1, ...)`` for all images.

    Reference:
        Survey, eq. 14, normalised as by Mahendran and Vedaldi, CVPR 2015.
    """
    return Objective((layer,), partial(match, layer, target), f"match at {layer}")


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
    return Objective((layer,), partial(match_of_grams, layer, gram(target, layer)), f"style of {layer}")
