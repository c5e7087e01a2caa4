"""Class statistics against a loop over images and units."""

import pytest
import torch
from torch import nn

from lightning_interp.functional.selection.statistics import (
    ClassStatistics,
    batch_statistics,
    class_statistics,
    half_norm,
)
from lightning_interp.hooks import select_layers
from tests.reference.image_score import class_means, threshold

LAYERS = ("3", "5", "7")  # of `network`: behind pooling, activation, nothing


def network(dtype=torch.float64):
    """Batch norm, ReLU in place, pooling of an odd size; batch norm and head as if trained: no class is preferred."""
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(3, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
        *(nn.Conv2d(5, 6, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(12, 4)),
    )
    noise = torch.randn(40, 3, 9, 7)
    net[:2](noise)
    net.eval()[7].bias.data -= net(noise).mean(0)
    return net.to(dtype)


def pictures(n=17, dtype=torch.float64):
    """Images of classes 0, 1 and 3: none is of class 2."""
    images = torch.randn(n, 3, 9, 7, generator=torch.Generator().manual_seed(1)).to(dtype)
    return images, torch.tensor([0, 1, 3])[torch.arange(n) % 3]


@torch.no_grad()
def chains(net, images, spatial="none"):
    """Activations of each image alone: a list of units for each layer."""
    result = []
    for image in images:
        x, chain = image[None], []
        for i, layer in enumerate(net):
            x = layer(x.clone())
            if str(i) in LAYERS:
                channels = [channel.flatten().tolist() for channel in x[0]]
                if x.ndim == 2 or spatial == "none":
                    chain.append([unit for channel in channels for unit in channel])
                else:
                    chain.append([max(c) if spatial == "max" else sum(c) / len(c) for c in channels])
        result.append(chain)
    return result


class Twice(nn.Module):
    """A layer called twice."""

    def __init__(self):
        super().__init__()
        self.fc, self.relu = nn.Linear(4, 4), nn.ReLU(inplace=True)

    def forward(self, x):
        return self.relu(self.fc(self.relu(self.fc(x))) - 0.1)


class Detector(nn.Module):
    """Takes images of different sizes, returns boxes; its head sees boxes, not images."""

    def __init__(self):
        super().__init__()
        self.conv, self.relu, self.head = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(4, 2)

    def forward(self, images):
        maps = [self.relu(self.conv(image[None])) for image in images]
        boxes = self.head(torch.cat([m.flatten(2).mean(2) for m in maps]).repeat(3, 1))
        return [{"boxes": boxes, "scores": boxes[:, 0]} for _ in images]


@pytest.mark.parametrize("spatial", ["none", "mean", "max"])
def test_means_are_those_of_the_loop(spatial):
    net, (images, labels) = network(), pictures()
    found = class_statistics(net, images, labels=labels, n_classes=4, spatial=spatial, batch_size=5)
    assert found.layers == LAYERS
    assert found.counts.tolist() == [6, 6, 0, 5]
    expected = class_means(chains(net, images, spatial), labels.tolist(), 4)
    for i, mean in enumerate(found.means):
        assert mean.dtype == torch.float64
        assert mean.tolist() == [pytest.approx(of_class[i], abs=1e-12) for of_class in expected]
        assert (mean[2] == 0).all()


@pytest.mark.parametrize("norm", ["linf", "l1", "l2"])
def test_masks_are_those_of_the_loop(norm):
    net, (images, labels) = network(), pictures()
    found = class_statistics(net, images, labels=labels, n_classes=4)
    expected = class_means(chains(net, images), labels.tolist(), 4)
    for i, mask in enumerate(found.masks(norm)):
        limits = [threshold(of_class[i], norm) for of_class in expected]
        assert mask.thresholds.tolist() == pytest.approx(limits)
        assert mask.units.tolist() == [
            [limit > 0 and unit >= limit for unit in of_class[i]]
            for of_class, limit in zip(expected, limits, strict=True)
        ]
        assert not mask.units[2].any(), "no image, no mask"


def test_order_batches_and_shards_change_nothing():
    generator = torch.Generator().manual_seed(2)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 35, 3))
    for parameter in net.parameters():  # whole numbers: sums are exact, whatever the order of a convolution
        parameter.data = torch.randint(-3, 4, parameter.shape, generator=generator).float()
    images, labels = torch.randint(-4, 5, (23, 3, 9, 7), generator=generator).float(), torch.arange(23) % 3
    whole = class_statistics(net, images, labels=labels, n_classes=3)
    order = torch.randperm(23, generator=generator)
    shuffled = class_statistics(net, images[order], labels=labels[order], n_classes=3, batch_size=4)
    rows = [slice(0, 1), slice(1, 20), slice(20, 23)]
    shards = [class_statistics(net, images[each], labels=labels[each], n_classes=3) for each in rows]
    for other in (shuffled, shards[2] + shards[0] + shards[1]):
        assert torch.equal(other.counts, whole.counts)
        assert all(torch.equal(a, b) for a, b in zip(other.sums, whole.sums, strict=True))


def test_batches_with_labels_empty_ones_and_more_than_labels():
    net, (images, labels) = network(), pictures()
    expected = class_statistics(net, images, labels=labels, n_classes=4, batch_size=6)
    batches = [(images[:0], labels[:0]), [images[:6], labels[:6], "more"], (images[6:12], labels[6:12].tolist())]
    found = class_statistics(net, iter([*batches, (images[12:], labels[12:])]), n_classes=4)
    assert all(torch.equal(a, b) for a, b in zip(found.sums, expected.sums, strict=True))


def test_one_class_is_the_whole_dataset_whatever_the_labels():
    net, (images, labels) = network(), pictures()
    by_class = class_statistics(net, images, labels=labels, n_classes=4)
    cases = [(images, None), (images, labels), ([images[:4], images[4:]], None), ([(images, [{}] * 17)], None)]
    for batches, given in cases:
        found = class_statistics(net, batches, labels=given, n_classes=1)
        assert found.counts.tolist() == [17]
        for total, parts in zip(found.sums, by_class.sums, strict=True):
            assert torch.allclose(total[0], parts.sum(0))


def test_a_detector_that_takes_images_of_different_sizes():
    torch.manual_seed(0)
    net, images = Detector(), [torch.rand(3, 8, 9), torch.rand(3, 5, 6)]
    batches = [([image], [{"boxes": torch.zeros(0, 4)}]) for image in images]
    found = class_statistics(net, batches, n_classes=1, layers="relu", spatial="mean")
    expected = sum(net.relu(net.conv(image)).mean((1, 2)) for image in images)
    assert torch.allclose(found.sums[0][0], expected.double(), atol=1e-6)
    assert found.counts.tolist() == [2]
    with pytest.raises(ValueError, match=r"`layers` .* one row for each of 1 images. 'head' does not. Got .* \(3, 2\)"):
        class_statistics(net, batches, n_classes=1, layers="composites", spatial="mean")


def test_what_is_added_in_place_later_does_not_reach_the_statistics():
    net, (images, labels) = network(), pictures()
    found = class_statistics(net, images, labels=labels, n_classes=4, layers=["1", "2"])
    normed = net[1](net[0](images))
    assert (found.sums[0] < 0).any()
    assert torch.allclose(found.sums[0].sum(0), normed.sum(0).flatten())
    assert torch.allclose(found.sums[1].sum(0), normed.relu().sum(0).flatten())


def test_both_calls_of_a_layer():
    torch.manual_seed(0)
    net, x = Twice(), torch.randn(8, 4)
    found = class_statistics(net, x, labels=torch.zeros(8, dtype=torch.long), n_classes=2, layers=["relu", "relu:1"])
    once = net.fc(x).relu()
    assert torch.allclose(found.sums[0][0], once.sum(0).double(), atol=1e-6)
    assert torch.allclose(found.sums[1][0], (net.fc(once) - 0.1).relu().sum(0).double(), atol=1e-6)


def test_layouts_and_half_precision_agree():
    (images, labels), options = pictures(dtype=torch.float32), {"n_classes": 4, "layers": list(LAYERS)}
    expected = class_statistics(network(torch.float32), images, labels=labels, **options)
    last = network(torch.float32).to(memory_format=torch.channels_last)
    found = class_statistics(last, images.to(memory_format=torch.channels_last), labels=labels, **options)
    half = class_statistics(network(torch.bfloat16), images.bfloat16(), labels=labels, **options)
    for a, b, c in zip(expected.sums, found.sums, half.sums, strict=True):
        assert torch.allclose(a, b, atol=1e-4)
        assert c.dtype == torch.float64
        assert torch.allclose(a, c, atol=0.2)


def test_dead_layers_are_named_and_have_no_mask():
    net, (images, labels) = network(), pictures()
    net[4].weight.data.zero_()
    net[4].bias.data.fill_(-1.0)
    found = class_statistics(net, images, labels=labels, n_classes=4)
    assert found.dead == ("5",)
    assert [mask.units.any().item() for mask in found.masks()] == [True, False, True]
    assert class_statistics(network(), images, labels=labels, n_classes=4).dead == ()


def test_no_trace_is_left():
    net, (images, labels) = network(), pictures()
    net.train()
    net[1].eval()
    state, rng = {name: value.clone() for name, value in net.state_dict().items()}, torch.get_rng_state()
    flags = [module.training for module in net.modules()]
    found = class_statistics(net, images.requires_grad_(), labels=labels, n_classes=4)
    assert flags == [module.training for module in net.modules()]
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), rng)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert not any(total.requires_grad for total in found.sums)


def test_saved_loaded_and_moved(tmp_path):
    net, (images, labels) = network(), pictures()
    found = class_statistics(net, images, labels=labels, n_classes=4, spatial="max")
    found.save(tmp_path / "statistics.safetensors")
    again = ClassStatistics.load(tmp_path / "statistics.safetensors")
    assert (again.layers, again.spatial, again.n_classes) == (found.layers, "max", 4)
    for other in (again, found.to("cpu")):
        assert torch.equal(other.counts, found.counts)
        assert all(torch.equal(a, b) for a, b in zip(other.sums, found.sums, strict=True))
    assert {total.device.type for total in (*found.to("meta").sums, found.to("meta").counts)} == {"meta"}


@pytest.mark.parametrize("norm", ["linf", "l1", "l2"])
def test_the_norm_is_that_of_the_loop_and_does_not_overflow(norm):
    rows = torch.randn(3, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert half_norm(rows, norm).tolist() == pytest.approx([threshold(row, norm) for row in rows.tolist()])
    assert half_norm(torch.full((1, 9), 1000.0, dtype=torch.float16), norm).tolist() == [500.0]


def test_statistics_of_something_else_cannot_be_added():
    (images, labels), options = pictures(), {"n_classes": 4}
    found = class_statistics(network(), images, labels=labels, **options)
    pooled = class_statistics(network(), images, labels=labels, spatial="mean", **options)
    fewer = class_statistics(network(), images, labels=labels, layers=["3"], **options)
    for other in (pooled, fewer):
        with pytest.raises(ValueError, match=r"same layers and `spatial` to be added\. Got"):
            found + other
    one_class = class_statistics(network(), images, n_classes=1)
    with pytest.raises(ValueError, match=r"same classes.* Got \(4, 60\) and \(1, 60\) in layer '3'"):
        found + one_class


def test_images_of_different_sizes_need_pooling():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    batches = [(torch.rand(2, 3, side, side), torch.zeros(2).long()) for side in (8, 9)]
    assert class_statistics(net, batches, n_classes=2, layers="0", spatial="max").sums[0].shape == (2, 4)
    with pytest.raises(
        ValueError, match="of images of the same size, to be added; for other sizes take `spatial='mean'`"
    ):
        class_statistics(net, batches, n_classes=2, layers="0")


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"labels": torch.full((17,), 4)}, ValueError, r"`labels` .* labels in \[0, 3\]. Got \[4\]"),
        ({"labels": torch.full((17,), -1)}, ValueError, r"`labels` .* labels in \[0, 3\]. Got \[-1\]"),
        ({"labels": torch.zeros(16).long()}, ValueError, r"`labels` .* one label for each image .* \(16,\)"),
        ({"labels": None}, TypeError, "`labels` .* given, or come with every batch of images. Got None"),
        ({"labels": torch.zeros(17).long(), "batches": [torch.rand(2)]}, ValueError, "of a tensor of images"),
        ({"labels": None, "batches": [torch.rand(2, 3, 9, 7).double()]}, TypeError, "come with every batch"),
        ({"labels": None, "batches": []}, ValueError, "`batches` .* at least one image with its label. Got 'none'"),
        ({"labels": None, "batches": [{"x": torch.rand(2)}]}, TypeError, "`images` .* begin with images. Got {'x'"),
        ({"labels": None, "batches": [("a.png", 0)]}, TypeError, "`images` .* begin with images. Got 'a.png'"),
        ({"n_classes": 0}, ValueError, "`n_classes` parameter of `class_statistics`"),
        ({"batch_size": 0}, ValueError, "`batch_size` parameter of `class_statistics`"),
        ({"spatial": "sum"}, ValueError, "`spatial` parameter of `class_statistics` must be one of"),
        ({"layers": "nowhere"}, ValueError, "`layers` parameter of `select_layers`"),
    ],
)
def test_bad_input_is_named(arguments, error, text):
    images, labels = pictures()
    arguments = {"batches": images, "labels": labels, "n_classes": 4, **arguments}
    with pytest.raises(error, match=text):
        class_statistics(network(), arguments.pop("batches"), **arguments)


def test_labels_of_a_batch_must_be_as_many_as_its_images():
    images, labels = pictures()
    with pytest.raises(ValueError, match=r"`labels` .* one label for each of 17 images. Got Tensor of shape \(16,\)"):
        class_statistics(network(), [(images, labels[1:])], n_classes=4)


def test_unknown_norm():
    images, labels = pictures()
    with pytest.raises(ValueError, match="`norm` parameter of `image_scores` must be one of 'linf', 'l1', 'l2'"):
        class_statistics(network(), images, labels=labels, n_classes=4).masks("max")


def test_the_default_layers_are_the_composites():
    net, (images, labels) = network(), pictures()
    assert list(LAYERS) == select_layers(net, "composites", example_input=images)
    options = {"n_classes": 4, "layers": LAYERS, "spatial": "none"}
    one = batch_statistics(net, images, labels, **options)
    default = class_statistics(net, images, labels=labels, n_classes=4)
    assert all(torch.equal(a, b) for a, b in zip(one.sums, default.sums, strict=True))
