"""The norm of all weights."""

import math

from torch import nn

__all__ = ["weight_norm"]


def weight_norm(model: nn.Module) -> float:
    """Euclidean norm of all trainable weights; with weight decay it peaks, and training is to stop there.

    Args:
        model: Any network.

    Returns:
        The norm.

    Example:
        >>> net = nn.Linear(2, 1)
        >>> _ = nn.init.constant_(net.weight, 3.0), nn.init.constant_(net.bias, 0.0)
        >>> round(weight_norm(net), 4)
        4.2426

    Reference:
        Memorization through the lens of sample gradients (CSG), ICLR 2026.
    """
    return math.sqrt(sum(float(p.detach().double().square().sum()) for p in model.parameters() if p.requires_grad))
