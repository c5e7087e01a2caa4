"""Rank and collapse of features: controls for every story about rank."""

import torch
from torch import Tensor

__all__ = ["effective_rank", "within_class_collapse"]


def effective_rank(features: Tensor) -> float:
    """Exponential of the entropy of the normalised singular values (RankMe).

    Args:
        features: ``(N, d)``.

    Returns:
        Between 1 and ``min(N, d)``; NaN when all features are zero or some are not finite.

    Example:
        >>> round(effective_rank(torch.eye(4)), 4)
        4.0

    Reference:
        Roy, Vetterli, The effective rank, EUSIPCO 2007; Garrido et al., RankMe, ICML 2023.
    """
    z = features.double()
    if not z.isfinite().all():  # of which no eigenvalues can be taken
        return float("nan")
    gram = z @ z.T if len(z) < z.shape[1] else z.T @ z
    values = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    shares = values / values.sum()
    return float(torch.exp(-torch.xlogy(shares, shares).sum()))


def within_class_collapse(features: Tensor, labels: Tensor) -> float:
    """Spread within the classes relative to that between them (NC1): ``trace(S_W S_B^+) / n_classes``.

    Args:
        features: ``(N, d)``.
        labels: Given labels, ``(N,)``.

    Returns:
        0 when all images of a class have the same features; NaN when all classes have the same mean, as a single class
        or dead features have, or when some features are not finite.

    Example:
        >>> within_class_collapse(torch.tensor([[0.0], [0.0], [1.0], [1.0]]), torch.tensor([0, 0, 1, 1]))
        0.0

    Reference:
        Papyan, Han, Donoho, Prevalence of neural collapse, PNAS 2020, section 2 (NC1).
    """
    z, (classes, members) = features.double(), labels.unique(return_inverse=True)
    if len(classes) < 2 or not z.isfinite().all():
        return float("nan")
    means = torch.stack([z[members == i].mean(0) for i in range(len(classes))])
    offsets = means - means.mean(0)
    # S_B = offsets' offsets / n_classes has rank n_classes - 1: its pseudo-inverse comes from that factor.
    _, sizes, directions = torch.linalg.svd(offsets, full_matrices=False)
    if sizes[0] <= 1e-12 * z.abs().max():
        return float("nan")
    kept = sizes > 1e-9 * sizes[0]
    within = (z - means[members]) @ directions[kept].T / sizes[kept]
    return float(within.square().sum() / len(z))
