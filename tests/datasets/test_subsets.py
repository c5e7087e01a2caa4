import pickle

import pytest
import torch

from lightning_interp.datasets import LabeledSubset, balanced_indices
from lightning_interp.datasets.subsets import fetch


class Numbers(torch.utils.data.Dataset):
    """Item i is (i, label i % 3); no ``__getitems__``."""

    targets = torch.arange(30) % 3

    def __len__(self):
        return 30

    def __getitem__(self, index):
        return torch.tensor(float(index)), int(self.targets[index])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_balanced_as_long_as_classes_last():
    labels = torch.tensor([0] * 50 + [1] * 10 + [2] * 3)
    for size, counts in ((9, [3, 3, 3]), (19, [8, 8, 3]), (63, [50, 10, 3]), (0, [])):
        chosen = balanced_indices(labels, size, generator=seeded())
        assert labels[chosen].bincount().tolist() == counts
        assert chosen.tolist() == sorted(set(chosen.tolist()))


def test_remainder_goes_to_random_classes():
    labels = torch.arange(100) % 10
    extra = {labels[balanced_indices(labels, 11, generator=seeded(s))].bincount().argmax().item() for s in range(20)}
    assert len(extra) > 3


def test_smaller_draw_is_part_of_larger():
    labels = torch.arange(90) % 3
    small, large = (set(balanced_indices(labels, n, generator=seeded()).tolist()) for n in (10, 40))
    assert small < large
    assert small != set(balanced_indices(labels, 10, generator=seeded(1)).tolist())


def test_too_many():
    with pytest.raises(ValueError, match=r"`size` parameter of `balanced_indices` must be an int in \[0, 3\]. Got 4"):
        balanced_indices(torch.zeros(3), 4)


def test_subset_yields_given_labels_and_keeps_the_true_ones():
    subset = pickle.loads(pickle.dumps(LabeledSubset(Numbers(), targets=[2, 2, 2], indices=[4, 6, 8])))
    assert [(x.item(), y) for x, y in (subset[i] for i in range(3))] == [(4, 2), (6, 2), (8, 2)]
    assert subset.__getitems__([2, 0]) == [subset[2], subset[0]]
    assert subset.targets.tolist() == [2, 2, 2]
    assert subset.true_targets.tolist() == [1, 0, 2]


def test_everything_by_default_and_no_shared_labels():
    subset = LabeledSubset(Numbers())
    subset.targets[0] = 2
    assert len(subset) == 30
    assert subset.true_targets[0] == Numbers.targets[0] == 0


def test_fetch_takes_whole_batches_where_it_can():
    class Batched(Numbers):
        def __getitems__(self, indices):
            return [("many", i) for i in indices]

    assert fetch(Batched(), [1, 2]) == [("many", 1), ("many", 2)]
    assert [x.item() for x, _ in fetch(Numbers(), [5, 1])] == [5, 1]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"indices": [30]}, r"`indices` parameter of `LabeledSubset` must be a vector of ints in \[0, 29\]"),
        ({"indices": [-1]}, "`indices`"),
        ({"indices": [1, 2], "targets": [0]}, "one label for each of 2 images"),
    ],
)
def test_bad_input(options, match):
    with pytest.raises(ValueError, match=match):
        LabeledSubset(Numbers(), **options)
