"""Label Wave: how many predictions change between two checks."""

from torch import Tensor

from lightning_interp._checks import message

__all__ = ["prediction_changes"]


def prediction_changes(predictions: Tensor, previous: Tensor) -> float:
    """Share of images whose predicted class differs from that of the check before.

    Training is to stop at the first minimum of its trailing mean: from there on memorised labels flip predictions.

    Args:
        predictions: Predicted classes, ``(N,)``.
        previous: Those of the same images at the check before, ``(N,)``.

    Returns:
        The share, in [0, 1].

    Raises:
        ValueError: If the two do not belong to the same images.

    Example:
        >>> import torch
        >>> prediction_changes(torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 1, 2]))
        0.25

    Reference:
        Yuan, Feng, Liu, Early stopping against label noise without validation data, ICLR 2024, algorithm 1.
    """
    if predictions.shape != previous.shape or predictions.ndim != 1 or not len(predictions):
        must = f"predicted classes of the same {len(predictions)} images, and at least one"
        raise ValueError(message("previous", "prediction_changes", must, previous))
    return float((predictions != previous).double().mean())
