"""How good rankings are, and boxes around what was searched: metrics reduced over ranks."""

from collections.abc import Hashable, Sequence
from typing import Any, TypeAlias, get_args

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_interp._checks import check_choice, check_int, message
from lightning_interp.functional.retrieval.average_precision import (
    APRule,
    Items,
    Protocol,
    average_precision,
    precision_at,
    revisited_relevance,
)
from lightning_interp.functional.retrieval.boxes import box_overlaps

__all__ = ["BoxIoU", "RetrievalAP", "RevisitedAP"]

Ranking: TypeAlias = Tensor | Sequence[Hashable]
_ItemsOrLists: TypeAlias = Items | Sequence[Items]
_PROTOCOLS = get_args(Protocol)


class RetrievalAP(Metric):
    """Mean over queries of the average precision of their rankings.

    Args:
        rule: ``"finite_sum"``, as the thesis, or ``"trapezoid"``, as the official programs of Oxford and Paris.
        at: Only this many places count: mAP@30 of the thesis, with 30.
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        ValueError: An option is out of range.

    Example:
        >>> metric = RetrievalAP()
        >>> metric.update(["query", "a", "b", "c"], positives=["b"], junk=["query"])
        >>> metric.update([[2, 0, 1], [1, 2, 0]], positives=[[0, 2], []])
        >>> metric.compute(), metric.n_without
        (tensor(0.7500, dtype=torch.float64), tensor(1))

    Reference:
        Thesis, equations 5.2, 5.3 and 5.8.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    total: Tensor
    n_queries: Tensor
    n_without: Tensor

    def __init__(self, *, rule: APRule = "finite_sum", at: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_choice(rule, "rule", "RetrievalAP", get_args(APRule))
        self.rule: APRule = rule
        self.at = None if at is None else check_int(at, "at", "RetrievalAP")
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("n_queries", "n_without"):
            self.add_state(name, torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, ranking: Ranking | Sequence[Ranking], positives: _ItemsOrLists, junk: _ItemsOrLists = ()) -> None:
        """Add a query, or a list of them; none at all is fine.

        Queries without positives are left out of the mean; ``n_without`` counts them.

        Args:
            ranking: Items of the database, best first, as in
                :func:`~lightning_interp.functional.retrieval.average_precision.average_precision`; or rankings, one
                per query, ``(Q, n)`` or a list.
            positives: Items that are relevant; or those of each query.
            junk: Items that do not count; or those of each query.
        """
        queries = _queries("RetrievalAP", ranking, positives=positives, junk=junk)
        found = [average_precision(*query, rule=self.rule, at=self.at) for query in queries]
        values = torch.tensor(found, dtype=torch.float64, device=self.device)
        self.total += values.nansum()
        self.n_queries += (~values.isnan()).sum()
        self.n_without += values.isnan().sum()

    def compute(self) -> Tensor:
        """The mean over the queries with positives, of all ranks; NaN without any."""
        return self.total / self.n_queries


class RevisitedAP(Metric):
    """Average precision and precision of the first places by the three protocols of the revisited Oxford and Paris.

    Args:
        ks: Numbers of places for the precision.
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        ValueError: A number of places is below 1.

    Example:
        >>> metric = RevisitedAP(ks=[1])
        >>> metric.update([3, 0, 2, 1], easy=[0], hard=[1], junk=[3])
        >>> {name: round(float(value), 2) for name, value in metric.compute().items()}
        {'easy': 1.0, 'easy/p@1': 1.0, 'medium': 0.79, 'medium/p@1': 1.0, 'hard': 0.25, 'hard/p@1': 0.0}

    Reference:
        Radenovic et al., Revisiting Oxford and Paris, CVPR 2018, section 3.3, and its evaluation code.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    totals: Tensor
    n_queries: Tensor
    n_without: Tensor

    def __init__(self, *, ks: Sequence[int] = (1, 5, 10), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ks = tuple(check_int(k, "ks", "RevisitedAP") for k in ks)
        shape = len(_PROTOCOLS), 1 + len(self.ks)
        self.add_state("totals", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("n_queries", "n_without"):
            self.add_state(name, torch.zeros(len(_PROTOCOLS), dtype=torch.long), dist_reduce_fx="sum")

    def update(
        self, ranking: Ranking | Sequence[Ranking], easy: _ItemsOrLists, hard: _ItemsOrLists, junk: _ItemsOrLists
    ) -> None:
        """Add a query, or a list of them; none at all is fine.

        A query counts for the protocols by which it has positives; ``n_without`` counts the others.

        Args:
            ranking: As in :meth:`RetrievalAP.update`: one ranking, or one per query, ``(Q, n)`` or a list. Ranks of the
                official code have a query per column: transpose them.
            easy: Items that show the query well; or those of each query.
            hard: Items that show it badly; or those of each query.
            junk: Items that do not count; or those of each query.
        """
        queries = _queries("RevisitedAP", ranking, easy=easy, hard=hard, junk=junk)
        found = [[_measured(query, protocol, self.ks) for protocol in _PROTOCOLS] for query in queries]
        if found:
            values = torch.tensor(found, dtype=torch.float64, device=self.device)
            self.totals += values.nansum(0)
            self.n_queries += (~values[..., 0].isnan()).sum(0)
            self.n_without += values[..., 0].isnan().sum(0)

    def compute(self) -> dict[str, Tensor]:
        """Means over queries of all ranks: ``"easy"``, ``"easy/p@1"`` and so on; NaN for a protocol without queries."""
        means = self.totals / self.n_queries[:, None]
        names = [name for each in _PROTOCOLS for name in (each, *(f"{each}/p@{k}" for k in self.ks))]
        return dict(zip(names, means.flatten().unbind(), strict=True))


class BoxIoU(Metric):
    """Mean intersection over union of one box per image with the true one.

    Args:
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Example:
        >>> metric = BoxIoU()
        >>> metric.update(torch.tensor([[0, 0, 4, 2], [-1, -1, -1, -1]]), torch.tensor([[0, 0, 4, 4], [0, 0, 2, 2]]))
        >>> metric.compute()
        tensor(0.2500, dtype=torch.float64)

    Reference:
        Thesis, section 5.3.2 and table 5.2.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    total: Tensor
    n_boxes: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("n_boxes", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, boxes: Tensor, truth: Tensor) -> None:
        """Add some images; none at all is fine.

        Args:
            boxes: Left, top, right and bottom, ``(N, 4)``; -1 for none, which overlaps with nothing.
            truth: ``(N, 4)``, in the same pixels.
        """
        self.total += box_overlaps(boxes, truth).sum().to(self.device)
        self.n_boxes += len(boxes)

    def compute(self) -> Tensor:
        """The mean over all images of all ranks; NaN without any."""
        return self.total / self.n_boxes


def _measured(query: tuple[Any, ...], protocol: Protocol, ks: Sequence[int]) -> list[float]:
    """Average precision and the precision of the first places of one ``(ranking, easy, hard, junk)``."""
    ranking, easy, hard, junk = query
    counted = revisited_relevance(easy, hard, junk, protocol)
    precisions: list[float] = precision_at(ranking, *counted, ks=ks).tolist()
    return [average_precision(ranking, *counted, rule="trapezoid"), *precisions]


def _queries(owner: str, ranking: Any, **groups: Any) -> list[tuple[Any, ...]]:
    """``(ranking, *groups)`` of each query, from those of one or of several."""
    if not len(ranking) and not any(len(group) for group in groups.values()):
        return []
    if not _holds_rankings(ranking):
        return [(ranking, *groups.values())]
    columns = []
    for name, group in groups.items():
        lists = [()] * len(ranking) if name == "junk" and not len(group) else group
        if len(lists) != len(ranking):
            raise ValueError(message(name, owner, f"a collection for each of {len(ranking)} rankings", group))
        columns.append(lists)
    return list(zip(ranking, *columns, strict=True))


def _holds_rankings(ranking: Any) -> bool:
    if isinstance(ranking, Tensor):
        return ranking.ndim > 1
    return len(ranking) > 0 and hasattr(ranking[0], "__len__") and not isinstance(ranking[0], str)
