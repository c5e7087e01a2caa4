import random

import pytest
import torch
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset, TensorDataset

from lightning_interp.callbacks.sampling import draw_sample, given_labels, unpack_batch
from lightning_interp.exceptions import MeasurementWarning


class Augmented(Dataset):
    """Random on every access, and counts the accesses."""

    def __init__(self, labels, tell=True):
        self.labels, self.reads = torch.as_tensor(labels), []
        if tell:
            self.targets = self.labels.tolist()

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        self.reads.append(i)
        return torch.rand(2) + random.random(), int(self.labels[i])


class Stream(IterableDataset):
    def __iter__(self):
        return iter([(torch.full((2,), float(i)), i % 3) for i in range(1000)])


def draw(dataset, per_class=4, n_classes=10, seed=0, **options):
    return draw_sample(dataset, images_per_class=per_class, n_classes=n_classes, seed=seed, **options)


@pytest.mark.parametrize("tell", [True, False])
def test_same_seed_same_images_although_augmented(tell):
    data = Augmented(torch.arange(90) % 3, tell)
    before = torch.random.get_rng_state(), random.getstate()
    first, again, other = draw(data), draw(data), draw(data, seed=1)
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    assert first.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert random.getstate() == before[1]


def test_known_labels_mean_only_the_wanted_images_are_read():
    data = Augmented(torch.arange(9000) % 3)
    draw(data)
    assert len(data.reads) == 12
    assert len(set(data.reads)) == 12


def test_unknown_labels_cost_at_most_a_tenth_of_the_set():
    data = Augmented(torch.arange(9000) % 3, tell=False)
    draw(data)
    assert len(data.reads) <= 900


def test_many_classes_are_sampled():
    sample = draw(Augmented(torch.arange(400) % 40), n_classes=5)
    assert len(sample.labels.unique()) == 5
    assert len(sample.labels) == 20


def test_small_classes_are_counted_and_used_as_they_are():
    with pytest.warns(MeasurementWarning, match=r"1 of 2 classes have fewer than 4 .*\(class 1: 2\)"):
        sample = draw(Augmented([0] * 10 + [1] * 2))
    assert sample.labels.tolist() == [0] * 4 + [1] * 2


def test_an_empty_set_is_refused():
    with pytest.raises(ValueError, match="at least one image"):
        draw(Augmented([]))


def test_streams_are_read_from_their_start():
    assert draw(Stream()).images[:, 0].tolist() == [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]


def test_labels_are_found_through_subsets_and_concatenations():
    whole = Augmented([5, 6, 7, 8])
    part = Subset(whole, [3, 1])
    assert given_labels(part).tolist() == [8, 6]
    assert given_labels(ConcatDataset([whole, part])).tolist() == [5, 6, 7, 8, 8, 6]
    assert given_labels(TensorDataset(torch.zeros(3))) is None


@pytest.mark.parametrize("key", ["image", "x", "pixel_values"])
def test_dict_batches(key):
    x, y = torch.zeros(2, 3), torch.tensor([0, 1])
    assert unpack_batch({key: x, "label": y}) == (x, y)


@pytest.mark.parametrize(
    "batch", [torch.zeros(2, 3), (torch.zeros(2),), (torch.zeros(2, 3), torch.zeros(2, 4)), {"x": 1}]
)
def test_other_batches_say_what_to_set(batch):
    with pytest.raises(TypeError, match="Set `batch_transform=`"):
        unpack_batch(batch)


def test_batch_transform_serves_other_batches():
    sample = draw(Augmented(torch.arange(30) % 3), batch_transform=lambda batch: (batch[0] * 0, batch[1]))
    assert not sample.images.any()
