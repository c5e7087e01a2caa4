"""The gradient at the linear head: its norm, and how much the images agree on it."""

from torch import Tensor

from lightning_interp.functional.generalization.evidence import score_errors

__all__ = ["head_coherence", "head_gradient_norm"]


def head_gradient_norm(features: Tensor, scores: Tensor, labels: Tensor, weight: Tensor | None = None) -> float:
    """Frobenius norm of the gradient of the mean loss with respect to the head; the lowest is taken as the best.

    Args:
        features: Input of the head, ``(N, d)``.
        scores: Class scores, ``(N, n_classes)``.
        labels: Given labels, ``(N,)``.
        weight: Weights of the head, ``(n_classes, d)``; when given, the norm is divided by theirs.

    Returns:
        The norm.

    Example:
        >>> import torch
        >>> round(head_gradient_norm(torch.ones(1, 2), torch.zeros(1, 2), torch.tensor([0])), 3)
        1.0

    Reference:
        Wu, Summa, arXiv 2601.16874, 2026 (there the minimum of a smoothed tail).
    """
    norm = (score_errors(scores, labels).T @ features.double()).norm() / len(features)
    return float(norm if weight is None else norm / (weight.double().norm() + 1e-12))


def head_coherence(features: Tensor, scores: Tensor, labels: Tensor) -> float:
    """m-coherence of the head: the number of images an average image helps, 1 (orthogonal) to N (all gradients equal).

    Args:
        features: Input of the head, ``(N, d)``.
        scores: Class scores, ``(N, n_classes)``.
        labels: Given labels, ``(N,)``.

    Returns:
        ``N |mean g|^2 / mean |g|^2``; NaN when all gradients vanish.

    Example:
        >>> import torch
        >>> head_coherence(torch.ones(4, 2), torch.zeros(4, 2), torch.zeros(4, dtype=torch.long))
        4.0

    Reference:
        Chatterjee, Zielinski, Making coherence out of nothing at all, arXiv 2008.01217, section 2.
    """
    errors, z = score_errors(scores, labels), features.double()
    together = (errors.T @ z / len(z)).square().sum()
    each = (errors.square().sum(1) * z.square().sum(1)).mean()
    return float(len(z) * together / each)
