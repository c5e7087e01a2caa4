"""The bootstrap test against enumeration and classical tests, and its size under the null hypothesis."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from lightning_interp.functional.selection.bootstrap import bootstrap_difference, bootstrap_table


def normal(*shape, seed=0, shift=0.0):
    return np.random.default_rng(seed).normal(size=shape) + shift


def exact_p_value(improved, baseline):
    """Share of all equally likely pairs of resamples whose difference is not above zero."""
    means = [
        [sum(chosen) / len(values) for chosen in itertools.product(values, repeat=len(values))]
        for values in (improved, baseline)
    ]
    differences = [x - y for x, y in itertools.product(*means)]
    return sum(each <= 1e-12 for each in differences) / len(differences)


@pytest.mark.parametrize("seed", range(3))
def test_p_value_is_that_of_all_resamples(seed):
    improved, baseline = normal(4, seed=seed, shift=0.5).round(1), normal(3, seed=seed + 10).round(1)
    expected = exact_p_value(improved, baseline)
    found = bootstrap_difference(improved, baseline, n_resamples=20000).p_value
    assert found == pytest.approx(expected, abs=4 * (expected * (1 - expected) / 20000) ** 0.5 + 1e-4)


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("shift", [0.0, 0.1, 0.2])
def test_large_normal_samples_agree_with_the_t_test(paired, shift):
    x, y = normal(300, seed=1, shift=shift), normal(300, seed=2)
    classical = (stats.ttest_rel if paired else stats.ttest_ind)(x, y, alternative="greater")
    test = bootstrap_difference(x, y, paired=paired)
    assert test.p_value == pytest.approx(classical.pvalue, abs=0.02)
    assert test.low == pytest.approx(classical.confidence_interval(0.95).low, abs=0.02)
    assert test.difference == pytest.approx(x.mean() - y.mean())


def test_images_agree_with_the_test_of_two_proportions():
    generator = torch.Generator().manual_seed(0)
    right = (torch.rand(2, 2000, generator=generator) < torch.tensor([[0.84], [0.82]])).numpy()
    share = right.mean()
    z = (right[0].mean() - right[1].mean()) / (share * (1 - share) * 2 / 2000) ** 0.5
    test = bootstrap_difference(right[0], right[1], n_resamples=2000)
    assert test.p_value == pytest.approx(stats.norm.sf(z), abs=0.03)


def test_rejects_true_nulls_as_often_as_it_says_and_bounds_the_difference():
    x, y = normal(400, 30, seed=3), normal(400, 30, seed=4)
    tests = [bootstrap_difference(a, b, n_resamples=400) for a, b in zip(x, y, strict=True)]
    # 0.057 was measured over 3000 trials; the bounds are those of a binomial of 400.
    low, high = stats.binom.interval(0.999, 400, 0.057)
    assert low <= sum(test.significant for test in tests) <= high
    assert low <= sum(test.low > 0 for test in tests) <= high


def test_a_planted_shift_is_found_and_its_opposite_is_not():
    x, y = normal(20, seed=5, shift=2.0), normal(20, seed=6)
    up, down = bootstrap_difference(x, y), bootstrap_difference(y, x)
    assert up.significant
    assert up.p_value == 1 / 10001
    assert 0 < up.low < up.difference
    assert not down.significant
    assert (down.p_value, down.difference) == (1.0, -up.difference)


def test_pairs_reveal_a_shift_that_the_noise_of_the_seeds_hides():
    seeds = normal(10, seed=7)
    better = seeds + 0.1 + normal(10, seed=8) * 0.01
    assert bootstrap_difference(better, seeds, paired=True).significant
    assert not bootstrap_difference(better, seeds).significant


def test_units_and_origin_do_not_matter():
    x, y = normal(12, seed=9, shift=0.3), normal(12, seed=10)
    test = bootstrap_difference(x, y)
    percent = bootstrap_difference(100 * x + 7, 100 * y + 7)
    assert percent.p_value == test.p_value
    assert percent.low == pytest.approx(100 * test.low)


def test_rounding_is_no_improvement():
    # The means of five and of seven times 0.7 differ in the last bit.
    test = bootstrap_difference([0.7] * 7, [0.7] * 5, n_resamples=100)
    assert (test.p_value, test.significant) == (1.0, False)


def test_the_seed_decides_and_the_global_generator_is_left_alone():
    x, y = normal(12, seed=11, shift=0.3), normal(12, seed=12)
    before = np.random.get_state()[1].copy()
    assert bootstrap_difference(x, y, seed=1) == bootstrap_difference(torch.tensor(x), list(y), seed=1)
    assert bootstrap_difference(x, y, seed=1) != bootstrap_difference(x, y, seed=2)
    assert (np.random.get_state()[1] == before).all()


@pytest.mark.parametrize(
    ("arguments", "options", "text"),
    [
        (([1.0], [1.0, 2.0]), {}, r"The `improved` parameter of `bootstrap_difference` must be at least two finite"),
        (([1.0, 2.0], [1.0, float("nan")]), {}, r"The `baseline` parameter of `bootstrap_difference` must be at least"),
        ((torch.ones(2, 2), [1.0, 2.0]), {}, r"Got Tensor of shape \(2, 2\)"),
        (([1.0, 2.0], [1.0, 2.0, 3.0]), {"paired": True}, r"must be 2 paired observations. Got 3"),
        (([1.0, 2.0], [1.0, 2.0]), {"alpha": 2.0}, r"`alpha` parameter of `bootstrap_difference` must be a number"),
        (([1.0, 2.0], [1.0, 2.0]), {"n_resamples": 0}, r"`n_resamples` parameter of `bootstrap_difference`"),
    ],
)
def test_bad_input_is_named(arguments, options, text):
    with pytest.raises(ValueError, match=text):
        bootstrap_difference(*arguments, **options)


def test_the_table_holds_one_test_per_class():
    base, train, softmax = (normal(15, 3, seed=seed, shift=shift) for seed, shift in ((1, 0.0), (2, 1.0), (3, 0.2)))
    table = bootstrap_table(base, train, softmax, classes=["cat", "dog", "owl"], n_resamples=500, seed=3)
    assert list(table) == [
        *("class", "baseline", "train", "difference", "p_value", "significant"),
        *("softmax", "softmax_difference", "softmax_p_value", "softmax_significant", "train_minus_softmax"),
    ]
    for i, row in table.iterrows():
        test = bootstrap_difference(train[:, i], base[:, i], n_resamples=500, seed=3)
        other = bootstrap_difference(softmax[:, i], base[:, i], n_resamples=500, seed=3)
        assert (row["difference"], row["p_value"], row["significant"]) == pytest.approx(
            (test.difference, test.p_value, test.significant)
        )
        assert (row["softmax_difference"], row["softmax_p_value"]) == pytest.approx((other.difference, other.p_value))
        assert row["train_minus_softmax"] == pytest.approx(row["difference"] - row["softmax_difference"])
    assert table["class"].tolist() == ["cat", "dog", "owl"]


def test_a_class_without_images_is_not_tested():
    base, train = normal(5, 2), normal(7, 2, shift=3.0)
    train[:, 1] = np.nan
    table = bootstrap_table(base, train, n_resamples=200)
    assert list(table) == ["class", "baseline", "train", "difference", "p_value", "significant"]
    assert table["class"].tolist() == [0, 1]
    assert table["significant"].tolist() == [True, False]
    assert table[["difference", "p_value"]].isna().to_numpy().tolist() == [[False, False], [True, True]]


@pytest.mark.parametrize(
    ("arguments", "options", "text"),
    [
        ((normal(5), normal(5, 2)), {}, r"The `baseline` parameter of `bootstrap_table` must be accuracies of shape"),
        ((normal(5, 2), normal(5, 3)), {}, r"`improved` .* \(at least 2 epochs or runs, 2\). Got ndarray"),
        ((normal(5, 2), normal(5, 2), normal(1, 2)), {}, "The `softmax` parameter"),
        ((normal(5, 2), normal(5, 2)), {"classes": ["cat"]}, r"`classes` .* must be 2 names. Got \['cat'\]"),
    ],
)
def test_bad_tables_are_named(arguments, options, text):
    with pytest.raises(ValueError, match=text):
        bootstrap_table(*arguments, **options)
