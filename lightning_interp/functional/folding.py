"""Activations to matrices and back: rows are patches (or images, or tokens), columns are channels."""

from torch import Tensor

__all__ = ["fold", "unfold"]


def fold(activations: Tensor, *, n_batches: int = 1, layer: str = "the layer") -> Tensor:
    """Fold the activations of a layer to one matrix per batch of images.

    Args:
        activations: ``(N, C)``, tokens ``(N, T, C)``, or maps ``(N, C, H, W)`` and ``(N, C, D, H, W)``.
        n_batches: Number of equal batches the ``N`` images form, in order.
        layer: Name used in the error message.

    Returns:
        Matrices ``(n_batches, N / n_batches * positions, C)``.

    Raises:
        ValueError: If the layer has no channels axis, or ``N`` is not a multiple of ``n_batches``.

    Example:
        >>> import torch
        >>> fold(torch.zeros(6, 16, 4, 4), n_batches=2).shape
        torch.Size([2, 48, 16])

    Reference:
        Thesis, section 2.3.
    """
    if activations.ndim < 2 or activations.ndim > 5:
        raise ValueError(
            f"Layer {layer!r} must give activations with a channels axis: (N, C), (N, T, C), (N, C, H, W) or "
            f"(N, C, D, H, W). Got {tuple(activations.shape)}. Choose another layer with `layers=`."
        )
    if len(activations) % n_batches:
        raise ValueError(f"Layer {layer!r}: {len(activations)} images do not form {n_batches} equal batches.")
    rows = activations.movedim(1, -1) if activations.ndim > 3 else activations
    return rows.reshape(n_batches, -1, rows.shape[-1])


def unfold(matrix: Tensor, like: Tensor) -> Tensor:
    """Undo :func:`fold`: give ``matrix`` the shape and dtype of the activations ``like``.

    Args:
        matrix: ``(n_batches, rows, C)`` as :func:`fold` made it.
        like: The activations it was folded from.

    Returns:
        A tensor of the shape and dtype of ``like``.

    Example:
        >>> import torch
        >>> a = torch.rand(6, 16, 4, 4)
        >>> bool((unfold(fold(a, n_batches=2), a) == a).all())
        True
    """
    if like.ndim <= 3:
        return matrix.reshape(like.shape).to(like.dtype)
    n, c, *space = like.shape
    return matrix.reshape(n, *space, c).movedim(-1, 1).to(like.dtype)
