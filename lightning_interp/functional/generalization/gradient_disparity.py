"""Gradient disparity: how far the gradients of different batches lie apart."""

import torch
from torch import Tensor, nn

from lightning_interp._checks import check_int
from lightning_interp.functional.generalization._gradients import gradient
from lightning_interp.hooks import evaluating

__all__ = ["gradient_disparity"]


def gradient_disparity(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    n_batches: int = 5,
    batch_size: int = 128,
    rescale: bool = True,
    generator: torch.Generator | None = None,
) -> float:
    """Mean distance between the gradients of pairs of training batches; it grows when the network overfits.

    The gradients are taken in eval mode (the authors' code takes them in train mode, which moves batch norm).

    Args:
        model: Any network that maps images to class scores; left as it was.
        images: Training images, ``(N, ...)``.
        labels: Given labels, ``(N,)``.
        n_batches: Batches, hence ``n_batches * (n_batches - 1) / 2`` pairs.
        batch_size: Images per batch; fewer when there are not enough images.
        rescale: Divide the losses of a batch by their standard deviation, as the authors' code does.
        generator: Source of randomness of the batches; all images in order without one.

    Returns:
        Mean Euclidean distance.

    Raises:
        ValueError: If there are fewer than two batches or fewer images than batches.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> gradient_disparity(net, torch.ones(8, 4), torch.zeros(8, dtype=torch.long), n_batches=2, rescale=False)
        0.0

    Reference:
        Forouzesh, Thiran, Disparity between batches as a signal for early stopping, ECML PKDD 2021, section 3.
    """
    check_int(n_batches, "n_batches", "gradient_disparity", low=2, high=len(images))
    check_int(batch_size, "batch_size", "gradient_disparity")
    order = torch.arange(len(images)) if generator is None else torch.randperm(len(images), generator=generator)
    size = min(batch_size, len(images) // n_batches)
    batches = order[: n_batches * size].to(labels.device).split(size)
    with evaluating(model):
        gradients = [gradient(model, images[rows], labels[rows], rescale=rescale) for rows in batches]
    return float(torch.pdist(torch.stack(gradients)).mean())
