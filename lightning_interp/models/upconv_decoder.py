"""A decoder from features to images: up-convolutions, trained by ``modules.Inverter``."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import interpolate

from lightning_interp._checks import check_int, check_number, message

__all__ = ["TopLeftUnpool", "UpconvDecoder"]

_SLOPE = 0.2  # of the leaky ReLU
_SIDE = 4  # of the map that features without places are turned into, at least
_MOST = 8  # the widest convolution has this many times the channels of the last one
_HIDDEN = 64  # and the hidden layer in front of them, this many times


class TopLeftUnpool(nn.Module):
    """Twice the height and width: each value to the top left of a 2x2 block of zeros.

    Example:
        >>> TopLeftUnpool()(torch.tensor([[[[1.0, 2.0]]]])).tolist()
        [[[[1.0, 0.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0]]]]

    Reference:
        Dosovitskiy and Brox, CVPR 2016; survey, section 5.2.2 (reversed max-pooling layer).
    """

    def forward(self, features: Tensor) -> Tensor:
        """``(N, C, h, w)`` to ``(N, C, 2h, 2w)``."""
        n, channels, height, width = features.shape
        blocks = features.new_zeros(n, channels, 2 * height, 2 * width)
        blocks[..., ::2, ::2] = features
        return blocks


class UpconvDecoder(nn.Module):
    """Turns the features of a layer, or any code, into images.

    Maps go through a 3x3 convolution, then through as many up-convolutions (unpooling, then a 5x5 convolution) as fit
    between their size and that of the image, and a 3x3 convolution to the colours. Features without places,
    ``(units,)`` or ``(units, 1, 1)``, become a small map by two linear layers. Where the image is not ``2^n`` times the
    map, the map is first resized to the next size that is, and the rest is cropped at the bottom and right: no border
    of the map is lost, nothing is moved against the image, and any size will do.

    Args:
        feature_shape: Of the features of one image: ``(C, h, w)`` or ``(units,)``.
        image_shape: Of the image: ``(C, H, W)``.
        width: Channels at the size of the image; twice as many at half of it, and so on up to eight times as many.
        feature_scale: What features are divided by: their size, where it is far from 1. Saved with the weights.

    Raises:
        ValueError: A shape that is neither, or a number out of range.
        TypeError: A size that is no int.

    Example:
        >>> decoder = UpconvDecoder((64, 4, 3), (3, 29, 21), width=8)
        >>> decoder(torch.zeros(2, 64, 4, 3)).shape
        torch.Size([2, 3, 29, 21])

    Reference:
        Dosovitskiy and Brox, Inverting visual representations with convolutional networks, CVPR 2016; survey,
        section 5.2.2 and equation 17.
    """

    def __init__(
        self, feature_shape: Sequence[int], image_shape: Sequence[int], *, width: int = 16, feature_scale: float = 1.0
    ) -> None:
        super().__init__()
        self.feature_shape = _checked_shape(feature_shape, "feature_shape", (1, 3))
        self.image_shape = _checked_shape(image_shape, "image_shape", (3,))
        self.width = check_int(width, "width", "UpconvDecoder")
        scale = check_number(feature_scale, "feature_scale", "UpconvDecoder", low=torch.finfo(torch.float32).tiny)
        self.register_buffer("feature_scale", torch.tensor(scale))
        flat = self.feature_shape[1:] in {(), (1, 1)}
        n_doublings, self._map_size = _plan(self.image_shape[1:], (_SIDE, _SIDE) if flat else self.feature_shape[1:])
        widths = [width * min(2**i, _MOST) for i in range(n_doublings, -1, -1)]
        channels = widths[0] if flat else self.feature_shape[0]
        units, hidden = self.feature_shape[0], _HIDDEN * width
        self.head = _spread(units, hidden, (channels, *self._map_size)) if flat else nn.Identity()
        body = [nn.Conv2d(channels, widths[0], 3, padding=1), nn.LeakyReLU(_SLOPE)]
        for i in range(n_doublings):
            body += [TopLeftUnpool(), nn.Conv2d(widths[i], widths[i + 1], 5, padding=2), nn.LeakyReLU(_SLOPE)]
        self.body = nn.Sequential(*body, nn.Conv2d(width, self.image_shape[0], 3, padding=1))
        _initialise(self, self.body[-1])

    def forward(self, features: Tensor) -> Tensor:
        """Images ``(N, C, H, W)`` of features ``(N, *feature_shape)``."""
        if features.shape[1:] != self.feature_shape:
            raise ValueError(message("features", "UpconvDecoder", f"of shape (N, *{self.feature_shape})", features))
        maps: Tensor = self.head(features / self.get_buffer("feature_scale"))
        if maps.shape[2:] != self._map_size:
            maps = interpolate(maps, self._map_size, mode="bilinear", align_corners=False)
        images: Tensor = self.body(maps)
        return images[..., : self.image_shape[1], : self.image_shape[2]]

    def config(self) -> dict[str, int | list[int]]:
        """The arguments that make a decoder of the same shape; the scale of the features is among its weights."""
        shapes = {"feature_shape": list(self.feature_shape), "image_shape": list(self.image_shape)}
        return {**shapes, "width": self.width}

    def save(self, path: str | Path) -> None:
        """Write to a safetensors file."""
        weights = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        save_file(weights, path, metadata={"upconv_decoder": json.dumps(self.config())})

    @classmethod
    def load(cls, path: str | Path) -> "UpconvDecoder":
        """Read what :meth:`save` wrote, onto the CPU."""
        with safe_open(path, framework="pt") as file:
            meta = file.metadata() or {}
            if "upconv_decoder" not in meta:
                raise ValueError(message("path", "UpconvDecoder.load", "a file that `save` wrote", str(path)))
            decoder = cls(**json.loads(meta["upconv_decoder"]))
            decoder.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118 (no dict)
        return decoder


def _checked_shape(shape: Sequence[int], parameter: str, lengths: tuple[int, ...]) -> tuple[int, ...]:
    if len(shape) not in lengths:
        kinds = {1: "(units,)", 3: "(C, h, w)"}
        must = f"{' or '.join(kinds[n] for n in lengths)}: the shape for one image, without the batch"
        raise ValueError(message(parameter, "UpconvDecoder", must, tuple(shape)))
    return tuple(check_int(size, parameter, "UpconvDecoder") for size in shape)


def _plan(image_size: Sequence[int], feature_size: Sequence[int]) -> tuple[int, tuple[int, ...]]:
    """How often to double, and from which size: the smallest that no features of this size need be shrunk to."""

    def start(n: int) -> tuple[int, ...]:
        return tuple(-(-side // 2**n) for side in image_size)

    n = 0
    while start(n) != start(n + 1) and all(map(int.__ge__, start(n + 1), feature_size)):
        n += 1
    return n, start(n)


def _spread(units: int, hidden: int, shape: tuple[int, ...]) -> nn.Sequential:
    """Features without places to maps of this shape."""
    layers = [nn.Flatten(), nn.Linear(units, hidden), nn.LeakyReLU(_SLOPE), nn.Linear(hidden, math.prod(shape))]
    return nn.Sequential(*layers, nn.LeakyReLU(_SLOPE), nn.Unflatten(1, shape))


def _initialise(decoder: nn.Module, last: nn.Module) -> None:
    """He's initialisation, but such that training starts near the mean image (zero): it is several times shorter so."""
    gain = 1.0
    for module in decoder.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, a=_SLOPE, nonlinearity="leaky_relu")
            nn.init.zeros_(module.get_parameter("bias"))
            module.weight.data.mul_(0.1 if module is last else gain)
        gain = 2.0 if isinstance(module, TopLeftUnpool) else 1.0  # three of four values are zero behind it
