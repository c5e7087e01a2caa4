"""Label noise: how the thesis makes networks memorise."""

from typing import Literal

import torch
from torch import Tensor

from lightning_interp._checks import check_choice, check_int, check_number, message

NoiseKind = Literal["uniform", "different"]
_KINDS = ("uniform", "different")


def noisy_labels(
    labels: Tensor, p: float, *, n_classes: int, kind: NoiseKind = "uniform", generator: torch.Generator | None = None
) -> Tensor:
    """Replace every label with probability ``p`` by a random one.

    With one seed the labels replaced at a small ``p`` are replaced, by the same labels, at a larger one.

    Args:
        labels: ``(n,)`` integers in [0, n_classes).
        p: probability of a replacement.
        n_classes: number of classes.
        kind: ``"uniform"`` draws among all classes, the true one included, so that a share ``p (1 - 1 / n_classes)``
            becomes wrong (the thesis); ``"different"`` draws among the other classes: a share ``p`` becomes wrong.
        generator: a CPU generator; the same one gives the same noise on every rank.

    Returns:
        ``(n,)``, device and dtype of ``labels``.

    Raises:
        ValueError: ``p``, ``n_classes``, ``kind`` or a label is out of range.
        TypeError: ``labels`` are not integers.

    Reference:
        Thesis, section 3.5.2 (label randomisation).

    >>> noisy_labels(torch.arange(5), 1.0, n_classes=5, kind="different").eq(torch.arange(5)).any().item()
    False
    """
    check_number(p, "p", "noisy_labels", high=1.0)
    check_int(n_classes, "n_classes", "noisy_labels", low=2)
    check_choice(kind, "kind", "noisy_labels", _KINDS)
    if labels.ndim != 1 or labels.is_floating_point() or labels.dtype == torch.bool:
        raise TypeError(message("labels", "noisy_labels", "a vector of integers", labels))
    if len(labels) and not (labels.min() >= 0 and labels.max() < n_classes):
        wrong = next(label for label in labels.tolist() if not 0 <= label < n_classes)
        raise ValueError(message("labels", "noisy_labels", f"in [0, {n_classes - 1}]", wrong))
    replaced = torch.rand(len(labels), generator=generator) < p
    true = labels.to("cpu", torch.long)
    if kind == "uniform":
        drawn = torch.randint(n_classes, (len(labels),), generator=generator)
    else:
        drawn = (true + torch.randint(1, n_classes, (len(labels),), generator=generator)) % n_classes
    return torch.where(replaced, drawn, true).to(labels)
