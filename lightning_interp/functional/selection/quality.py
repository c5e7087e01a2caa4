"""How good a selection is: how many of its labels are right, how evenly it covers the classes, what it shares."""

import math

import torch
from torch import Tensor

from lightning_interp._checks import check_int, message

__all__ = ["interval_accuracy", "selection_balance", "selection_overlap"]


def selection_balance(counts: Tensor) -> Tensor:
    """Entropy of the classes of a selection over its largest value: 1 for equal shares, 0 for a single class.

    Args:
        counts: Chosen images per class, ``(C,)``, all classes included.

    Returns:
        A scalar; NaN for an empty selection, 1 where there is one class only.

    Example:
        >>> selection_balance(torch.tensor([5, 5, 0, 0]))
        tensor(0.5000)
    """
    if counts.ndim != 1 or len(counts) == 0:
        raise ValueError(message("counts", "selection_balance", "one number per class", counts))
    if len(counts) == 1:
        return torch.ones(())
    shares = counts.double() / counts.sum()
    entropy: Tensor = torch.special.entr(shares).sum()
    return (entropy / math.log(len(counts))).float()


def selection_overlap(chosen: Tensor, other: Tensor) -> float:
    """Share of the chosen images that another selection of them has, too; NaN for an empty one.

    Args:
        chosen: Indices without repetition, ``(m,)``.
        other: Indices without repetition, ``(k,)``.

    Example:
        >>> selection_overlap(torch.tensor([1, 4, 7, 9]), torch.tensor([4, 9, 11]))
        0.5
    """
    return float(torch.isin(chosen, other).sum()) / len(chosen) if len(chosen) else float("nan")


def interval_accuracy(scores: Tensor, correct: Tensor, *, n_bins: int = 10) -> tuple[Tensor, Tensor, Tensor]:
    """Accuracy of images by score, in bins that hold equally many images.

    Args:
        scores: ``(n,)``; images with NaN are left out.
        correct: Whether the label of the image is right, ``(n,)``.
        n_bins: Number of bins, from the worst scores to the best.

    Returns:
        Mean score, accuracy and number of images of each bin, ``(n_bins,)`` each; fewer bins for fewer images.

    Example:
        >>> interval_accuracy(torch.tensor([3.0, 1.0, 2.0, 4.0]), torch.tensor([1, 0, 0, 1]), n_bins=2)[1]
        tensor([0., 1.])
    """
    check_int(n_bins, "n_bins", "interval_accuracy")
    known = ~scores.isnan()
    order = scores[known].argsort(stable=True)
    if not len(order):
        return (torch.zeros(0),) * 3
    bins = order.tensor_split(min(n_bins, len(order)))
    scores, right = scores[known].float(), correct[known].float()
    counts = torch.tensor([float(len(rows)) for rows in bins])
    means = [torch.stack([values[rows].mean() for rows in bins]) for values in (scores, right)]
    return means[0], means[1], counts
