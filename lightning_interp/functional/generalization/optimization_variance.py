"""Optimization variance: how much the outputs depend on which batch the next step is made from."""

import torch
from torch import Tensor, nn

from lightning_interp._checks import check_int, check_number
from lightning_interp.functional.generalization._gradients import gradient, moved, scores
from lightning_interp.hooks import evaluating

__all__ = ["optimization_variance"]


def optimization_variance(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    n_batches: int = 10,
    batch_size: int = 128,
    n_probes: int = 200,
    lr: float = 0.01,
    generator: torch.Generator | None = None,
) -> float:
    """Variance of the class scores over the SGD steps of different batches, relative to their squared size.

    Training is to stop at its minimum.

    Args:
        model: Any network that maps images to class scores; left as it was.
        images: Training images, ``(N, ...)``.
        labels: Given labels, ``(N,)``.
        n_batches: Batches, each a step away from the same weights.
        batch_size: Images per batch; fewer when there are not enough images.
        n_probes: Images whose scores are compared.
        lr: Learning rate of the step, plain SGD.
        generator: Source of randomness of batches and probes; all images in order without one.

    Returns:
        Mean over the probes.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> optimization_variance(net, torch.rand(8, 4), torch.arange(8) % 2, n_batches=2, lr=0.0)
        0.0

    Reference:
        Optimization variance: exploring generalization properties of DNNs, ICLR 2021 submission, equation 5.
    """
    check_int(n_batches, "n_batches", "optimization_variance", low=2, high=len(images))
    check_number(lr, "lr", "optimization_variance")
    order = torch.arange(len(images)) if generator is None else torch.randperm(len(images), generator=generator)
    order = order.to(labels.device)
    size = min(check_int(batch_size, "batch_size", "optimization_variance"), len(images) // n_batches)
    probes = images[order[-check_int(n_probes, "n_probes", "optimization_variance") :]]
    with evaluating(model):
        outputs = []
        for rows in order[: n_batches * size].split(size):
            step = -lr * gradient(model, images[rows], labels[rows])
            outputs.append(scores(model, moved(model, step), probes).double())
    stacked = torch.stack(outputs)  # batches, probes, classes
    spread = (stacked - stacked.mean(0)).square().sum(2).mean(0)
    return float((spread / stacked.square().sum(2).mean(0).clamp(min=1e-24)).mean())
