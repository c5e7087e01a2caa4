"""How good a ranking is: average precision and the precision of its first places, as retrieval benchmarks count."""

from collections.abc import Collection, Hashable, Sequence
from operator import index
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from lightning_interp._checks import check_choice, check_int, message

__all__ = ["APRule", "Items", "Protocol", "average_precision", "precision_at", "revisited_relevance"]

APRule: TypeAlias = Literal["finite_sum", "trapezoid"]
Protocol: TypeAlias = Literal["easy", "medium", "hard"]
Items: TypeAlias = Tensor | Collection[Hashable]


def average_precision(
    ranking: Tensor | Sequence[Hashable],
    positives: Items,
    junk: Items = (),
    *,
    rule: APRule = "finite_sum",
    at: int | None = None,
) -> float:
    r"""Average precision of one ranking.

    Junk is removed from the ranking first. With :math:`r_i` the place of the i-th of :math:`R` positives, from 1,

    .. math::
        \mathrm{AP} = \frac1R \sum_i \frac{i}{r_i} \quad \text{("finite\_sum")}, \qquad
        \mathrm{AP} = \frac1R \sum_i \frac12 \left(\frac{i-1}{r_i-1} + \frac{i}{r_i}\right)
        \quad \text{("trapezoid", with 1 for 0 / 0).}

    A positive that is not in the ranking adds nothing. The query counts like any other image; pass it as junk where it
    should not.

    Args:
        ranking: Items of the database, best first: numbers ``(n,)``, or a sequence of numbers or names.
        positives: Items that are relevant, in any order; one that comes twice counts once.
        junk: Items that count neither as relevant nor as irrelevant.
        rule: ``"finite_sum"``, as the thesis and scikit-learn count, or ``"trapezoid"``, as the official programs of
            Oxford, Paris and their revisited versions do.
        at: Only this many places count, and at most as many positives: AP@30 of the thesis, with 30.

    Returns:
        Average precision in [0, 1]; NaN without positives.

    Raises:
        ValueError: An item comes twice in the ranking, or is both positive and junk; an option is out of range.
        TypeError: Items are neither numbers nor names.

    Example:
        >>> average_precision(["b", "query", "a", "c"], positives=["a", "b"], junk=["query"])
        1.0
        >>> average_precision(torch.tensor([4, 0, 7, 2]), [0, 2])
        0.5

    Reference:
        Thesis, equations 5.2, 5.3 and 5.8; Philbin et al., Object retrieval with large vocabularies and fast spatial
        matching, CVPR 2007, ``compute_ap``.
    """
    check_choice(rule, "rule", "average_precision", get_args(APRule))
    ranks, n_positives = _ranks(ranking, positives, junk, "average_precision")
    if not n_positives:
        return float("nan")
    if at is not None:
        ranks = ranks[ranks < check_int(at, "at", "average_precision")]
        n_positives = min(n_positives, at)
    found = torch.arange(len(ranks), dtype=torch.float64)
    precision = (found + 1) / (ranks + 1)
    if rule == "trapezoid":
        precision = (precision + torch.where(ranks > 0, found / ranks.clamp(min=1), 1.0)) / 2
    return float(precision.sum() / n_positives)


def precision_at(
    ranking: Tensor | Sequence[Hashable], positives: Items, junk: Items = (), *, ks: Sequence[int] = (1, 5, 10)
) -> Tensor:
    """Share of positives among the first k places, or among those up to the last positive where that comes earlier.

    Args:
        ranking: As in :func:`average_precision`, like the next two.
        positives: Items that are relevant.
        junk: Items that are taken out of the ranking first.
        ks: Numbers of places.

    Returns:
        float64 ``(len(ks),)``; NaN without positives.

    Raises:
        ValueError: A number of places is below 1; or as in :func:`average_precision`.
        TypeError: As in :func:`average_precision`.

    Example:
        >>> precision_at([3, 1, 4, 5, 9], positives=[3, 4], ks=(1, 2, 5))
        tensor([1.0000, 0.5000, 0.6667], dtype=torch.float64)

    Reference:
        Radenovic et al., Revisiting Oxford and Paris, CVPR 2018: mP@k of its evaluation code.
    """
    places = torch.tensor([check_int(k, "ks", "precision_at") for k in ks], dtype=torch.long)
    ranks, n_positives = _ranks(ranking, positives, junk, "precision_at")
    if not n_positives:
        return torch.full(places.shape, torch.nan, dtype=torch.float64)
    if len(ranks) == n_positives:  # else the last one is nowhere
        places = places.clamp(max=int(ranks[-1]) + 1)
    return torch.searchsorted(ranks, places).double() / places


def revisited_relevance(
    easy: Items, hard: Items, junk: Items, protocol: Protocol
) -> tuple[list[Hashable], list[Hashable]]:
    """What is relevant to a query, and what is left out, by the protocols of the revisited sets.

    Args:
        easy: Items that show the query well.
        hard: Items that show it badly.
        junk: Items that are neither.
        protocol: ``"easy"`` searches the easy ones and leaves the hard ones out, ``"hard"`` the other way round;
            ``"medium"`` searches both.

    Returns:
        Positives and junk, for :func:`average_precision` and :func:`precision_at`.

    Raises:
        ValueError: ``protocol`` is unknown.

    Example:
        >>> revisited_relevance([1, 2], [3], [4], "hard")
        ([3], [4, 1, 2])

    Reference:
        Radenovic et al., Revisiting Oxford and Paris, CVPR 2018, section 3.3.
    """
    owner = "revisited_relevance"
    check_choice(protocol, "protocol", owner, get_args(Protocol))
    well, badly, neither = (_items(x, name, owner) for x, name in ((easy, "easy"), (hard, "hard"), (junk, "junk")))
    if protocol == "medium":
        return well + badly, neither
    return (well, neither + badly) if protocol == "easy" else (badly, neither + well)


def _ranks(ranking: Tensor | Sequence[Hashable], positives: Items, junk: Items, owner: str) -> tuple[Tensor, int]:
    """Places of the positives, rising, from 0 and without junk, ``(found,)``; and how many positives there are."""
    wanted, ignored = set(_items(positives, "positives", owner)), set(_items(junk, "junk", owner))
    if both := wanted & ignored:
        raise ValueError(message("junk", owner, "items that are not positive as well", sorted(both, key=str)))
    if isinstance(ranking, Tensor):
        found, skipped = _places_of_numbers(ranking, [wanted, ignored], owner)
    else:
        found, skipped = _places_of_names(ranking, [wanted, ignored], owner)
    return found - torch.searchsorted(skipped, found), len(wanted)


def _items(items: Items, parameter: str, owner: str) -> list[Hashable]:
    """A list of numbers or names; a mask, a single name or a list of tensors would silently match nothing."""
    listed = items.tolist() if hasattr(items, "tolist") else items
    odd = isinstance(listed, str) or not isinstance(listed, Collection)
    if odd or any(isinstance(each, bool | list | Tensor) for each in listed):
        raise TypeError(message(parameter, owner, "a collection of numbers or names", items))
    return list(listed)


def _places_of_names(ranking: Sequence[Hashable], groups: Sequence[set[Hashable]], owner: str) -> list[Tensor]:
    """Where the members of each group are in the ranking, rising."""
    place = {item: i for i, item in enumerate(_items(ranking, "ranking", owner))}
    if len(place) < len(ranking):
        raise _repeated(ranking, owner)
    return [torch.tensor(sorted(place[item] for item in group if item in place), dtype=torch.long) for group in groups]


def _places_of_numbers(ranking: Tensor, groups: Sequence[set[Hashable]], owner: str) -> list[Tensor]:
    """The same for a tensor: one sort, however many images there are."""
    if ranking.ndim != 1 or ranking.is_floating_point() or ranking.dtype == torch.bool:
        raise TypeError(message("ranking", owner, "whole numbers (n,), or a sequence of numbers or names", ranking))
    ordered, order = ranking.cpu().long().sort()
    if bool((ordered[1:] == ordered[:-1]).any()):
        raise _repeated(ranking, owner)
    places = []
    for group in groups:
        numbers = torch.tensor([_number(item, owner) for item in group], dtype=torch.long)
        at = torch.searchsorted(ordered, numbers)
        at, numbers = at[at < len(ordered)], numbers[at < len(ordered)]
        places.append(order[at[ordered[at] == numbers]].sort().values)
    return places


def _number(item: Any, owner: str) -> int:
    try:
        return index(item)
    except TypeError:
        raise TypeError(message("positives", owner, "whole numbers, as the ranking is; junk as well", item)) from None


def _repeated(ranking: Any, owner: str) -> ValueError:
    return ValueError(message("ranking", owner, "items that each come once", ranking))
