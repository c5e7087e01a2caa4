"""First-layer filters beside the patterns that maximise their units."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cosine_similarity

from lightning_interp._checks import check_int, message
from lightning_interp.functional.synthesis.image_params import PixelImages
from lightning_interp.functional.synthesis.objectives import unit
from lightning_interp.functional.synthesis.optimize import ascend
from lightning_interp.functional.synthesis.regularizers import Decay
from lightning_interp.hooks import select_layers
from lightning_interp.hooks.names import named_layers, split_address

__all__ = ["FilterPatterns", "filter_patterns"]


@dataclass(frozen=True)
class FilterPatterns:
    """Filters of a first layer, and what activation maximisation finds for them.

    Attributes:
        layer: Name of the layer.
        filters: The weights, ``(units, C, h, w)``.
        patterns: The images of the same size that maximise the units, ``(units, C, h, w)``.
        cosines: Between the two, ``(units,)``; 1 is the same pattern, and NaN a filter that is zero.
    """

    layer: str
    filters: Tensor
    patterns: Tensor
    cosines: Tensor


@torch.inference_mode(False)
def filter_patterns(
    model: nn.Module, layer: str | None = None, *, steps: int = 400, lr: float = 0.1, decay: float = 0.01, seed: int = 0
) -> FilterPatterns:
    """Maximise every unit of the first convolution from noise, by plain gradient ascent with L2 decay.

    Args:
        model: A network whose first convolution sees the image itself.
        layer: The convolution; the first one by default.
        steps: Steps of gradient ascent.
        lr: Their size.
        decay: L2 decay of each step.
        seed: Seed of the noise.

    Returns:
        Filters and patterns of the same shape. Of grouped convolutions, the channels a filter sees.

    Raises:
        ValueError: There is no such convolution.

    Example:
        >>> found = filter_patterns(nn.Sequential(nn.Conv2d(3, 8, 5, padding=2), nn.ReLU()))
        >>> found.patterns.shape, bool((found.cosines > 0.95).all())
        (torch.Size([8, 3, 5, 5]), True)

    Reference:
        Survey, section 3.3.1 and figure 4: 400 steps for the first layer.
    """
    name, conv = _convolution(model, layer)
    units, (top, left) = conv.out_channels, _first_inside(conv)
    extents = [d * (k - 1) + 1 for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
    steps_down = [s * p for s, p in zip(conv.stride, (top, left), strict=True)]
    borders = [down - pad for down, pad in zip(steps_down, _padding(conv), strict=True)]
    height, width = (border + extent for border, extent in zip(borders, extents, strict=True))
    generator = Generator().manual_seed(check_int(seed, "seed", "filter_patterns", low=0))
    start = 0.1 * torch.randn(units, conv.in_channels, height, width, generator=generator)
    found = ascend(
        model,
        [unit(name, index, position=(top, left)) for index in range(units)],
        PixelImages(start.to(conv.weight)),
        regularizers=[Decay(decay)],
        steps=steps,
        lr=lr,
        optimizer="sgd",
        owner="filter_patterns",
    )
    seen = found.images[:, :, borders[0] :: conv.dilation[0], borders[1] :: conv.dilation[1]]
    filters = conv.weight.detach().clone()
    group = torch.arange(units, device=seen.device) // (units // conv.groups)
    channels = group[:, None] * filters.shape[1] + torch.arange(filters.shape[1], device=seen.device)
    patterns = seen[torch.arange(units, device=seen.device)[:, None], channels]
    cosines = cosine_similarity(patterns.flatten(1), filters.flatten(1), dim=1)
    return FilterPatterns(name, filters, patterns, cosines.where(filters.flatten(1).any(1), torch.nan))


def _convolution(model: nn.Module, layer: str | None) -> tuple[str, nn.Conv2d]:
    convolutions = {name: each for name, each in named_layers(model).items() if isinstance(each, nn.Conv2d)}
    name = next(iter(convolutions), None) if layer is None else split_address(select_layers(model, layer)[0])[0]
    if name not in convolutions:
        must = "the name of a 2d convolution" if layer is not None else "given: this model has no nn.Conv2d"
        raise ValueError(message("layer", "filter_patterns", must, layer))
    return name, convolutions[name]


def _padding(conv: nn.Conv2d) -> list[int]:
    """Above and on the left."""
    if conv.padding == "same":
        return [d * (k - 1) // 2 for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
    return [0, 0] if isinstance(conv.padding, str) else list(conv.padding)


def _first_inside(conv: nn.Conv2d) -> tuple[int, int]:
    """The first position whose filter lies in the image, not in its padding."""
    row, column = (-(-pad // stride) for pad, stride in zip(_padding(conv), conv.stride, strict=True))
    return row, column
