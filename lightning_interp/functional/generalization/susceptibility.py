"""Susceptibility: how readily one step fits random labels."""

import torch
from torch import Tensor, nn

from lightning_interp._checks import check_int, check_number
from lightning_interp.functional.generalization._gradients import gradient, losses, moved, weights
from lightning_interp.hooks import evaluating

__all__ = ["susceptibility"]


def susceptibility(
    model: nn.Module, images: Tensor, *, n_classes: int, lr: float = 0.01, generator: torch.Generator
) -> float:
    """Loss on a batch with random labels before minus after one SGD step on it; the network is left as it was.

    Args:
        model: Any network that maps images to class scores.
        images: A batch, ``(N, ...)``.
        n_classes: Number of classes.
        lr: Learning rate of the step.
        generator: Draws the labels.

    Returns:
        The drop of the loss; low is good.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> susceptibility(net, torch.rand(8, 4), n_classes=2, generator=torch.Generator().manual_seed(0)) > 0
        True

    Reference:
        Forouzesh, Sedghi, Thiran, Leveraging unlabeled data to track memorization, ICLR 2023, section 3.
    """
    check_int(n_classes, "n_classes", "susceptibility")
    check_number(lr, "lr", "susceptibility")
    labels = torch.randint(n_classes, (len(images),), generator=generator).to(images.device)
    with evaluating(model):
        before = losses(model, weights(model), images, labels).mean()
        after = losses(model, moved(model, -lr * gradient(model, images, labels)), images, labels).mean()
    return float(before - after)
