"""Generators: from codes to images as a network takes them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lightning_interp._checks import check_int, message
from lightning_interp.functional.synthesis.pixels import PixelSpace

__all__ = ["CodeGenerator", "as_generator"]

_FAR = 0.5  # so far out of [0, 1] no pixel of a right range is, or few are
_FEW = 0.1


@dataclass(frozen=True)
class CodeGenerator:
    """A generator whose images a network can take.

    Attributes:
        network: From codes ``(N, *code_shape)`` to images ``(N, C, H, W)``.
        code_shape: Of one code.
        output_range: What its darkest and brightest pixels are, such as ``(-1, 1)``; None where its images are as the
            network takes them.
        space: How the network's images are normalised.
        valid: Cut pixels to [0, 1], so that images are images.
    """

    network: Callable[[Tensor], Tensor]
    code_shape: tuple[int, ...]
    output_range: tuple[float, float] | None = None
    space: PixelSpace = field(default_factory=PixelSpace)
    valid: bool = True

    def __call__(self, codes: Tensor) -> Tensor:
        """Images ``(N, C, H, W)`` of codes ``(N, *code_shape)``."""
        images = self.network(codes)
        if images.ndim != 4 or len(images) != len(codes):
            must = f"a network that makes images (N, C, H, W) of codes (N, *{self.code_shape})"
            raise ValueError(message("generator", "sample_inverse_set", must, images))
        images = self.space.to_network(self._pixels(images)) if self.output_range is not None else images
        return images.clamp(*self.space.bounds(images)) if self.valid else images

    def check_range(self, codes: Tensor) -> None:
        """Refuse a generator whose pixels are in another range than was said."""
        with torch.no_grad():
            images = self.network(codes)
        pixels = self._pixels(images)
        far = float(((pixels < -_FAR) | (pixels > 1 + _FAR)).float().mean())
        if far > _FEW:
            low, high = float(images.amin()), float(images.amax())
            must = (
                f"the range of the generator's pixels, which go from {low:.3g} to {high:.3g}; {far:.0%} are far outside"
            )
            ways = " Set `output_range` (a tanh has (-1, 1)), or `mean` and `std` of the network's images."
            raise ValueError(message("output_range", "sample_inverse_set", must, self.output_range) + ways)

    def _pixels(self, images: Tensor) -> Tensor:
        if self.output_range is not None:
            low, high = self.output_range
            return (images - low) / (high - low)
        low_bound, high_bound = self.space.bounds(images)
        return (images - low_bound) / (high_bound - low_bound)


def as_generator(
    network: Callable[[Tensor], Tensor] | CodeGenerator,
    *,
    code_shape: Sequence[int] | int | None = None,
    output_range: tuple[float, float] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    valid: bool = True,
) -> CodeGenerator:
    """Make a generator of any network from codes to images.

    Args:
        network: Any module or function: our :class:`~lightning_interp.models.UpconvDecoder`, a generator of the DCGAN
            kind (its code shape ``(z, 1, 1)`` and ``output_range=(-1, 1)`` are found out), or a ready generator.
        code_shape: Of one code; known for ``UpconvDecoder`` and for networks that begin with a linear or convolutional
            layer.
        output_range: As in :class:`CodeGenerator`; found out for networks that end in a tanh or a sigmoid.
        mean: Of the network's images, per channel; None if it takes pixels in [0, 1].
        std: Likewise.
        valid: Cut pixels to [0, 1].

    Raises:
        ValueError: The shape of codes is not known, or the range is none.

    Example:
        >>> gan = nn.Sequential(nn.ConvTranspose2d(16, 8, 4), nn.ReLU(), nn.ConvTranspose2d(8, 3, 4, 2, 1), nn.Tanh())
        >>> made = as_generator(gan)
        >>> made.code_shape, made.output_range, made(torch.randn(2, 16, 1, 1)).shape
        ((16, 1, 1), (-1.0, 1.0), torch.Size([2, 3, 8, 8]))
    """
    if isinstance(network, CodeGenerator):
        return network
    shape = _code_shape(network) if code_shape is None else _as_shape(code_shape)
    if shape is None:
        must = "the shape of one code, because the generator does not tell it"
        raise ValueError(message("code_shape", "sample_inverse_set", must, code_shape))
    if output_range is None:
        output_range = _range(network)
    elif not output_range[0] < output_range[1]:
        raise ValueError(message("output_range", "sample_inverse_set", "a lower and a higher number", output_range))
    channels = max(len(mean or [0]), len(std or [0]))
    return CodeGenerator(network, shape, output_range, PixelSpace.of(mean, std, channels=channels), valid)


def _as_shape(shape: Sequence[int] | int) -> tuple[int, ...]:
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    return tuple(check_int(size, "code_shape", "sample_inverse_set") for size in sizes)


def _code_shape(network: Any) -> tuple[int, ...] | None:
    known = getattr(network, "feature_shape", None) or getattr(network, "code_shape", None)
    if known is not None:
        return tuple(known)
    layers = network.modules() if isinstance(network, nn.Module) else ()
    first = next((layer for layer in layers if isinstance(layer, nn.Linear | nn.ConvTranspose2d)), None)
    if isinstance(first, nn.Linear):
        return (first.in_features,)
    return None if first is None else (first.in_channels, 1, 1)


def _range(network: Any) -> tuple[float, float] | None:
    last = list(network.modules())[-1] if isinstance(network, nn.Module) else None
    return (-1.0, 1.0) if isinstance(last, nn.Tanh) else (0.0, 1.0) if isinstance(last, nn.Sigmoid) else None
