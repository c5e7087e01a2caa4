import itertools
import math

import pytest
import torch
from sklearn.metrics import davies_bouldin_score
from torch import nn

from lightning_interp.functional.generalization import davies_bouldin_index, label_wise_mixup_accuracy


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_mixup_equals_the_loop_over_pairs(net, pictures):
    """Without a generator: the first images of each class, then the next ones."""
    images, labels = pictures[0], torch.randint(3, (60,), generator=seeded())  # wrong for most: every pair counts
    quiet = net.eval()
    right = []
    for batch, c in itertools.product(range(2), range(3)):
        rows = [i for i in range(60) if labels[i] == c][batch * 4 : batch * 4 + 4]
        for i, j in itertools.combinations(rows, 2):
            mixed = (images[i] + images[j]) / 2
            right.append(int(quiet(mixed[None]).argmax()) == c)
    assert len(right) == 2 * 3 * 6
    got = label_wise_mixup_accuracy(net, images, labels, per_class=4)
    assert got == pytest.approx(sum(right) / len(right))


def test_a_linear_network_knows_the_means_of_what_it_knows():
    """A class of a linear network is convex: the mean of two images of the class is in it."""
    torch.manual_seed(0)
    net, x = nn.Linear(5, 3), torch.randn(60, 5, generator=seeded())
    labels = net(x).argmax(1)
    assert label_wise_mixup_accuracy(net, x, labels, generator=seeded()) == 1


def test_memorised_images_have_no_class_between_them():
    """One dimension, labels that alternate, and a network that knows each by heart, but not the middle between two."""

    class Memory(nn.Module):
        def forward(self, x):
            return nn.functional.one_hot((2 * x[:, 0]).long() % 4 // 2, 2).float()

    x = torch.arange(20.0)[:, None]
    labels = torch.arange(20) % 2
    known = Memory()(x).argmax(1)
    assert torch.equal(known, labels)
    assert label_wise_mixup_accuracy(Memory(), x, labels) == pytest.approx(0.5, abs=0.1)


def test_images_are_mixed_half_and_half():
    class Half(nn.Module):
        """Knows the class of what lies half-way between two whole numbers, and of nothing else."""

        def forward(self, x):
            known = (x[:, 0] % 1 == 0.5).long()
            return nn.functional.one_hot((x[:, 0] < 10).long() ^ known, 2).float()

    x, labels = torch.tensor([[0.0], [1.0], [10.0], [11.0]]), torch.tensor([0, 0, 1, 1])
    assert label_wise_mixup_accuracy(Half(), x, labels) == 1


def test_draws_are_reproducible_and_differ(net, pictures):
    labels = torch.randint(3, (60,), generator=seeded())  # wrong for most, so that the draw shows
    draws = [label_wise_mixup_accuracy(net, pictures[0], labels, per_class=5, generator=seeded(s)) for s in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_a_class_of_one_image_has_no_pairs(net, pictures):
    images, labels = pictures[0][:7], pictures[1][:7]  # three images of class 0, two of each other
    alone = torch.where(torch.arange(7) == 1, 5, labels)
    kept = torch.tensor([0, 2, 3, 5, 6])
    expected = label_wise_mixup_accuracy(net, images[kept], labels[kept])
    assert label_wise_mixup_accuracy(net, images, alone) == expected
    with pytest.raises(ValueError, match="must be labels of which at least one comes twice"):
        label_wise_mixup_accuracy(net, images[:3], labels[:3])
    with pytest.raises(ValueError, match="at least one comes twice"):
        label_wise_mixup_accuracy(net, images[:0], labels[:0])


@pytest.fixture
def clouds():
    labels = torch.arange(90) % 3
    return torch.randn(90, 4, generator=seeded()) + 2 * torch.eye(4)[labels], labels


def test_the_index_equals_scikit_learn(clouds):
    features, labels = clouds
    first = davies_bouldin_score(features[:50].numpy(), labels[:50].numpy())
    assert davies_bouldin_index(features, labels, n_images=50) == pytest.approx(first)
    generator, values = seeded(4), []
    for _ in range(3):
        rows = torch.randperm(90, generator=generator)[:50]
        values.append(davies_bouldin_score(features[rows].numpy(), labels[rows].numpy()))
    drawn = davies_bouldin_index(features, labels, n_images=50, repeats=3, generator=seeded(4))
    assert drawn == pytest.approx(sum(values) / 3)


def test_the_index_is_the_spread_over_the_distance():
    """Two classes at +-1 with values +-s about them: (s + s) / 2."""
    for s in (0.1, 0.7):
        x = torch.tensor([[1 - s], [1 + s], [-1 - s], [-1 + s]])
        assert davies_bouldin_index(x, torch.tensor([0, 0, 1, 1])) == pytest.approx(s)


def test_the_index_ignores_scale_and_order(clouds):
    features, labels = clouds
    plain = davies_bouldin_index(features, labels)
    assert davies_bouldin_index(10 * features, labels) == pytest.approx(plain)
    assert davies_bouldin_index(features.flip(0), labels.flip(0)) == pytest.approx(plain)


def test_without_two_classes_the_index_is_nan(clouds):
    features, labels = clouds
    assert math.isnan(davies_bouldin_index(features, torch.zeros_like(labels), generator=seeded()))
    assert math.isnan(davies_bouldin_index(features[:3], labels[:3]))  # every image a class
    assert math.isnan(davies_bouldin_index(features * math.nan, labels, generator=seeded()))


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"per_class": 1}, ValueError, r"`per_class` parameter of `label_wise_mixup_accuracy` must be an int in \[2,"),
        ({"n_batches": 0}, ValueError, "`n_batches`"),
        ({"n_batches": 2.0}, TypeError, "`n_batches`"),
    ],
)
def test_bad_options_of_mixup_are_named(cnn, pictures, options, error, text):
    with pytest.raises(error, match=text):
        label_wise_mixup_accuracy(cnn, *pictures, **options)


@pytest.mark.parametrize("option", ["n_images", "repeats"])
def test_bad_options_of_the_index_are_named(clouds, option):
    with pytest.raises(ValueError, match=f"`{option}` parameter of `davies_bouldin_index` must be an int"):
        davies_bouldin_index(*clouds, **{option: 0})
