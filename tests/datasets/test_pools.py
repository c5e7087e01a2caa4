import copy
import pickle

import pytest
import torch
from torch.utils.data import DataLoader

from lightning_interp.datasets import GrowingDataset, ImageTensors, LabeledSubset, UnlabeledPool


def images(n=20):
    """Image i is filled with i; its label is i % 4."""
    pixels = torch.arange(n, dtype=torch.uint8)[:, None, None, None].expand(n, 1, 2, 2).contiguous()
    return ImageTensors(pixels, torch.arange(n) % 4)


def number(x):
    return round(x.flatten()[0].item() * 255)


@pytest.fixture
def grown():
    data = images()
    return GrowingDataset(LabeledSubset(data, indices=[0, 1, 2]), UnlabeledPool(data, indices=range(10, 20)))


def test_pool_yields_images_and_positions():
    pool = pickle.loads(pickle.dumps(UnlabeledPool(images(), indices=[5, 9])))
    assert [(number(x), i) for x, i in (pool[0], pool[1])] == [(5, 0), (9, 1)]
    x, index = next(iter(DataLoader(pool, batch_size=2)))
    assert [number(v) for v in x] == [5, 9]
    assert index.tolist() == [0, 1]
    assert pool.true_targets.tolist() == [1, 1]


def test_pool_without_known_truth():
    pool = UnlabeledPool([(torch.zeros(1),)] * 3)
    assert pool.true_targets is None
    grown = GrowingDataset(LabeledSubset(images()), pool)
    assert grown.true_targets is None
    assert grown.targets.tolist() == (torch.arange(20) % 4).tolist()


def test_grows_is_replaced_and_never_loses_the_labelled_part(grown):
    assert len(grown) == 3
    grown.set_pseudo_labels([9, 4], torch.tensor([3, 1]))
    assert [(number(x), y) for x, y in (grown[i] for i in range(5))] == [(0, 0), (1, 1), (2, 2), (19, 3), (14, 1)]
    assert grown.targets.tolist() == [0, 1, 2, 3, 1]
    assert grown.true_targets.tolist() == [0, 1, 2, 3, 2]
    assert [v.tolist() for v in grown.pseudo_labels] == [[9, 4], [3, 1]]
    assert number(grown[-1][0]) == 14
    grown.set_pseudo_labels([0], [2])
    assert (len(grown), grown[3][1]) == (4, 2)
    grown.set_pseudo_labels([], [])
    assert len(grown) == 3


def test_batches_keep_their_order(grown):
    grown.set_pseudo_labels([9, 4], [3, 1])
    assert [(number(x), y) for x, y in grown.__getitems__([4, 0, 3, 1])] == [(14, 1), (0, 0), (19, 3), (1, 1)]


def test_running_workers_see_new_pseudo_labels(grown):
    loader = DataLoader(grown, batch_size=4, num_workers=2, persistent_workers=True)
    assert [number(v) for x, _ in loader for v in x] == [0, 1, 2]
    grown.set_pseudo_labels([1, 3], [0, 0])
    assert [number(v) for x, _ in loader for v in x] == [0, 1, 2, 11, 13]
    assert [y for _, labels in loader for y in labels.tolist()] == [0, 1, 2, 0, 0]


def test_copies_are_independent(grown):
    twin, saved = copy.deepcopy(grown), pickle.loads(pickle.dumps(grown))
    grown.set_pseudo_labels([1], [0])
    assert (len(grown), len(twin), len(saved)) == (4, 3, 3)


@pytest.mark.parametrize(
    ("indices", "labels", "match"),
    [
        ([10], [0], r"`indices` parameter of `set_pseudo_labels` must be a vector of ints in \[0, 9\]"),
        ([1, 1], [0, 0], "free of repetitions"),
        ([1, 2], [0], "one label for each of 2 images"),
    ],
)
def test_bad_input(grown, indices, labels, match):
    grown.set_pseudo_labels([5], [1])
    with pytest.raises(ValueError, match=match):
        grown.set_pseudo_labels(indices, labels)
    assert grown.pseudo_labels[0].tolist() == [5]  # a refused call changes nothing


def test_index_out_of_range(grown):
    with pytest.raises(IndexError, match="`index`"):
        grown[99]
