"""Local intrinsic dimensionality of features."""

import torch
from torch import Tensor

from lightning_interp._checks import check_int

__all__ = ["intrinsic_dimension"]


def intrinsic_dimension(
    features: Tensor, *, n_neighbours: int = 20, batch_size: int = 128, generator: torch.Generator | None = None
) -> float:
    """Mean local intrinsic dimensionality (LID), by maximum likelihood from the neighbours within random batches.

    It falls while the network learns and rises when it begins to memorise. It depends on the batch size.

    Args:
        features: ``(N, d)``, of training images.
        n_neighbours: Neighbours in the estimate.
        batch_size: Images among which neighbours are looked for.
        generator: Source of randomness of the batches; all images in order without one.

    Returns:
        Mean over the images; a last batch without enough neighbours is left out.

    Raises:
        ValueError: If there are not more images than neighbours.

    Example:
        >>> line = torch.linspace(0, 1, 128)[:, None] * torch.ones(1, 5)
        >>> 0.5 < intrinsic_dimension(line) < 1.5
        True

    Reference:
        Ma et al., Dimensionality-driven learning with noisy labels, ICML 2018, equation 5.
    """
    check_int(n_neighbours, "n_neighbours", "intrinsic_dimension", low=2, high=len(features) - 1)
    check_int(batch_size, "batch_size", "intrinsic_dimension", low=n_neighbours + 1)
    order = torch.arange(len(features)) if generator is None else torch.randperm(len(features), generator=generator)
    batches = features[order.to(features.device)].double().split(batch_size)
    values = [_estimate(batch, n_neighbours) for batch in batches if len(batch) > n_neighbours]
    return float(torch.cat(values).mean())


def _estimate(batch: Tensor, k: int) -> Tensor:
    nearest = torch.cdist(batch, batch).sort(dim=1).values[:, 1 : k + 1]
    ratios = nearest / nearest[:, -1:].clamp(min=1e-24)
    return -k / torch.log(ratios + 1e-8).sum(1).clamp(max=-1e-12)
