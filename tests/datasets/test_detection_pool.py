import copy
import pickle

import pytest
import torch
from torch.utils.data import DataLoader

from lightning_interp.datasets import UnlabeledPool
from lightning_interp.datasets.detection_pool import GrowingDetection


def boxes(*labels):
    """The box of label v begins at v."""
    corners = torch.tensor(labels, dtype=torch.float32)[:, None]
    return {"boxes": torch.cat([corners, corners, corners + 5, corners + 6], 1), "labels": torch.tensor(labels).long()}


@pytest.fixture
def grown():
    labeled = [(torch.full((3, 4, 4 + i), float(i)), boxes(*range(1, 1 + i))) for i in range(3)]
    pool = UnlabeledPool([(torch.full((3, 4, 4), float(10 + i)), "hidden") for i in range(10)])
    return GrowingDetection(labeled, pool, max_boxes=4)


def seen(item):
    image, target = item
    assert torch.equal(target["boxes"][:, 0], target["labels"].float())
    assert target["boxes"].shape == (len(target["labels"]), 4)
    return int(image[0, 0, 0]), target["labels"].tolist()


def test_grows_is_replaced_and_never_loses_the_labelled_part(grown):
    assert [seen(grown[i]) for i in range(len(grown))] == [(0, []), (1, [1]), (2, [1, 2])]
    grown.set_pseudo_labels(torch.tensor([9, 4]), [boxes(7, 8, 9), boxes(20)])
    assert [seen(grown[i]) for i in range(2, 5)] == [(2, [1, 2]), (19, [7, 8, 9]), (14, [20])]
    assert seen(grown[-2]) == (19, [7, 8, 9])
    indices, targets = grown.pseudo_labels
    assert indices.tolist() == [9, 4]
    assert [target["labels"].tolist() for target in targets] == [[7, 8, 9], [20]]
    assert grown[3][1]["difficult"].tolist() == [False] * 3
    grown.set_pseudo_labels([0], [boxes(1)])
    assert (len(grown), seen(grown[3])) == (4, (10, [1]))
    grown.set_pseudo_labels([], [])
    assert len(grown) == 3


def test_what_is_given_out_is_a_copy(grown):
    grown.set_pseudo_labels([1], [boxes(3)])
    grown[3][1]["boxes"].zero_()
    assert seen(grown[3]) == (11, [3])


def test_running_workers_see_new_pseudo_labels(grown):
    loader = DataLoader(grown, batch_size=None, num_workers=2, persistent_workers=True)
    assert [seen(item)[0] for item in loader] == [0, 1, 2]
    grown.set_pseudo_labels([1, 3], [boxes(5), boxes(6, 7)])
    assert [seen(item) for item in loader][3:] == [(11, [5]), (13, [6, 7])]
    grown.set_pseudo_labels([8], [boxes(9, 9, 9, 9)])
    assert [seen(item) for item in loader][3:] == [(18, [9] * 4)]


def test_copies_are_independent(grown):
    twin, saved = copy.deepcopy(grown), pickle.loads(pickle.dumps(grown))
    grown.set_pseudo_labels([1], [boxes(2)])
    assert (len(grown), len(twin), len(saved)) == (4, 3, 3)


@pytest.mark.parametrize(
    ("indices", "targets", "match"),
    [
        ([10], [boxes(1)], r"`indices` parameter of `set_pseudo_labels` must be a vector of ints in \[0, 9\]"),
        ([1, 1], [boxes(1)] * 2, "free of repetitions"),
        ([1, 2], [boxes(1)], "one dict for each of 2 pictures. Got '1 dicts'"),
        ([1], [None], r"dicts of boxes \(n, 4\) and labels \(n,\). Got None"),
        ([1], [{"boxes": torch.zeros(1, 4)}], "Got {'boxes'"),
        ([1], [{"boxes": torch.zeros(2, 4), "labels": torch.ones(1)}], r"Got {'boxes': \(2, 4\), 'labels': \(1,\)}"),
        ([1], [boxes(1, 2, 3, 4, 5)], "at most 4 boxes each. Got '5 boxes'. Pass a larger `max_boxes`"),
        ([1, 2], [boxes(1), boxes(21)], r"labels in \[1, 20\]. Got \[21\]"),
        ([1], [boxes(0)], r"labels in \[1, 20\]. Got \[0\]"),
    ],
)
def test_bad_input(grown, indices, targets, match):
    grown.set_pseudo_labels([5], [boxes(1)])
    with pytest.raises(ValueError, match=match):
        grown.set_pseudo_labels(indices, targets)
    assert grown.pseudo_labels[0].tolist() == [5]  # a refused call changes nothing
    assert seen(grown[3]) == (15, [1])


def test_index_out_of_range(grown):
    for index in (99, -4):
        with pytest.raises(IndexError, match="`index`"):
            grown[index]
