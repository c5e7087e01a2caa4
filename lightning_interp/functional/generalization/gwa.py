"""Gradient-weight alignment: whether the images pull the head where it already points."""

from dataclasses import dataclass

from torch import Tensor

from lightning_interp.functional.generalization.evidence import score_errors

__all__ = ["GradientWeightAlignment", "gradient_weight_alignment"]


@dataclass(frozen=True)
class GradientWeightAlignment:
    """Statistics of the alignment of single images.

    Attributes:
        mean: Mean alignment.
        kurtosis: Excess kurtosis.
        value: ``mean / (kurtosis + 1.2)``. The denominator changes sign when the alignments form two separate groups
            (clean and mislabelled images), so ``mean`` is the steadier signal.
    """

    mean: float
    kurtosis: float
    value: float


def gradient_weight_alignment(
    features: Tensor, scores: Tensor, labels: Tensor, weight: Tensor, *, beta: float = 1.2
) -> GradientWeightAlignment:
    """Cosine between the negative gradient of each image and the weights of the linear head, in closed form.

    Training is to stop where the value is highest.

    Args:
        features: Input of the head, ``(N, d)``.
        scores: Class scores, ``(N, n_classes)``.
        labels: Given labels, ``(N,)``.
        weight: Weights of the head, ``(n_classes, d)``.
        beta: Added to the kurtosis.

    Returns:
        Mean, kurtosis and their quotient.

    Example:
        >>> import torch
        >>> z = torch.eye(2)
        >>> alignment = gradient_weight_alignment(z, z, torch.tensor([0, 1]), torch.eye(2))
        >>> round(alignment.mean, 3)
        0.5

    Reference:
        Hoelzl, Rueckert, Kaissis, NeurIPS 2025, arXiv 2510.25480.
    """
    errors, z, w = score_errors(scores, labels), features.double(), weight.double()
    scale = z.norm(dim=1) * errors.norm(dim=1) * w.norm()
    gamma = -(z * (errors @ w)).sum(1) / (scale + 1e-12)
    centred = gamma - gamma.mean()
    spread = centred.square().mean().square().clamp(min=1e-24)
    kurtosis = float(centred.pow(4).mean() / spread) - 3
    return GradientWeightAlignment(float(gamma.mean()), kurtosis, float(gamma.mean()) / (kurtosis + beta))
