"""The content of one image in the style of another."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from math import ceil
from operator import add
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from lightning_interp._checks import check_choice, check_int, check_number, message
from lightning_interp.functional.synthesis.image_params import PixelImages
from lightning_interp.functional.synthesis.inversion import activations
from lightning_interp.functional.synthesis.objectives import Objective, feature_match, gram_match
from lightning_interp.functional.synthesis.optimize import OptimizerName, Stopped, ascend
from lightning_interp.functional.synthesis.pixels import PixelSpace
from lightning_interp.functional.synthesis.regularizers import Regularizer, TotalVariation
from lightning_interp.hooks import select_layers
from lightning_interp.hooks.trace import trace_forward

__all__ = ["StyleTransfer", "style_transfer"]


@dataclass(frozen=True)
class StyleTransfer:
    """An image with the content of one and the style of another.

    Attributes:
        images: ``(N, C, H, W)`` as the network takes them.
        content_layers: Where content was compared.
        style_layers: Where style was compared.
        content_losses: Squared distances of activations over their squared length, summed over layers, ``(N,)``.
        style_losses: The same of Gram matrices, ``(N,)``.
        trace: Weighted sum of both at the start and after each step, ``(T, N)``.
        stopped: ``"steps"``, ``"interrupted"`` or ``"not finite"``.
        space: How pixels become images of the network.
    """

    images: Tensor
    content_layers: tuple[str, ...]
    style_layers: tuple[str, ...]
    content_losses: Tensor
    style_losses: Tensor
    trace: Tensor
    stopped: Stopped
    space: PixelSpace

    @property
    def pixels(self) -> Tensor:
        """The images for showing, ``(N, C, H, W)`` in [0, 1]."""
        return self.space.to_pixels(self.images)


@torch.inference_mode(False)
def style_transfer(
    model: nn.Module,
    content: Tensor,
    style: Tensor,
    *,
    content_layers: str | Sequence[str] | None = None,
    style_layers: str | Sequence[str] | None = None,
    content_weight: float = 1.0,
    style_weight: float = 10.0,
    regularizers: Sequence[Regularizer] = (TotalVariation(1e-3),),
    start: Literal["content", "noise"] = "content",
    steps: int = 100,
    lr: float | None = None,
    optimizer: OptimizerName = "lbfgs",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    seed: int = 0,
) -> StyleTransfer:
    """Render photographs in the style of a painting.

    Minimises ``content_weight * sum ||A - A_p||^2 / ||A_p||^2 + style_weight * sum ||G - G_a||^2 / ||G_a||^2``, the
    sums being over layers, A activations and G their Gram matrices.

    Args:
        model: A network; it runs in eval mode and is left as it was.
        content: Photographs, ``(N, C, H, W)`` as the network takes them.
        style: Paintings, ``(1 or N, C, h, w)``; their size need not be that of the photographs.
        content_layers: Names of layers; one two thirds through the layers with maps by default.
        style_layers: Names of layers; up to five in the first two thirds by default.
        content_weight: Alpha in the survey.
        style_weight: Beta in the survey.
        regularizers: What a natural image is like.
        start: ``"content"`` or ``"noise"``.
        steps: Steps at most.
        lr: Learning rate; 1 for L-BFGS and 0.02 for the others by default.
        optimizer: ``"lbfgs"``, ``"adam"`` or ``"sgd"``.
        mean: Of the network's normalisation, per channel; None if it takes pixels in [0, 1].
        std: Likewise.
        seed: Seed of the noise.

    Returns:
        The images with their losses.

    Raises:
        ValueError: An option is out of range, a layer does not exist or has no map.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
        >>> found = style_transfer(net, torch.rand(1, 3, 16, 16), torch.rand(1, 3, 12, 12), steps=3)
        >>> found.images.shape, found.content_layers, found.style_layers
        (torch.Size([1, 3, 16, 16]), ('3',), ('1', '3'))

    Reference:
        Gatys et al., CVPR 2016; survey, eq. 22.
    """
    owner = "style_transfer"
    _check(content, style, start)
    for name, weight in (("content_weight", content_weight), ("style_weight", style_weight)):
        check_number(weight, name, owner)
    space = PixelSpace.of(mean, std, channels=content.shape[1])
    generator = Generator().manual_seed(check_int(seed, "seed", owner, low=0))
    on_content, on_style = _layers(model, content, content_layers, style_layers)
    contents = [feature_match(name, activations(model, content, name)) for name in on_content]
    styles = [gram_match(name, activations(model, style, name)) for name in on_style]
    alpha, beta = reduce(add, contents), reduce(add, styles)
    noise = PixelImages.noise(content.shape, space=space, generator=generator, device=content.device)
    parameters = noise if start == "noise" else PixelImages(content, space=space)
    found = ascend(
        model,
        content_weight * alpha + style_weight * beta,
        parameters,
        regularizers=regularizers,
        steps=steps,
        lr=lr if lr is not None else 1.0 if optimizer == "lbfgs" else 0.02,
        optimizer=optimizer,
        generator=generator,
        owner=owner,
    )
    losses = [-_scores(model, found.images, objective) for objective in (alpha, beta)]
    return StyleTransfer(
        found.images, tuple(on_content), tuple(on_style), losses[0], losses[1], -found.trace, found.stopped, space
    )


def _check(content: Tensor, style: Tensor, start: str) -> None:
    if content.ndim != 4 or not len(content):
        raise ValueError(message("content", "style_transfer", "images (N, C, H, W)", content))
    if style.ndim != 4 or len(style) not in (1, len(content)) or style.shape[1] != content.shape[1]:
        must = f"one image, or {len(content)}, (N, {content.shape[1]}, h, w)"
        raise ValueError(message("style", "style_transfer", must, style))
    check_choice(start, "start", "style_transfer", ("content", "noise"))


def _layers(
    model: nn.Module, images: Tensor, content: str | Sequence[str] | None, style: str | Sequence[str] | None
) -> tuple[list[str], list[str]]:
    given = [[names] if isinstance(names, str) else names and list(names) for names in (content, style)]
    if given[0] and given[1]:
        return list(given[0]), list(given[1])
    shapes = {call.name: call.shape for call in trace_forward(model, images).calls}
    maps = [name for name in select_layers(model, "composites", example_input=images) if len(shapes[name]) == 4]
    maps = [name for name in maps if min(shapes[name][2:]) > 1]
    if not maps:
        raise ValueError(message("content_layers", "style_transfer", "given: no layer of this model has a map", None))
    depth = ceil(2 * len(maps) / 3)
    early = maps[:depth]
    spread = [early[round(i * (len(early) - 1) / 4)] for i in range(5)]
    return list(given[0] or maps[depth - 1 : depth]), list(given[1] or dict.fromkeys(spread))


def _scores(model: nn.Module, images: Tensor, objective: Objective) -> Tensor:
    return objective({layer: activations(model, images, layer) for layer in objective.layers})
