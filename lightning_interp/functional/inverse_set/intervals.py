"""Levels of activation: numbers, or quantiles over a dataset."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from lightning_interp._checks import message
from lightning_interp.functional.synthesis.objectives import Objective
from lightning_interp.hooks import forward_to
from lightning_interp.hooks.tensors import first_tensor

__all__ = ["Interval", "activation_quantiles", "checked_intervals"]

Interval: TypeAlias = tuple[float, float]
_OWNER = "sample_inverse_set"


def activation_quantiles(
    model: nn.Module, objectives: Objective | Sequence[Objective], loader: Iterable[Any], quantiles: Sequence[float]
) -> Tensor:
    """Quantiles of what neurons say to the images of a dataset.

    Args:
        model: A network; it runs in eval mode and is left as it was.
        objectives: The neurons, such as ``unit("features.10", 197, position="max")``.
        loader: Batches of images ``(B, C, H, W)``, or tuples that begin with them.
        quantiles: In [0, 1].

    Returns:
        ``(p, len(quantiles))``.

    Raises:
        ValueError: There is no image, or a quantile is out of range.

    Example:
        >>> from lightning_interp.functional.synthesis import channel
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False))
        >>> net[0].weight.data = torch.tensor([1.0, -1.0]).view(2, 1, 1, 1)
        >>> images = torch.linspace(0, 1, 101)[:, None, None, None]
        >>> activation_quantiles(net, [channel("0", 0), channel("0", 1)], [images], (0.5, 0.9))
        tensor([[ 0.5000,  0.9000],
                [-0.5000, -0.1000]])
    """
    chosen = [objectives] if isinstance(objectives, Objective) else list(objectives)
    if not all(0 <= quantile <= 1 for quantile in quantiles):
        raise ValueError(message("quantiles", _OWNER, "numbers in [0, 1]", quantiles))
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    parts = []
    with forward_to(model, sorted({layer for each in chosen for layer in each.layers})) as run, torch.no_grad():
        for batch in loader:
            images = first_tensor(batch)
            if images is None:
                raise ValueError(message("data", _OWNER, "batches of images", batch))
            seen = run(images.to(device))
            parts.append(torch.stack([objective(seen) for objective in chosen], 1).double().cpu())
    if not parts:
        raise ValueError(message("data", _OWNER, "at least one batch of images", "none"))
    return torch.cat(parts).quantile(torch.tensor(quantiles, dtype=torch.double), dim=0).mT.float()


def checked_intervals(intervals: Any, n: int) -> Tensor:
    """One interval for each of ``n`` neurons, ``(n, 2)``; a single one may come without a list around it."""
    given = list(intervals)
    pairs = [given] if given and isinstance(given[0], int | float) else [list(pair) for pair in given]
    if len(pairs) != n:
        raise ValueError(message("interval", _OWNER, f"one pair (z1, z2) for each of {n} neurons", intervals))
    for pair in pairs:
        if len(pair) != 2 or not all(map(math.isfinite, pair)) or not pair[0] < pair[1]:
            raise ValueError(message("interval", _OWNER, "(z1, z2), finite, z1 below z2", tuple(pair)))
    return torch.tensor(pairs, dtype=torch.float32)
