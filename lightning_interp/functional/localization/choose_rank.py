"""How many factors a set of activations asks for."""

from typing import Any

from torch import Tensor

from lightning_interp._checks import check_int
from lightning_interp.functional.factorization import FactorizationMethod, factorize_path

__all__ = ["choose_rank", "elbow"]


def choose_rank(rows: Tensor, *, max_k: int = 8, method: FactorizationMethod = "nmf", **options: Any) -> int:
    """The elbow of the error curve: further factors than this explain less than their share.

    Args:
        rows: Activations, ``(n, C)``.
        max_k: Largest number of factors to try.
        method: Factorisation.
        **options: Of the factorisation.

    Returns:
        Number of factors, in ``[1, max_k]``.

    Raises:
        ValueError: ``max_k`` is below 1.

    Example:
        >>> import torch
        >>> blocks = torch.block_diag(*[torch.ones(20, 5)] * 3) + 0.01
        >>> choose_rank(blocks)
        3
    """
    highest = min(check_int(max_k, "max_k", "choose_rank"), *rows.shape)
    errors = [
        float(found.error) for found in factorize_path(rows, list(range(1, highest + 1)), method=method, **options)
    ]
    return elbow([1.0, *errors])


def elbow(errors: list[float]) -> int:
    """Where a falling curve over 0, 1, 2, ... lies farthest below the line from its first point to its last.

    Args:
        errors: Of ranks 0, 1, 2, ...

    Returns:
        A rank, at least 1.

    Example:
        >>> elbow([1.0, 0.6, 0.2, 0.15, 0.1])
        2

    Reference:
        Satopaa et al., Finding a "kneedle" in a haystack, ICDCS Workshops 2011.
    """
    last = len(errors) - 1
    if last < 1:
        return 1
    line = [errors[0] + (errors[-1] - errors[0]) * i / last for i in range(last + 1)]
    below = [straight - error for straight, error in zip(line, errors, strict=True)]
    return max(1, below.index(max(below)))
