"""Quality of selections against scipy, sets and loops."""

import numpy as np
import pytest
import torch
from scipy import stats

from lightning_interp.functional.selection.quality import interval_accuracy, selection_balance, selection_overlap


@pytest.mark.parametrize("counts", [[5, 5, 5], [7, 0, 1, 2], [1, 0], [3, 1, 4, 1, 5, 9, 2, 6]])
def test_balance_is_the_normalised_entropy_of_scipy(counts):
    expected = stats.entropy(counts, base=len(counts))
    assert float(selection_balance(torch.tensor(counts))) == pytest.approx(expected, abs=1e-6)


def test_balance_at_its_ends():
    assert selection_balance(torch.full((10,), 3)) == 1
    assert selection_balance(torch.tensor([0, 8, 0])) == 0
    assert selection_balance(torch.tensor([4])) == 1
    assert selection_balance(torch.zeros(3, dtype=torch.long)).isnan()
    shuffled = selection_balance(torch.tensor([4, 1, 2]))
    assert torch.isclose(shuffled, selection_balance(torch.tensor([10, 20, 40])))
    for counts in (torch.zeros(0), torch.ones(2, 2)):
        with pytest.raises(ValueError, match="`counts` parameter of `selection_balance` must be one number per class"):
            selection_balance(counts)


def test_overlap_is_that_of_sets():
    generator = torch.Generator().manual_seed(0)
    chosen, other = (torch.randperm(50, generator=generator)[:n] for n in (20, 30))
    expected = len(set(chosen.tolist()) & set(other.tolist())) / 20
    assert selection_overlap(chosen, other) == expected
    assert selection_overlap(chosen, chosen.flip(0)) == 1
    assert selection_overlap(chosen, other[:0]) == 0
    assert np.isnan(selection_overlap(chosen[:0], other))


def test_intervals_hold_equally_many_images_from_worst_to_best():
    generator = torch.Generator().manual_seed(0)
    scores, correct = torch.randn(103, generator=generator), torch.rand(103, generator=generator) < 0.6
    scores[[5, 50, 77]] = torch.nan
    found = interval_accuracy(scores, correct, n_bins=10)
    ranked = sorted((float(s), float(c)) for s, c in zip(scores, correct, strict=True) if s == s)
    bins = [ranked[i : i + 10] for i in range(0, 100, 10)]
    assert found[0].tolist() == pytest.approx([np.mean([s for s, _ in each]) for each in bins], abs=1e-5)
    assert found[1].tolist() == pytest.approx([np.mean([c for _, c in each]) for each in bins])
    assert found[2].tolist() == [10.0] * 10
    assert torch.equal(found[0], found[0].sort().values)


def test_uneven_bins_and_few_images():
    means, accuracy, counts = interval_accuracy(torch.arange(7.0), torch.tensor([0, 0, 0, 1, 1, 1, 1]), n_bins=3)
    assert counts.tolist() == [3, 2, 2]
    assert accuracy.tolist() == [0, 1, 1]
    assert means.tolist() == [1, 3.5, 5.5]
    assert [len(each) for each in interval_accuracy(torch.zeros(2), torch.ones(2))] == [2, 2, 2]
    assert [len(each) for each in interval_accuracy(torch.full((4,), torch.nan), torch.ones(4))] == [0, 0, 0]
    with pytest.raises(ValueError, match="`n_bins` parameter of `interval_accuracy`"):
        interval_accuracy(torch.zeros(2), torch.ones(2), n_bins=0)
