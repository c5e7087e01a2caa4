"""Query expansion: what was found helps to find the rest."""

from typing import Literal, TypeAlias, get_args

from torch import Tensor

from lightning_interp._checks import check_choice, check_int, check_number
from lightning_interp.functional.retrieval.search import Database, search, unit_rows

__all__ = ["Expansion", "expand_query"]

Expansion: TypeAlias = Literal["average", "alpha"]


def expand_query(
    queries: Tensor, database: Database, *, n: int = 5, method: Expansion = "average", alpha: float = 3.0
) -> Tensor:
    r"""Replace each query by the mean of itself and its best matches, to search again with.

    With unit vectors :math:`q` and matches :math:`x_1, ..., x_n`, the new query is the direction of
    :math:`q + \sum_i w_i x_i`, where :math:`w_i = 1` for ``"average"``, and :math:`w_i = \max(q \cdot x_i, 0)^\alpha`
    for ``"alpha"``, which trusts matches by how similar they are and so can take more of them.

    Args:
        queries: Descriptors ``(Q, D)``, or one of them ``(D,)``.
        database: Descriptors ``(N, D)``.
        n: Matches to take; all of them where there are fewer.
        method: How matches are weighted.
        alpha: Exponent of ``"alpha"``; 0 is the average.

    Returns:
        New queries ``(Q, D)`` of unit length, of the type of the old ones; zero queries stay zero.

    Raises:
        ValueError: Shapes do not fit, numbers are not finite, or ``alpha`` is negative.

    Example:
        >>> import torch
        >>> expand_query(torch.tensor([1.0, 0.0]), torch.tensor([[0.0, 1.0], [-1.0, 0.0]]), n=1)
        tensor([[0.7071, 0.7071]])

    Reference:
        Average: thesis, section 5.3.1; Chum et al., Total recall, ICCV 2007. Alpha: Radenovic et al., Fine-tuning CNN
        image retrieval with no human annotation, TPAMI 2018, section 3.4.
    """
    check_choice(method, "method", "expand_query", get_args(Expansion))
    check_number(alpha, "alpha", "expand_query")
    found = search(queries, database, check_int(n, "n", "expand_query"))
    queries = queries[None] if queries.ndim == 1 else queries
    unit = unit_rows(queries, "queries", "expand_query")
    matches = database[found.indices.cpu().flatten()].to(unit.device)
    matches = unit_rows(matches, "database", "expand_query").view(*found.indices.shape, unit.shape[1])
    weights = found.scores.to(unit).clamp(min=0) ** (alpha if method == "alpha" else 0.0)
    mixed = unit + (weights[..., None] * matches).sum(1)
    expanded = unit_rows(mixed * unit.any(1, keepdim=True), "queries", "expand_query")
    return expanded.to(queries.dtype if queries.is_floating_point() else expanded.dtype)
