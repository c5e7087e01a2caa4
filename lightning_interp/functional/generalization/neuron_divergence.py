"""CND: how differently the classes drive the neurons of the last hidden layer."""

import math

import torch
from torch import Tensor

from lightning_interp._checks import check_int, check_number

__all__ = ["neuron_divergence"]


def neuron_divergence(
    activations: Tensor,
    labels: Tensor,
    *,
    predictions: Tensor | None = None,
    n_classes: int | None = None,
    bins: int = 40,
    percentile: float = 90.0,
) -> float:
    """Jensen-Shannon divergence between the class-wise histograms of a neuron, at a percentile over neurons.

    Training is to stop at its first maximum after an ascent.

    Args:
        activations: Pre-activations of the last hidden layer, ``(N, neurons)``.
        labels: Given labels, ``(N,)``.
        predictions: Predicted classes, ``(N,)``. With at most ten classes only images predicted as labelled count.
        n_classes: Number of classes; the largest label plus one by default.
        bins: Bins between the smallest and the largest value of each neuron.
        percentile: Percentile over the neurons.

    Returns:
        The divergence in bits; NaN when fewer than two classes are left or some activations are not finite.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> x = torch.tensor([[0.0, 0.0], [0.1, 0.0], [1.0, 0.0], [1.1, 0.0]])
        >>> neuron_divergence(x, torch.tensor([0, 0, 1, 1]), percentile=100)
        1.0

    Reference:
        Class-conditional neuron pre-activation divergence, ICLR 2026 submission synVz5n0I8; its code cnd.py, jsd.py.
    """
    check_int(bins, "bins", "neuron_divergence", low=2)
    check_number(percentile, "percentile", "neuron_divergence", high=100.0)
    n_classes = int(labels.max()) + 1 if n_classes is None else n_classes
    if predictions is not None and n_classes <= 10:
        activations, labels = activations[predictions == labels], labels[predictions == labels]
    if len(labels.unique()) < 2 or not activations.isfinite().all():
        return float("nan")
    histograms = _histograms(activations.float(), labels, n_classes, bins)
    present = histograms.sum((0, 2)) > 0
    shares = histograms[:, present] / histograms[:, present].sum(2, keepdim=True)
    divergence = _entropy(shares.mean(1)) - _entropy(shares).mean(1)
    return float(divergence.quantile(percentile / 100))


def _histograms(x: Tensor, labels: Tensor, n_classes: int, bins: int) -> Tensor:
    """Counts ``(neurons, n_classes, bins)``."""
    low, high = x.amin(0), x.amax(0)
    scaled = (x - low) / (high - low).clamp(min=torch.finfo(x.dtype).tiny) * bins
    cell = scaled.long().clamp(max=bins - 1) + bins * labels[:, None]
    cell = cell + bins * n_classes * torch.arange(x.shape[1], device=x.device)
    counts = torch.bincount(cell.flatten(), minlength=x.shape[1] * n_classes * bins)
    return counts.view(x.shape[1], n_classes, bins).double()


def _entropy(shares: Tensor) -> Tensor:
    return -torch.xlogy(shares, shares).sum(-1) / math.log(2)
