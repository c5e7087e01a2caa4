"""Choose the best-ranked images of every class."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from lightning_interp._checks import check_choice, check_int, check_number, message

__all__ = ["check_fractions", "select_top"]


def select_top(
    scores: Tensor,
    labels: Tensor,
    fraction: float | Sequence[float],
    *,
    n_classes: int | None = None,
    share_of: Literal["predicted", "pool"] = "predicted",
) -> Tensor:
    """Indices of the best-scored images of every class.

    Of class ``c`` the ``fraction[c]`` best of the images labelled ``c`` are taken, rounded to the nearest number. Of
    equal scores the image that comes first wins; an image with score NaN is never taken; a class that no image is
    labelled as gives none.

    Args:
        scores: ``(n,)``, higher is better.
        labels: Predicted class, ``(n,)``.
        fraction: The paper's alpha, in [0, 1], for all classes or one per class.
        n_classes: Number of classes; that of ``fraction``, else the largest label and one.
        share_of: What the fraction is a share of: the images ``"predicted"`` as the class, or the whole ``"pool"``, as
            the paper's formula says; with ten classes its 0.3 is then more than there are, and all are taken.

    Returns:
        Sorted indices ``(m,)``.

    Raises:
        ValueError: A fraction outside [0, 1], a wrong number of them, a label out of range, or lengths that differ.

    Example:
        >>> scores, labels = torch.tensor([-1.0, -3.0, -2.0, -0.5]), torch.tensor([0, 0, 0, 1])
        >>> select_top(scores, labels, [0.67, 0.0])
        tensor([0, 2])

    Reference:
        Image-score paper, section 3.1 (training).
    """
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(message("labels", "select_top", f"one label for each of {len(scores)} scores", labels))
    n_classes = n_classes or (len(fraction) if isinstance(fraction, Sequence) else 1 + max(labels.tolist(), default=0))
    if len(labels) and not (labels.min() >= 0 and labels.max() < n_classes):
        raise ValueError(message("labels", "select_top", f"in [0, {n_classes - 1}]", labels.unique().tolist()))
    check_choice(share_of, "share_of", "select_top", ("predicted", "pool"))
    order = scores.argsort(descending=True, stable=True)
    order = order[~scores[order].isnan()]
    chosen = []
    for c, alpha in enumerate(check_fractions(fraction, n_classes, "select_top")):
        members = order[labels[order] == c]
        total = len(scores) if share_of == "pool" else int((labels == c).sum())
        chosen.append(members[: math.floor(alpha * total + 0.5)])
    return torch.cat(chosen).sort().values


def check_fractions(fraction: float | Sequence[float], n_classes: int, owner: str) -> tuple[float, ...]:
    """The share of every class, each in [0, 1]."""
    check_int(n_classes, "n_classes", owner)
    if not isinstance(fraction, Sequence):
        return (check_number(fraction, "fraction", owner, high=1.0),) * n_classes
    if len(fraction) != n_classes:
        raise ValueError(message("fraction", owner, f"one number, or one for each of {n_classes} classes", fraction))
    return tuple(check_number(alpha, "fraction", owner, high=1.0) for alpha in fraction)
