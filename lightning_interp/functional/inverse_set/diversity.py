"""How different images are from each other, and from those of a dataset."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from lightning_interp._checks import message

__all__ = ["mean_pairwise_distance", "nearest_images"]

_CHUNK = 1024


def mean_pairwise_distance(features: Tensor) -> float:
    """Mean Euclidean distance over all pairs.

    Args:
        features: A row per image, ``(n, ...)``.

    Returns:
        The mean over the ``n (n - 1) / 2`` pairs; NaN for fewer than two images.

    Example:
        >>> mean_pairwise_distance(torch.tensor([[0.0], [1.0], [3.0]]))
        2.0

    Reference:
        Hada and Carreira-Perpinan, table 1.
    """
    rows = features.flatten(1).double()
    n = len(rows)
    if n < 2:
        return float("nan")
    rows = rows - rows.mean(0)  # distances are found by matrix products, which lose digits far from the origin
    total = sum(float(torch.cdist(part, rows).sum()) for part in rows.split(_CHUNK))
    return total / (n * (n - 1))


def nearest_images(features: Tensor, others: Iterable[Any]) -> tuple[Tensor, Tensor]:
    """The nearest of other images for each image, to show that it is no copy.

    Args:
        features: A row per image, ``(n, D)``.
        others: Rows of the other images ``(m, D)``, batch by batch.

    Returns:
        Place of the nearest among the others, and the distance to it, ``(n,)`` each.

    Raises:
        ValueError: There are no other images, or their rows have another length.

    Example:
        >>> nearest_images(torch.tensor([[0.0], [9.0]]), [torch.tensor([[7.0]]), torch.tensor([[1.0], [8.5]])])
        (tensor([1, 2]), tensor([1.0000, 0.5000]))
    """
    best = features.new_full((len(features),), float("inf"))
    places = torch.full((len(features),), -1)
    done = 0
    for part in others:
        if part.ndim != 2 or part.shape[1] != features.shape[1]:
            raise ValueError(message("others", "nearest_images", f"rows of length {features.shape[1]}", part))
        distance, place = torch.cdist(features, part.to(features)).min(1)
        closer = distance < best
        best = torch.where(closer, distance, best)
        places = torch.where(closer.cpu(), place.cpu() + done, places)
        done += len(part)
    if not done:
        raise ValueError(message("others", "nearest_images", "one image at least", "none"))
    return places, best
