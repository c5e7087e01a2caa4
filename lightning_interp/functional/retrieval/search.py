"""Exact search: the nearest descriptors by cosine similarity."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lightning_interp._checks import check_int, message

__all__ = ["Database", "Ranking", "search", "unit_rows"]


class Database(Protocol):
    """Descriptors ``(N, D)`` to be read piece by piece: a tensor, or rows of files such as ``ImageIndex.vectors``."""

    @property
    def shape(self) -> torch.Size:
        """``(N, D)``."""

    def __getitem__(self, rows: slice | Tensor, /) -> Tensor:
        """Some of the rows."""


@dataclass(frozen=True)
class Ranking:
    """The best matches of each query, best first.

    Attributes:
        indices: Rows of the database, ``(Q, k)``.
        scores: Their cosine similarities to the query, ``(Q, k)`` float32.
    """

    indices: Tensor
    scores: Tensor


def search(queries: Tensor, database: Database, k: int | None = None, *, batch_size: int = 1024) -> Ranking:
    """Rank a database by cosine similarity to each query, exactly.

    Similarities are computed in double precision and compared in single precision, so that equal descriptors are equal
    wherever they stand; among equals the lower index comes first. The database is gone through in pieces: beyond the
    result, memory does not depend on its size.

    Args:
        queries: Descriptors ``(Q, D)``, or one of them ``(D,)``, of any length; a zero vector is similar to nothing.
        database: Descriptors ``(N, D)``; may be on another device than the queries.
        k: Matches of each query; all ``N`` by default, or where there are fewer.
        batch_size: Descriptors of the database at a time.

    Returns:
        Indices and scores, on the device of the queries.

    Raises:
        ValueError: Shapes do not fit, or numbers are not finite.

    Example:
        >>> found = search(torch.tensor([1.0, 0.2]), torch.tensor([[0.0, 2.0], [3.0, 0.0], [1.0, 1.0]]), k=2)
        >>> found.indices.tolist()
        [[1, 2]]

    Reference:
        Thesis, section 5.3.1.
    """
    check_int(batch_size, "batch_size", "search")
    queries = queries[None] if queries.ndim == 1 else queries
    n = _check_shapes(queries, database)
    k = n if k is None else min(check_int(k, "k", "search"), n)
    wanted = unit_rows(queries, "queries", "search")
    scores = wanted.new_empty(len(wanted), 0, dtype=torch.float32)
    indices = torch.empty(len(wanted), 0, dtype=torch.long, device=wanted.device)
    step = max(batch_size, k)  # sorting then costs no more than twice what sorting all at once would
    for start in range(0, n, step):
        rows = database[start : start + step].to(wanted.device)
        new = wanted @ unit_rows(rows, "database", "search").mT
        scores = torch.cat([scores, new.float()], 1)
        numbers = torch.arange(start, start + len(rows), device=wanted.device)
        indices = torch.cat([indices, numbers.expand(len(wanted), -1)], 1)
        scores, order = scores.sort(dim=1, descending=True, stable=True)
        scores, indices = scores[:, :k], indices.gather(1, order[:, :k])
    return Ranking(indices, scores)


def unit_rows(vectors: Tensor, parameter: str, owner: str) -> Tensor:
    """Rows scaled to unit length in double precision (single where the device has no other); zero rows stay zero.

    Args:
        vectors: ``(n, D)``.
        parameter: How an error names them ...
        owner: ... and the function they were given to.

    Raises:
        ValueError: A row is not finite.
    """
    bad = ~vectors.isfinite().all(1)
    if bool(bad.any()):
        must = f"finite numbers; row {int(bad.nonzero()[0])} of these {len(vectors)} is not"
        raise ValueError(message(parameter, owner, must, vectors))
    vectors = vectors.detach().to(torch.float32 if vectors.device.type == "mps" else torch.float64)
    lengths: Tensor = vectors.norm(dim=1, keepdim=True)
    return vectors / lengths.where(lengths > 0, 1.0)


def _check_shapes(queries: Tensor, database: Database) -> int:
    if queries.ndim != 2:
        raise ValueError(message("queries", "search", "descriptors (Q, D) or one of them (D,)", queries))
    if len(database.shape) != 2 or database.shape[1] != queries.shape[1]:
        must = f"descriptors (N, {queries.shape[1]}), as long as those of the queries"
        raise ValueError(message("database", "search", must, database))
    return database.shape[0]
