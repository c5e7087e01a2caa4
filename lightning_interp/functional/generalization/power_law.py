"""Power-law exponents of the spectra of weight matrices (HTSR, as in weightwatcher)."""

import numpy as np
import torch
from torch import Tensor, nn

from lightning_interp._checks import check_int
from lightning_interp.hooks import evaluating

__all__ = ["power_law_alpha", "power_law_alphas"]


def power_law_alphas(model: nn.Module, *, min_eigenvalues: int = 8) -> dict[str, float]:
    """Exponent of the tail of the eigenvalue density of each linear and convolutional layer.

    A convolution counts as its ``k x k`` matrices (out, in), whose eigenvalues are pooled. Below 2 a layer counts as
    over-trained, above 6 as under-trained. Small layers, with few eigenvalues, give wild values; below 20 eigenvalues
    weightwatcher fits them in another way, else the numbers are the same.

    Args:
        model: Any network.
        min_eigenvalues: Layers with fewer are left out.

    Returns:
        Layer name to exponent, in the order of ``named_modules``.

    Example:
        >>> list(power_law_alphas(nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 4))))
        ['0']

    Reference:
        Martin, Mahoney, Implicit self-regularization in deep neural networks, JMLR 2021; weightwatcher 0.7.7.
    """
    check_int(min_eigenvalues, "min_eigenvalues", "power_law_alphas", low=2)
    layers = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)}
    with evaluating(model):  # to read a spectrally normalised weight in train mode would move its buffers
        spectra = {name: _eigenvalues(layer.weight) for name, layer in layers.items()}
    return {name: power_law_alpha(values) for name, values in spectra.items() if len(values) >= min_eigenvalues}


def power_law_alpha(eigenvalues: np.ndarray) -> float:
    """Maximum-likelihood exponent of the tail, which begins where the fit is closest (Kolmogorov-Smirnov).

    Args:
        eigenvalues: Positive numbers, in any order.

    Returns:
        The exponent; NaN for fewer than two different values, or when they are NaN.

    Example:
        >>> tail = np.random.default_rng(0).pareto(2.0, 4000) + 1  # density ~ x^-3
        >>> 2.8 < power_law_alpha(tail) < 3.2
        True

    Reference:
        Clauset, Shalizi, Newman, Power-law distributions in empirical data, SIAM Review 2009, equations 3.1 and 3.9.
    """
    values = np.sort(np.asarray(eigenvalues, dtype=np.float64))
    logs = np.log(values)
    sums = np.cumsum(logs[::-1])[::-1]  # of the tail that begins at each value
    best, closest = float("nan"), np.inf
    for start in range(len(values) - 1):
        n = len(values) - start
        excess = sums[start] - n * logs[start]
        if excess <= 0:  # all values of the tail are equal
            continue
        alpha = 1 + n / excess
        theory = 1 - np.exp((1 - alpha) * (logs[start:] - logs[start]))
        distance = np.abs(theory - np.arange(n) / n).max()
        if distance < closest:
            best, closest = alpha, distance
    return float(best)


def _eigenvalues(weight: Tensor) -> np.ndarray:
    """Eigenvalues of ``W^T W`` of each ``(out, in)`` matrix of a layer, without the zero ones."""
    matrices = weight.detach().double().cpu().flatten(2).permute(2, 0, 1) if weight.ndim > 2 else weight.detach()[None]
    matrices = matrices.double().cpu()
    small = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.mT
    if not small.isfinite().all():  # a diverged run
        return np.full(small.shape[0] * small.shape[1], np.nan)
    values = torch.linalg.eigvalsh(small @ small.mT).flatten().numpy()
    kept: np.ndarray = values[values > 1e-10 * max(values.max(), 1e-300)]
    return kept
