"""CDC: two linear heads trained side by side, and the angle between them."""

import math

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from lightning_interp._checks import check_int, check_number
from lightning_interp.functional.generalization.evidence import score_errors

__all__ = ["head_distance", "start_heads", "train_heads"]


def start_heads(n_classes: int, n_features: int, *, generator: torch.Generator) -> Tensor:
    """Two random linear heads, ``(2, n_classes, n_features)``.

    Args:
        n_classes: Number of classes.
        n_features: Number of features.
        generator: Source of randomness.

    Returns:
        The weights.
    """
    heads = torch.randn(2, n_classes, n_features, generator=generator, dtype=torch.float32)
    return heads.div_(math.sqrt(n_features))


def train_heads(heads: Tensor, features: Tensor, labels: Tensor, *, steps: int = 20, lr: float = 1.0) -> Tensor:
    """Softmax regression of both heads on the same fixed features by full-batch gradient descent.

    Args:
        heads: ``(2, n_classes, d)``.
        features: Input of the network's own head, ``(N, d)``.
        labels: Given labels, ``(N,)``.
        steps: Gradient steps.
        lr: Learning rate, in units of one over the mean squared length of the features.

    Returns:
        The new heads.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> heads = start_heads(2, 3, generator=torch.Generator().manual_seed(0))
        >>> after = train_heads(heads, torch.rand(8, 3), torch.arange(8) % 2, steps=500)
        >>> head_distance(after) < head_distance(heads)
        True

    Reference:
        Vardasbi, de Rijke, Dehghani, Intersection of parallels as an early stopping criterion, CIKM 2022. There the
        heads take every training batch; here they take steps on the sample at each check, from where they were.
    """
    check_int(steps, "steps", "train_heads", low=0)
    z = features.float()
    rate = check_number(lr, "lr", "train_heads") / float(z.square().sum(1).mean().clamp(min=1e-24))
    with torch.autocast(z.device.type, enabled=False):
        for _ in range(steps):
            errors = torch.stack([score_errors(z @ head.T, labels) for head in heads]).float()
            heads = heads - rate * errors.mT @ z / len(z)
    return heads


def head_distance(heads: Tensor) -> float:
    """Cosine distance of two heads, ``1 - cos``; training is to stop when it no longer falls.

    Args:
        heads: ``(2, n_classes, d)``.

    Returns:
        The distance, in [0, 2].

    Example:
        >>> head_distance(torch.eye(2)[:, None])
        1.0
    """
    first, second = heads.flatten(1).double()
    return float(1 - cosine_similarity(first, second, dim=0))
