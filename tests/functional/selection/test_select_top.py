"""The choice of the best images against a loop, and its corner cases."""

import math

import pytest
import torch

from lightning_interp.functional.selection.select_top import check_fractions, select_top


def select_slowly(scores, labels, fractions, share_of):
    """Class by class, sort and take; earlier images win ties."""
    chosen = []
    for c, alpha in enumerate(fractions):
        members = [i for i in range(len(scores)) if labels[i] == c]
        ranked = sorted((i for i in members if not math.isnan(scores[i])), key=lambda i: (-scores[i], i))
        total = len(scores) if share_of == "pool" else len(members)
        chosen += ranked[: int(alpha * total + 0.5)]
    return sorted(chosen)


@pytest.mark.parametrize("share_of", ["predicted", "pool"])
@pytest.mark.parametrize("fractions", [[0.3] * 4, [0.0, 1.0, 0.1, 0.55], [0.02, 0.04, 0.06, 0.08]])
def test_agrees_with_the_loop_ties_and_nan_included(fractions, share_of):
    generator = torch.Generator().manual_seed(0)
    scores = -torch.randint(0, 6, (203,), generator=generator).float()
    scores[torch.randint(0, 203, (20,), generator=generator)] = torch.nan
    labels = torch.randint(0, 4, (203,), generator=generator)
    found = select_top(scores, labels, fractions, share_of=share_of)
    assert found.tolist() == select_slowly(scores.tolist(), labels.tolist(), fractions, share_of)
    if len(set(fractions)) == 1:
        assert torch.equal(select_top(scores, labels, fractions[0], share_of=share_of), found)


def test_all_none_and_half():
    scores, labels = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]), torch.tensor([0, 0, 0, 2, 2])
    assert select_top(scores, labels, 0.0).tolist() == []
    assert select_top(scores, labels, 1.0).tolist() == [0, 1, 2, 3, 4]
    assert select_top(scores, labels, 1).tolist() == [0, 1, 2, 3, 4]
    assert select_top(scores, labels, 0.5).tolist() == [1, 2, 4], "1.5 images round to 2"
    assert select_top(scores, labels, 0.49).tolist() == [2, 4]
    assert select_top(scores, labels, [0, 1, 0.5]).tolist() == [4], "nothing is predicted as class 1"


def test_a_share_of_the_pool_is_cut_at_the_class():
    scores, labels = torch.arange(10.0), torch.arange(10) % 2
    assert select_top(scores, labels, 0.2, share_of="pool").tolist() == [6, 7, 8, 9]
    assert select_top(scores, labels, [0.9, 0.1], share_of="pool").tolist() == [0, 2, 4, 6, 8, 9]


def test_of_equal_scores_the_first_wins_and_nan_never():
    scores = torch.tensor([0.0, 7.0, 7.0, 7.0, torch.nan, -torch.inf, torch.inf])
    labels = torch.zeros(7, dtype=torch.long)
    assert select_top(scores, labels, 3 / 7).tolist() == [1, 2, 6]
    assert select_top(scores, labels, 1.0).tolist() == [0, 1, 2, 3, 5, 6]
    assert select_top(scores * torch.nan, labels, 1.0).tolist() == []


def test_nothing_to_choose_from():
    none = torch.zeros(0)
    for fraction in (0.5, [0.5, 0.5]):
        found = select_top(none, none.long(), fraction)
        assert (found.dtype, found.shape) == (torch.long, (0,))


def test_only_the_order_of_scores_matters():
    generator = torch.Generator().manual_seed(1)
    scores, labels = torch.randn(60, generator=generator), torch.randint(0, 3, (60,), generator=generator)
    found = select_top(scores, labels, 0.4)
    assert torch.equal(select_top(scores.exp().double(), labels, 0.4), found)
    assert scores[found].mean() > scores.mean()
    order = torch.randperm(60, generator=generator)
    assert order[select_top(scores[order], labels[order], 0.4)].sort().values.tolist() == found.tolist()


def test_more_classes_than_labels():
    scores, labels = torch.tensor([1.0, 2.0]), torch.tensor([0, 0])
    assert select_top(scores, labels, 0.5, n_classes=7).tolist() == [1]


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"fraction": 1.1}, ValueError, r"`fraction` parameter of `select_top` must be a number in \[0, 1\]. Got 1.1"),
        ({"fraction": -0.1}, ValueError, "`fraction` parameter of `select_top`"),
        ({"fraction": float("nan")}, ValueError, "`fraction` parameter of `select_top`"),
        ({"fraction": "half"}, TypeError, "`fraction` parameter of `select_top`"),
        ({"fraction": [0.1, 1.2, 0.1]}, ValueError, "`fraction` .* Got 1.2"),
        ({"fraction": [0.1] * 2, "n_classes": 3}, ValueError, r"one for each of 3 classes. Got \[0.1, 0.1\]"),
        ({"fraction": [0.1] * 2}, ValueError, r"`labels` .* in \[0, 1\]. Got \[0, 1, 2\]"),
        ({"labels": torch.tensor([0, -1, 1, 2])}, ValueError, r"`labels` .* in \[0, 2\]. Got \[-1, 0, 1, 2\]"),
        ({"labels": torch.zeros(3).long()}, ValueError, "`labels` .* one label for each of 4 scores"),
        ({"scores": torch.zeros(4, 1)}, ValueError, "`labels` .* one label for each of 4 scores"),
        ({"share_of": "all"}, ValueError, "`share_of` parameter of `select_top` must be one of 'predicted', 'pool'"),
    ],
)
def test_bad_input_is_named(arguments, error, text):
    arguments = {"scores": torch.zeros(4), "labels": torch.tensor([0, 1, 1, 2]), "fraction": 0.3, **arguments}
    with pytest.raises(error, match=text):
        select_top(arguments.pop("scores"), arguments.pop("labels"), arguments.pop("fraction"), **arguments)


def test_fractions_are_one_per_class():
    assert check_fractions(0.3, 3, "it") == (0.3, 0.3, 0.3)
    assert check_fractions((0, 1), 2, "it") == (0.0, 1.0)
    with pytest.raises(ValueError, match="`n_classes` parameter of `it`"):
        check_fractions(0.3, 0, "it")
