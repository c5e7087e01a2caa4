"""Pixels in [0, 1], and images as a network takes them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_interp._checks import message

__all__ = ["PixelSpace"]


@dataclass(frozen=True)
class PixelSpace:
    """How a network's images were normalised: ``(pixels - mean) / std`` per channel.

    Args:
        mean: One number per channel, or one for all.
        std: Likewise.

    Raises:
        ValueError: ``std`` has a number that is not positive, or the two differ in length.

    Example:
        >>> space = PixelSpace.of([0.5], [0.25], channels=3)
        >>> space.to_network(torch.ones(1, 3, 2, 2)).unique(), space.to_pixels(torch.zeros(1, 3, 2, 2)).unique()
        (tensor([2.]), tensor([0.5000]))
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    @classmethod
    def of(cls, mean: Sequence[float] | None, std: Sequence[float] | None, *, channels: int) -> "PixelSpace":
        """From arguments of a function; None is 0 and 1: the network takes pixels."""
        space = cls(tuple(mean) if mean is not None else (0.0,), tuple(std) if std is not None else (1.0,))
        for name, values in (("mean", space.mean), ("std", space.std)):
            if len(values) not in (1, channels) or (name == "std" and min(values) <= 0):
                positive = " positive" if name == "std" else ""
                must = f"one{positive} number, or one for each of {channels} channels"
                raise ValueError(message(name, "PixelSpace", must, list(values)))
        return space

    def to_network(self, pixels: Tensor) -> Tensor:
        """Images ``(N, C, H, W)`` as the network takes them."""
        return (pixels - self._column(self.mean, pixels)) / self._column(self.std, pixels)

    def to_pixels(self, images: Tensor) -> Tensor:
        """Pixels of images ``(N, C, H, W)``, cut to [0, 1]."""
        return (images * self._column(self.std, images) + self._column(self.mean, images)).clamp(0, 1)

    def bounds(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Lowest and highest values of the network's images, ``(C, 1, 1)`` each."""
        low = self.to_network(torch.zeros_like(like[:1, :, :1, :1]))[0]
        return low, self.to_network(torch.ones_like(like[:1, :, :1, :1]))[0]

    def scale(self, like: Tensor) -> Tensor:
        """How much a pixel's step of 1 is for the network, ``(C, 1, 1)``."""
        low, high = self.bounds(like)
        return high - low

    @staticmethod
    def _column(values: tuple[float, ...], like: Tensor) -> Tensor:
        return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None, None]
