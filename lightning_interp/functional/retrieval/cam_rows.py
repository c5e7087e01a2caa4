"""Local descriptors of feature maps by class activation maps."""

import torch
from torch import Tensor, nn

from lightning_interp._checks import check_int, message
from lightning_interp.functional.retrieval.pooling import channel_weights
from lightning_interp.hooks import OUTPUT, forward_to

__all__ = ["cam_rows", "class_weights"]

_CHUNK = 64  # classes whose gradients are held at once
_TOLERANCE = 1e-3


def class_weights(model: nn.Module, layer: str, image: Tensor) -> Tensor:
    """Weight of every channel of a layer in every class score, ``(n_classes, C)``.

    They exist where only a global average and linear layers follow the layer: the gradient of a score is then the same
    at every position and for every image, which is checked on the image, its negative and noise.

    Args:
        model: A classifier.
        layer: A layer with maps.
        image: ``(1, C, H, W)``, any.

    Raises:
        ValueError: More than an average and linear layers follow the layer.

    Example:
        >>> head = nn.Linear(8, 3)
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
        >>> bool(torch.allclose(class_weights(net, "1", torch.rand(1, 3, 9, 9)), head.weight, atol=1e-6))
        True

    Reference:
        Zhou et al., Learning deep features for discriminative localization, CVPR 2016.
    """
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(0)).to(image)
    # a Trainer tests in inference mode, in which nothing has a graph
    with torch.inference_mode(False), torch.enable_grad(), forward_to(model, [layer, OUTPUT]) as features:
        image = image.clone().requires_grad_()
        maps, scores = _maps_and_scores(features(image), layer)
        ones = torch.eye(scores.shape[1], device=scores.device, dtype=scores.dtype)[:, None]
        parts = [_gradients(scores, maps, part) for part in ones.split(_CHUNK)]
        weights, spread = (torch.cat(part) for part in zip(*parts, strict=True))
        with torch.no_grad():
            maps, scores = _maps_and_scores(features(torch.cat([image, -image, noise.clone()])), layer)
    rest = scores - maps.mean((2, 3)) @ weights.mT  # the bias, if the classifier is what it should be
    errors = [spread.amax() / weights.abs().amax(), (rest - rest[:1]).abs().amax() / scores.abs().amax()]
    if not all(bool(error <= _TOLERANCE) for error in errors):
        must = f"a layer that only a global average and linear layers follow, for method='cam'; {layer!r} is not"
        raise ValueError(f"{message('layer', 'describe_images', must, layer)} Choose another `method` or network.")
    return weights


def cam_rows(maps: Tensor, weights: Tensor, *, n_classes: int = 8) -> Tensor:
    """Sums of the activations weighted by the activation maps of the image's own best classes, ``(B, n, C)``.

    A map is cut at zero and scaled to [0, 1]; channels are weighted by how rare they are.

    Args:
        maps: ``(B, C, h, w)``.
        weights: Of :func:`class_weights`.
        n_classes: Classes of an image; those with the highest scores.

    Reference:
        Jimenez, Alvarez and Giro-i-Nieto, Class-weighted convolutional features for visual instance search, BMVC 2017,
        section 3; they rank classes over all images, here every image has its own.
    """
    n = min(check_int(n_classes, "n_classes", "cam_rows"), len(weights))
    best = (maps.mean((2, 3)) @ weights.mT).topk(n, dim=1).indices
    shown = torch.einsum("bnc,bchw->bnhw", weights[best], maps).clamp(min=0)
    peaks = shown.amax((2, 3), keepdim=True)
    shown = shown / torch.where(peaks > 0, peaks, 1.0)
    return torch.einsum("bnhw,bchw->bnc", shown, maps) * channel_weights(maps)[:, None]


def _maps_and_scores(found: dict[str, Tensor], layer: str) -> tuple[Tensor, Tensor]:
    return found[layer], found[OUTPUT].flatten(1)


def _gradients(scores: Tensor, maps: Tensor, ones: Tensor) -> tuple[Tensor, Tensor]:
    """Of some scores by channel, summed over positions ``(n, C)``, and how far they differ between positions."""
    found = torch.autograd.grad(scores, maps, ones, retain_graph=True, is_grads_batched=True, allow_unused=False)[0]
    cells = found[:, 0].flatten(2) * found[0, 0, 0].numel()  # a mean shares the weight out among the cells
    return cells.mean(2), cells.amax(2) - cells.amin(2)
