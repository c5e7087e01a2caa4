"""Evidence-based criterion: whether gradients still say more than their noise."""

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from lightning_interp._checks import check_int, check_number
from lightning_interp.functional.generalization._gradients import image_gradients
from lightning_interp.hooks import evaluating

__all__ = ["evidence", "head_evidence"]


def evidence(model: nn.Module, images: Tensor, labels: Tensor, *, eps: float = 0.0) -> float:
    """``1 - B mean_j(g_j^2 / (s_j^2 + eps))`` over all weights ``j``; training is to stop once it is above zero.

    ``g_j`` is the mean and ``s_j^2`` the unbiased variance of the gradients of single images. Weights whose gradient
    does not vary are left out: with ``eps`` they would count as evidence for stopping.

    Args:
        model: Any network that maps images to class scores; evaluated in eval mode and left as it was.
        images: Training images, ``(B, ...)``.
        labels: Given labels, ``(B,)``.
        eps: Added to the variances; the peer Cockpit uses 1e-5, which triggers by itself on small gradients.

    Returns:
        The criterion; about zero or below while gradients are pure noise, NaN when no gradient varies.

    Raises:
        ValueError: If there are fewer than two images, or all weights are frozen.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> evidence(net, torch.rand(16, 4), torch.arange(16) % 2) < 1
        True

    Reference:
        Mahsereci, Balles, Lassner, Hennig, Early stopping without a validation set, 2017, equation 7.
    """
    check_int(len(images), "len(images)", "evidence", low=2)
    total: Tensor | float = 0.0
    squares: Tensor | float = 0.0
    with evaluating(model):
        for gradient in image_gradients(model, images, labels):
            total = total + gradient.double()
            squares = squares + gradient.double().square()
    return _criterion(torch.as_tensor(total), torch.as_tensor(squares), len(images), eps)


def head_evidence(features: Tensor, scores: Tensor, labels: Tensor, *, eps: float = 0.0) -> float:
    """:func:`evidence` of the weights of a linear head alone, in closed form: no backward pass.

    Args:
        features: Input of the head, ``(B, d)``.
        scores: Class scores, ``(B, n_classes)``.
        labels: Given labels, ``(B,)``.
        eps: As in :func:`evidence`.

    Returns:
        The criterion.

    Example:
        >>> head_evidence(torch.rand(16, 4), torch.rand(16, 2), torch.arange(16) % 2) < 1
        True
    """
    check_int(len(features), "len(features)", "head_evidence", low=2)
    errors = score_errors(scores, labels)
    z = features.double()
    return _criterion((errors.T @ z).flatten(), (errors.square().T @ z.square()).flatten(), len(z), eps)


def score_errors(scores: Tensor, labels: Tensor) -> Tensor:
    """Gradient of the cross entropy of each image with respect to its scores, softmax minus one-hot, in float64."""
    return scores.double().softmax(1) - one_hot(labels, scores.shape[1]).double()


def _criterion(total: Tensor, squares: Tensor, n: int, eps: float) -> float:
    check_number(eps, "eps", "evidence")
    mean = total / n
    variance = (squares / n - mean.square()).clamp(min=0) * n / (n - 1)
    varies = variance > 1e-12 * (squares / n)  # rounding leaves a trace of variance where there is none
    ratio = mean[varies].square() / (variance[varies] + eps)
    return float(1 - n * ratio.mean())
