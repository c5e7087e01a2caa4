import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torchmetrics.functional.retrieval import retrieval_average_precision

from lightning_interp.functional.retrieval.average_precision import (
    average_precision,
    precision_at,
    revisited_relevance,
)
from tests.reference import retrieval as slow

EXACT = {"rel": 1e-12, "abs": 1e-15}
RULES = {"finite_sum": slow.average_precision, "trapezoid": slow.compute_ap}


def random_ranking(seed, n=40):
    """A ranking, positives and junk; some of either are not in the ranking, and the first positive comes twice."""
    generator = torch.Generator().manual_seed(seed)
    items = torch.randperm(n, generator=generator).tolist()
    positives, junk = items[: 3 + seed], items[3 + seed : 9 + seed]
    ranked = torch.randperm(n, generator=generator).tolist()[: n - seed]
    return ranked, [*positives, positives[0]], junk


def name(item):
    return f"all_souls_{item:06}"


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(8))
def test_numbers_names_and_tensors_equal_the_slow_walk(rule, seed):
    ranking, positives, junk = random_ranking(seed)
    expected = pytest.approx(RULES[rule](ranking, positives, junk), **EXACT)
    assert 0 < expected.expected < 1
    as_tensors = [torch.tensor(items) for items in (ranking, positives, junk)]
    as_names = [[name(item) for item in items] for items in (ranking, positives, junk)]
    as_arrays = [np.array(items) for items in (ranking, positives, junk)]
    for given in ((ranking, set(positives), tuple(junk)), as_tensors, as_names, as_arrays):
        assert average_precision(*given, rule=rule) == expected
    assert average_precision(as_tensors[0].int(), as_tensors[1], junk, rule=rule) == expected


@pytest.mark.parametrize("at", [1, 5, 30, 100])
@pytest.mark.parametrize("seed", range(4))
def test_the_first_places_equal_the_slow_walk(at, seed):
    ranking, positives, junk = random_ranking(seed)
    expected = slow.average_precision(ranking, positives, junk, at)
    assert average_precision(ranking, positives, junk, at=at) == pytest.approx(expected, **EXACT)


@pytest.mark.parametrize("seed", range(6))
def test_the_revisited_measures_equal_the_official_code(seed):
    ranking, *_ = random_ranking(seed, n=50)
    ranking += sorted(set(range(50)) - set(ranking))  # the official code wants all of them
    positives, junk, ks = ranking[seed::7], ranking[1 + seed :: 9], (1, 2, 5, 10, 45)
    junk = sorted(set(junk) - set(positives))
    ap, precisions = slow.compute_map(ranking, positives, junk, ks)
    assert average_precision(torch.tensor(ranking), positives, junk, rule="trapezoid") == pytest.approx(ap, **EXACT)
    found = precision_at(ranking, positives, junk, ks=ks)
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(precisions, **EXACT)


@pytest.mark.parametrize("seed", range(4))
def test_libraries_agree_without_junk_where_all_positives_are_ranked(seed):
    """They know no junk and no misses: positives that are not ranked do not count, for torchmetrics those scored 0."""
    n = 30
    relevant = torch.rand(n, generator=torch.Generator().manual_seed(seed)) > 0.7
    scores, ranking = torch.linspace(1, 0.1, n), torch.arange(n)
    found = average_precision(ranking, relevant.nonzero().flatten())
    assert found == pytest.approx(average_precision_score(relevant, scores), **EXACT)
    assert found == pytest.approx(float(retrieval_average_precision(scores, relevant)), rel=1e-6)


def test_by_hand():
    """Places 1, 3 and 4 of four: 1, 2/3 and 3/4, before each of them 1, 1/2 and 2/3."""
    ranking, positives = ["a", "x", "b", "c"], ["c", "b", "a"]
    thirds = [Fraction(1), Fraction(2, 3), Fraction(3, 4)]
    before = [Fraction(1), Fraction(1, 2), Fraction(2, 3)]
    assert average_precision(ranking, positives) == pytest.approx(float(sum(thirds) / 3))
    trapezoid = sum((p + q) / 2 for p, q in zip(thirds, before, strict=True)) / 3
    assert average_precision(ranking, positives, rule="trapezoid") == pytest.approx(float(trapezoid))
    assert average_precision(ranking, positives, at=3) == pytest.approx(float((1 + Fraction(2, 3)) / 3))
    assert average_precision(ranking, positives, at=2) == 0.5
    assert precision_at(ranking, positives, ks=(1, 2, 3, 9)).tolist() == pytest.approx([1, 1 / 2, 2 / 3, 3 / 4])


@pytest.mark.parametrize("rule", RULES)
class TestCraftedRankings:
    def test_all_positives_first_are_perfect(self, rule):
        for n_positives in (1, 5, 20):
            assert average_precision(torch.arange(20), range(n_positives), rule=rule) == 1
            assert average_precision(torch.arange(20), range(n_positives), rule=rule, at=3) == 1

    def test_junk_counts_as_if_it_were_not_there(self, rule):
        ranking, positives, junk = [7, 8, 3, 9, 0, 1], [3, 1], [7, 8, 9, 55]
        found = average_precision(ranking, positives, junk, rule=rule)
        assert found == average_precision([3, 0, 1], positives, rule=rule)
        assert average_precision(ranking, positives, rule=rule) < found
        assert average_precision(ranking, positives, junk, rule=rule, at=1) == 1

    def test_positives_given_twice_count_once(self, rule):
        once, twice = (average_precision([2, 0, 1], given, rule=rule) for given in ([0, 1], [0, 1, 0]))
        assert once == twice

    def test_the_query_counts_unless_it_is_junk(self, rule):
        ranking = ["query", "x", "a"]
        inside = average_precision(ranking, ["query", "a"], rule=rule)
        without = average_precision(ranking, ["a"], ["query"], rule=rule)
        assert inside == pytest.approx({"finite_sum": 5 / 6, "trapezoid": 19 / 24}[rule])
        assert without == {"finite_sum": 1 / 2, "trapezoid": 1 / 4}[rule]

    def test_no_positives_is_not_a_number(self, rule):
        assert math.isnan(average_precision([1, 2], [], rule=rule))
        assert math.isnan(average_precision(torch.arange(2), torch.tensor([]), junk=[0], rule=rule))

    def test_positives_that_were_not_found_are_misses(self, rule):
        for ranking in ([4, 5], [], torch.tensor([4, 5]), torch.tensor([], dtype=torch.long)):
            assert average_precision(ranking, [1, 2], [4], rule=rule) == 0
        assert average_precision([0, 5], [0, 1, 2, 3], rule=rule) == 0.25
        assert average_precision(torch.tensor([0, 5]), [0, 1, -2, 3], rule=rule) == 0.25

    def test_a_reversed_ranking_has_a_known_value(self, rule):
        n, n_positives = 30, 4
        places = [n - n_positives + i for i in range(n_positives)]
        terms = [Fraction(i + 1, place + 1) for i, place in enumerate(places)]
        if rule == "trapezoid":
            terms = [(term + Fraction(i, place)) / 2 for (i, place), term in zip(enumerate(places), terms, strict=True)]
        expected = float(sum(terms) / n_positives)
        found = average_precision(torch.arange(n).flip(0), range(n_positives), rule=rule)
        assert found == pytest.approx(expected, **EXACT)

    def test_nothing_is_worse_than_the_reversed_ranking(self, rule):
        worst = average_precision(range(30, 0, -1), range(1, 5), rule=rule)
        generator = torch.Generator().manual_seed(0)
        for _ in range(50):
            found = average_precision(torch.randperm(30, generator=generator) + 1, range(1, 5), rule=rule)
            assert worst <= found <= 1

    def test_only_the_order_of_what_counts_matters(self, rule):
        ranking, positives, junk = random_ranking(2)
        renamed = {item: f"{-item}" for item in {*ranking, *positives, *junk}}
        given = [[renamed[item] for item in items] for items in (ranking, reversed(positives), reversed(junk))]
        assert average_precision(*given, rule=rule) == average_precision(ranking, positives, junk, rule=rule)


def test_random_rankings_have_the_expected_mean():
    """A positive at place r has r - 1 others before it, of which a share (R - 1) / (n - 1) is positive."""
    n, n_positives = 12, 3
    harmonic = sum(Fraction(1, r) for r in range(1, n + 1))
    share = Fraction(n_positives - 1, n - 1)
    expected = float((harmonic + share * (n - harmonic)) / n)
    generator = torch.Generator().manual_seed(0)
    found = [average_precision(torch.randperm(n, generator=generator), range(n_positives)) for _ in range(4000)]
    assert np.mean(found) == pytest.approx(expected, abs=4 * np.std(found) / 4000**0.5)


def test_precision_of_the_first_places():
    ranking, positives = [5, 1, 6, 2], [1, 2]
    assert precision_at(ranking, positives, junk=[5, 6], ks=(1, 5)).tolist() == [1, 1], "ends at the last positive"
    assert precision_at(ranking, [*positives, 77], ks=(5,)).tolist() == [2 / 5], "which is nowhere"
    assert precision_at(ranking, [77]).tolist() == [0, 0, 0]
    assert precision_at(ranking, []).isnan().all()


def test_protocols_search_and_leave_out():
    easy, hard, junk = torch.tensor([1, 2]), np.array([3]), {4}
    expected = {"easy": ({1, 2}, {3, 4}), "medium": ({1, 2, 3}, {4}), "hard": ({3}, {1, 2, 4})}
    for protocol, (positives, left_out) in expected.items():
        found = revisited_relevance(easy, hard, junk, protocol)
        assert (set(found[0]), set(found[1])) == (positives, left_out)
    assert revisited_relevance([], torch.tensor([]), (), "hard") == ([], [])


def test_a_million_images_are_exact():
    n = 10**6
    ranking = torch.arange(n).flip(0) * 7 - 3  # numbers need not be places
    positives = ranking[9::10_000]
    terms = [(i + 1) / (10 + 10_000 * i) for i in range(len(positives))]
    assert average_precision(ranking, positives) == pytest.approx(math.fsum(terms) / len(terms), **EXACT)


def test_bad_values_are_named():
    with pytest.raises(
        ValueError, match="`ranking` parameter of `average_precision` must be items that each come once"
    ):
        average_precision(["a", "b", "a"], ["a"])
    with pytest.raises(ValueError, match="items that each come once"):
        average_precision(torch.tensor([3, 1, 2, 1]), [3])
    with pytest.raises(ValueError, match=r"`junk` .* not positive as well\. Got \[2\]"):
        average_precision([1, 2], [1, 2], junk=[2, 3])
    with pytest.raises(ValueError, match="`rule` parameter of `average_precision` must be one of"):
        average_precision([1], [1], rule="trapez")
    with pytest.raises(ValueError, match=r"`at` parameter of `average_precision` must be an int in \[1, inf\)"):
        average_precision([1], [1], at=0)
    with pytest.raises(ValueError, match="`ks` parameter of `precision_at`"):
        precision_at([1], [1], ks=(5, 0))
    with pytest.raises(ValueError, match=r"`protocol` .*'hard'\. Got 'heard'\. Did you mean 'hard'\?"):
        revisited_relevance([], [], [], "heard")


def test_what_would_silently_match_nothing_is_refused():
    with pytest.raises(TypeError, match=r"`positives` .* a collection of numbers or names\. Got 'all_souls'"):
        average_precision(["all_souls"], "all_souls")
    for mask in (torch.tensor([True, False]), [torch.tensor(1)], 3, torch.tensor(3), [[1, 2]]):
        with pytest.raises(TypeError, match="`positives` parameter of `average_precision` must be a collection"):
            average_precision([0, 1], mask)
    with pytest.raises(TypeError, match=r"`ranking` .* a collection of numbers or names"):
        average_precision(list(torch.arange(3)), [1])
    for ranking in (torch.rand(3), torch.ones(2, 2).long(), torch.tensor([True])):
        with pytest.raises(TypeError, match=r"`ranking` .* whole numbers \(n,\)"):
            average_precision(ranking, [1])
    for positives in (["a"], [1.5], torch.rand(2)):
        with pytest.raises(TypeError, match="must be whole numbers, as the ranking is"):
            average_precision(torch.arange(3), positives)
