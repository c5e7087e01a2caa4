"""Consistency of the classes at the input: label-wise mixup, and the Davies-Bouldin index of first-layer features."""

import torch
from torch import Tensor, nn

from lightning_interp._checks import check_int, message
from lightning_interp.functional.compression import class_scores
from lightning_interp.hooks import evaluating

__all__ = ["davies_bouldin_index", "label_wise_mixup_accuracy"]


def label_wise_mixup_accuracy(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    per_class: int = 10,
    n_batches: int = 2,
    generator: torch.Generator | None = None,
) -> float:
    """Accuracy on the means of all pairs of training images of one class: does the class hold between its images?

    Args:
        model: Any network that maps images to class scores; evaluated in eval mode and left as it was.
        images: Training images, ``(N, ...)``.
        labels: Given labels, ``(N,)``.
        per_class: Images of each class in a batch, hence ``per_class * (per_class - 1) / 2`` pairs of each class.
        n_batches: Batches (10 in the authors' code).
        generator: Source of randomness of the batches; the first images of each class without one.

    Returns:
        The accuracy.

    Raises:
        ValueError: If a number is out of range or no class has two images.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> 0 <= label_wise_mixup_accuracy(net, torch.rand(12, 4), torch.arange(12) % 2) <= 1
        True

    Reference:
        Natekar, Sharma, Representation based complexity measures, PGDL winner, NeurIPS 2020.
    """
    check_int(per_class, "per_class", "label_wise_mixup_accuracy", low=2)
    check_int(n_batches, "n_batches", "label_wise_mixup_accuracy")
    right = total = 0
    with evaluating(model):
        for batch in range(n_batches):
            for c in labels.unique():
                rows = _drawn((labels == c).nonzero().flatten(), per_class, batch, generator)
                pairs = torch.combinations(rows)
                if len(pairs):
                    mixed = images[pairs[:, 0]].lerp(images[pairs[:, 1]], 0.5)
                    right += int((class_scores(model(mixed)).argmax(1) == c).sum())
                    total += len(pairs)
    if not total:
        must = "labels of which at least one comes twice"
        raise ValueError(message("labels", "label_wise_mixup_accuracy", must, labels))
    return right / total


def davies_bouldin_index(
    features: Tensor,
    labels: Tensor,
    *,
    n_images: int = 120,
    repeats: int = 10,
    generator: torch.Generator | None = None,
) -> float:
    """Davies-Bouldin index of the classes among features, averaged over draws of images; lower is tighter.

    Args:
        features: ``(N, d)``; in the authors' code the max-pooled activations of the first layer.
        labels: Given labels, ``(N,)``.
        n_images: Images in one index.
        repeats: Draws of images to average over.
        generator: Source of randomness of the draws; the first images without one.

    Returns:
        The mean index; NaN when no draw holds two classes or some features are not finite.

    Raises:
        ValueError: If a number is out of range.

    Example:
        >>> tight = torch.tensor([[0.0], [0.1], [9.0], [9.1]])
        >>> davies_bouldin_index(tight, torch.tensor([0, 0, 1, 1])) < 0.1
        True

    Reference:
        As :func:`label_wise_mixup_accuracy`.
    """
    from sklearn.metrics import davies_bouldin_score  # here, because importing it takes a second

    check_int(n_images, "n_images", "davies_bouldin_index", low=2)
    check_int(repeats, "repeats", "davies_bouldin_index")
    if not features.isfinite().all():
        return float("nan")
    values = []
    for _ in range(repeats if generator else 1):
        order = torch.randperm(len(labels), generator=generator) if generator else torch.arange(len(labels))
        rows = order[:n_images].to(labels.device)
        if 2 <= len(labels[rows].unique()) < len(rows):
            values.append(davies_bouldin_score(features[rows].cpu().numpy(), labels[rows].cpu().numpy()))
    return float(sum(values) / len(values)) if values else float("nan")


def _drawn(rows: Tensor, count: int, batch: int, generator: torch.Generator | None) -> Tensor:
    if generator is None:
        return rows[batch * count : (batch + 1) * count]
    return rows[torch.randperm(len(rows), generator=generator)[:count].to(rows.device)]
