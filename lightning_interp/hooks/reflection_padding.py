"""Let convolutions see a mirrored border in place of zeros."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad


@contextmanager
def reflection_padding(model: nn.Module) -> Iterator[None]:
    """Swap the zero padding of 2d convolutions for reflection padding inside the context.

    Zero padding makes an edge at the border of the image, which batch norm amplifies: factors of activations then stick
    to the border. A map that is too small to be mirrored repeats its last pixel.

    Args:
        model: any module; it is left as it was.

    Example:
        >>> conv = nn.Conv2d(1, 1, 3, padding=1, bias=False)
        >>> _ = nn.init.constant_(conv.weight, 1.0)
        >>> with reflection_padding(conv):
        ...     conv(torch.ones(1, 1, 4, 4)).unique().tolist()
        [9.0]

    Reference:
        Thesis, section 4.2.2.
    """
    padded = [each for each in model.modules() if isinstance(each, nn.Conv2d) and each.padding_mode == "zeros"]
    changed = [each for each in padded if any(each._reversed_padding_repeated_twice)]
    own = [vars(each).get("_conv_forward") for each in changed]
    try:
        for conv in changed:
            vars(conv)["_conv_forward"] = _mirrored(conv)
        yield
    finally:
        for conv, before in zip(changed, own, strict=True):
            if before is None:
                del vars(conv)["_conv_forward"]
            else:
                vars(conv)["_conv_forward"] = before


def _mirrored(conv: nn.Conv2d) -> Callable[..., Tensor]:
    def forward(images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        around: list[Any] = list(conv._reversed_padding_repeated_twice)  # left, right, top, bottom
        fits = max(around[:2]) < images.shape[-1] and max(around[2:]) < images.shape[-2]
        framed = pad(images, around, mode="reflect" if fits else "replicate")
        return torch.conv2d(framed, weight, bias, conv.stride, 0, conv.dilation, conv.groups)

    return forward
