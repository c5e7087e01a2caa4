"""The image score against a loop over layers and units, what it promises, and that it tells right from wrong."""

import itertools
import tarfile
from math import log
from pathlib import Path

import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr
from torch import nn
from torch.nn import functional as F
from torchvision.transforms.functional import pil_to_tensor

from lightning_interp.datasets import ToyScenes
from lightning_interp.functional.selection import class_statistics, image_scores, interval_accuracy, join_scores
from lightning_interp.functional.selection.image_score import ScoreOptions
from lightning_interp.hooks import preserved_rng
from lightning_interp.models import CIFAR10CNN
from tests.data.shared import shared
from tests.functional.selection.test_statistics import Detector, Twice, chains, network, pictures
from tests.reference import image_score as reference

NORMS, THRESHOLDS = ("linf", "l1", "l2"), ("class_mean", "per_image")
READINGS = [
    {"norm": norm, "threshold": threshold, "overlap": overlap}
    for norm, threshold, overlap in itertools.product(NORMS, THRESHOLDS, (True, False))
]


def problem(dtype=torch.float64, **options):
    """A network, statistics of 17 images of three of its four classes, and a pool of 25 images."""
    net, (images, labels) = network(dtype), pictures(dtype=dtype)
    statistics = class_statistics(net, images, labels=labels, n_classes=4, **options)
    return net, statistics, torch.randn(25, 3, 9, 7, generator=torch.Generator().manual_seed(2)).to(dtype)


def expected_scores(net, pool, labels, *, spatial="none", norm="linf", threshold="class_mean", overlap=True):
    images, given = pictures()
    means = reference.class_means(chains(net, images, spatial), given.tolist(), 4)
    options = {"norm": norm, "reading": threshold, "overlap": overlap}
    rows = zip(chains(net, pool, spatial), labels.tolist(), strict=True)
    return [float("nan") if c == 2 else reference.image_score(chain, means[c], **options) for chain, c in rows]


@pytest.mark.parametrize("options", READINGS, ids=lambda options: "-".join(map(str, options.values())))
@pytest.mark.parametrize("spatial", ["none", "mean", "max"])
def test_every_reading_is_that_of_the_loop(spatial, options):
    net, statistics, pool = problem(spatial=spatial)
    found = image_scores(net, pool, statistics, batch_size=7, **options)
    assert torch.equal(found.labels, net(pool).argmax(1))
    assert torch.allclose(found.probabilities, net(pool).float().softmax(1))
    assert found.labels.unique().tolist() == [0, 1, 2, 3]
    expected = expected_scores(net, pool, found.labels, spatial=spatial, **options)
    assert found.scores.tolist() == pytest.approx(expected, abs=1e-5, nan_ok=True)


def test_no_score_is_above_zero_and_none_below_the_size_of_the_masks():
    net, statistics, pool = problem()
    labels = torch.tensor([0, 1, 3])[torch.arange(25) % 3]
    for scale, norm in itertools.product((0.0, 0.1, 1.0, 10.0, -5.0), NORMS):
        scores = image_scores(net, scale * pool, statistics, labels=labels, norm=norm).scores
        worst = -sum((mask.units.sum(1) + 1).log() for mask in statistics.masks(norm))
        assert (scores <= 0).all()
        assert (scores >= worst[labels] - 1e-5).all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_an_image_with_exactly_the_mask_of_the_class_scores_zero(norm, dtype):
    net, _, pool = problem(dtype)
    for i in range(5):  # an image that is its whole class is the mean of the class
        statistics = class_statistics(net, pool[[i, i]], labels=torch.tensor([1, 1]), n_classes=4)
        found = image_scores(net, pool[:5], statistics, labels=torch.ones(5, dtype=torch.long), norm=norm)
        assert found.scores[i] == 0
        assert (found.scores < 0).sum() == 4


def test_planted_units():
    net, labels = nn.Sequential(nn.Identity(), nn.Linear(6, 2)), torch.tensor([0, 0, 1])
    usual = torch.tensor([[4.0, 4, 4, 0, 0, 1], [4, 0, 4, 0, 0, 1], [0, 0, 0, 0, 0, 9]])
    statistics = class_statistics(net, usual, labels=labels, n_classes=2, layers="0")
    assert statistics.masks()[0].units.int().tolist() == [[1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1]]
    pool = torch.tensor([[2.0, 2, 2, 0, 0, 0], [2, 1.9, 2, 0, 0, 0], [9, 9, 9, 9, 9, 9], [0, 0, 0, 3, 3, 3]])
    zeros = torch.zeros(4, dtype=torch.long)
    found = image_scores(net, pool, statistics, labels=zeros)
    assert found.scores.tolist() == pytest.approx([0, log(3 / 4), 0, log(1 / 4)])
    counted = image_scores(net, pool, statistics, labels=zeros, overlap=False)
    assert counted.scores.tolist() == pytest.approx([0, log(3 / 4), log(7 / 4), 0]), "may exceed 0"
    own = image_scores(net, pool, statistics, labels=zeros, threshold="per_image")
    assert own.scores.tolist() == pytest.approx([0, 0, 0, log(1 / 4)])


def test_per_image_thresholds_do_not_depend_on_the_contrast():
    net, statistics, pool = problem()
    for layer in net:
        if hasattr(layer, "bias"):
            layer.bias.data.zero_()
    net[1].running_mean.zero_()
    options = {"labels": torch.zeros(25, dtype=torch.long), "threshold": "per_image"}
    once, brighter = (image_scores(net, scale * pool, statistics, **options).scores for scale in (1.0, 8.0))
    assert torch.equal(once, brighter)
    options["threshold"] = "class_mean"
    once, brighter = (image_scores(net, scale * pool, statistics, **options).scores for scale in (1.0, 8.0))
    assert (once < brighter).any()


@pytest.mark.parametrize("options", READINGS, ids=lambda options: "-".join(map(str, options.values())))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_neither_batch_nor_order_matters(dtype, options):
    net, statistics, pool = problem(dtype)
    whole = image_scores(net, pool, statistics, **options)
    order = torch.randperm(25, generator=torch.Generator().manual_seed(0))
    for batch_size in (1, 4, 25):
        found = image_scores(net, pool[order], statistics, batch_size=batch_size, **options)
        assert torch.equal(found.labels, whole.labels[order])
        if dtype == torch.float64:
            assert torch.equal(found.scores.nan_to_num(9), whole.scores[order].nan_to_num(9))
        assert torch.allclose(found.scores, whole.scores[order], atol=1e-6, equal_nan=True)
        assert torch.allclose(found.probabilities, whole.probabilities[order], atol=1e-6)


@pytest.mark.parametrize("options", READINGS, ids=lambda options: "-".join(map(str, options.values())))
def test_channels_last_is_the_same(options):
    net, statistics, pool = problem()
    expected = image_scores(net, pool, statistics, **options)
    last = network().to(memory_format=torch.channels_last)
    found = image_scores(last, pool.to(memory_format=torch.channels_last), statistics, **options)
    assert torch.allclose(found.scores, expected.scores, equal_nan=True)


def test_bfloat16_is_close():
    net, statistics, pool = problem()
    labels = torch.zeros(25, dtype=torch.long)
    expected = image_scores(net, pool, statistics, labels=labels).scores
    half, own, _ = problem(torch.bfloat16)
    for norm, threshold in itertools.product(NORMS, THRESHOLDS):
        found = image_scores(half, pool.bfloat16(), own, labels=labels, norm=norm, threshold=threshold)
        assert found.scores.dtype == found.probabilities.dtype == torch.float32
        if (norm, threshold) == ("linf", "class_mean"):
            assert spearmanr(found.scores, expected)[0] > 0.95


def test_values_are_read_before_they_change_in_place():
    net, copying, (images, labels) = network(), network(), pictures()
    net[2], copying[2] = nn.Hardtanh(0.0, 0.1, inplace=True), nn.Hardtanh(0.0, 0.1)
    statistics = class_statistics(copying, images, labels=labels, n_classes=4, layers=["0", "1", "2"])
    for options in READINGS:
        found, expected = (image_scores(model, images, statistics, **options).scores for model in (net, copying))
        assert torch.equal(found.nan_to_num(9), expected.nan_to_num(9))


def test_a_layer_called_twice_counts_twice():
    torch.manual_seed(0)
    net, x = Twice(), torch.randn(12, 4)
    terms = []
    for layers in (["relu"], ["relu:1"], ["relu", "relu:1"]):
        statistics = class_statistics(net, x, labels=torch.arange(12) % 4, n_classes=4, layers=layers)
        terms.append(image_scores(net, x, statistics, labels=torch.arange(12) % 4).scores)
    assert torch.allclose(terms[0] + terms[1], terms[2])
    assert not torch.equal(terms[0], terms[1])


def test_a_dead_layer_says_nothing_of_anyone():
    net, (images, labels) = network(), pictures()
    net[4].weight.data.zero_()
    net[4].bias.data.fill_(-1.0)
    for options in READINGS:
        alive = class_statistics(net, images, labels=labels, n_classes=4, layers=["3", "7"])
        whole = class_statistics(net, images, labels=labels, n_classes=4)
        scores = [image_scores(net, images, each, labels=labels, **options).scores for each in (alive, whole)]
        assert torch.equal(*scores)


@pytest.mark.parametrize("norm", NORMS)
def test_an_image_in_which_a_layer_is_dead_has_no_active_unit_there(norm):
    net, images = nn.Sequential(nn.ReLU(), nn.Linear(3, 2)), torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
    statistics = class_statistics(net, images, labels=torch.tensor([0, 0]), n_classes=2, layers="0")
    pool = torch.tensor([[0.0, 0.0, 0.0], [-1.0, -2.0, -3.0], [5.0, 5.0, 0.0]])
    for threshold in THRESHOLDS:
        found = image_scores(
            net, pool, statistics, labels=torch.zeros(3, dtype=torch.long), norm=norm, threshold=threshold
        )
        assert found.scores.tolist() == pytest.approx([log(1 / 3), log(1 / 3), 0])


def test_where_nothing_is_known_the_score_is_nan():
    net, statistics, pool = problem()
    classes = torch.arange(25) % 4
    found = image_scores(net, pool, statistics, labels=classes)
    assert torch.equal(found.scores.isnan(), classes == 2), "no labelled image of class 2"
    dead = class_statistics(net, pool, labels=classes, n_classes=4, layers="5")
    dead.sums[0].zero_()
    assert image_scores(net, pool, dead).scores.isnan().all()
    net[7].bias.data[0] = torch.nan
    assert image_scores(net, pool, statistics).scores.isnan().all()


def test_given_labels_decide_which_mask_counts():
    net, statistics, pool = problem()
    predicted = image_scores(net, pool, statistics)
    again = image_scores(net, pool, statistics, labels=predicted.labels, batch_size=4)
    assert torch.equal(again.scores.nan_to_num(9), predicted.scores.nan_to_num(9))
    others = image_scores(net, pool, statistics, labels=(predicted.labels + 1) % 4)
    assert torch.equal(others.labels, (predicted.labels + 1) % 4)
    assert not torch.equal(others.scores.nan_to_num(9), predicted.scores.nan_to_num(9))


def test_batches_of_a_loader_with_or_without_more_and_empty_ones():
    net, statistics, pool = problem()
    expected = image_scores(net, pool, statistics)
    batches = [pool[:6], pool[:0], [pool[6:7], torch.zeros(1)], (pool[7:], "index", 3)]
    found = image_scores(net, iter(batches), statistics)
    assert torch.equal(found.scores.nan_to_num(9), expected.scores.nan_to_num(9))
    for nothing in (pool[:0], [], [pool[:0]]):
        empty = image_scores(net, nothing, statistics)
        assert len(empty) == 0
        assert empty.labels.dtype == torch.long
        assert list(empty.to_dataframe()) == ["index", "label", "score", "probability"]


def test_one_mask_for_the_whole_dataset():
    net, (images, labels) = network(), pictures()
    whole = class_statistics(net, images, n_classes=1)
    found = image_scores(net, images, whole)
    means = reference.class_means(chains(net, images), [0] * 17, 1)[0]
    assert found.scores.tolist() == pytest.approx(
        [reference.image_score(chain, means) for chain in chains(net, images)]
    )
    assert torch.equal(found.labels, net(images).argmax(1)), "labels are those of the network all the same"
    assert found.probabilities.shape == (17, 4)
    assert labels.max() == 3


def test_a_detector_is_scored_image_by_image():
    torch.manual_seed(0)
    net, images = Detector(), [torch.rand(3, side, 9) for side in (8, 5, 12, 7)]
    batches = [([image], ["target"]) for image in images]
    statistics = class_statistics(net, batches[:2], n_classes=1, layers="relu", spatial="mean")
    found = image_scores(net, batches, statistics)
    assert found.labels.tolist() == [0] * 4
    assert found.probabilities.tolist() == [[1.0]] * 4
    units = [net.relu(net.conv(image)).mean((1, 2)).tolist() for image in images]
    mean = [[sum(pair) / 2 for pair in zip(*units[:2], strict=True)]]
    assert found.scores.tolist() == pytest.approx([reference.image_score([each], mean) for each in units])


def test_no_trace_is_left():
    net, statistics, pool = problem()
    net.train()
    state, rng = {name: value.clone() for name, value in net.state_dict().items()}, torch.get_rng_state()
    found = image_scores(net, pool.requires_grad_(), statistics)
    assert all(module.training for module in net.modules())
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), rng)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert not found.scores.requires_grad


def test_table_and_joining():
    net, statistics, pool = problem()
    whole = image_scores(net, pool, statistics)
    parts = [image_scores(net, pool[rows], statistics) for rows in (slice(0, 9), slice(9, 9), slice(9, 25))]
    joined = join_scores([part for part in parts if len(part)])
    assert torch.equal(joined.labels, whole.labels)
    table = whole.to_dataframe()
    assert table["index"].tolist() == list(range(25))
    assert table["score"].tolist() == pytest.approx(whole.scores.tolist(), nan_ok=True)
    assert table["probability"].tolist() == pytest.approx(whole.probabilities.amax(1).tolist())


def test_statistics_of_another_size_or_number_of_classes():
    net, statistics, _ = problem()
    # The same network, of another size: one column more gives the first layer more units.
    with pytest.raises(ValueError, match=r"`statistics` .* same size, with 60 units there; else take `spatial='mean'`"):
        image_scores(net, torch.randn(2, 3, 9, 9).double(), statistics)
    images, labels = pictures()
    more = class_statistics(net, images, labels=labels, n_classes=5)
    with pytest.raises(ValueError, match=r"`statistics` .* must be of 4 classes, as the model's scores\. Got 5"):
        image_scores(net, images, more)
    maps = nn.Sequential(nn.Conv2d(3, 4, 3))
    with pytest.raises(TypeError, match="must return class scores"):
        image_scores(maps, images.float(), class_statistics(maps, images.float(), labels=labels, n_classes=4))


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"norm": "max"}, ValueError, "`norm` parameter of `image_scores` must be one of 'linf'"),
        ({"threshold": "per_imag"}, ValueError, "`threshold` parameter .* Did you mean 'per_image'"),
        ({"batch_size": 0}, ValueError, "`batch_size` parameter of `image_scores`"),
        ({"labels": torch.zeros(3).long()}, ValueError, "`labels` .* one label for each image"),
        ({"labels": torch.full((25,), 4)}, ValueError, r"`labels` .* labels in \[0, 3\]. Got \[4\]"),
        ({"labels": torch.full((25,), -1)}, ValueError, r"`labels` .* labels in \[0, 3\]. Got \[-1\]"),
        ({"images": [{"x": 1}]}, TypeError, "`images` parameter of `image_scores` must be a tensor"),
        ({"images": ["x"], "labels": torch.zeros(1).long()}, ValueError, "`labels` .* of a tensor of images"),
    ],
)
def test_bad_input_is_named(options, error, text):
    net, statistics, pool = problem()
    options = {"images": pool, **options}
    with pytest.raises(error, match=text):
        image_scores(net, options.pop("images"), statistics, **options)


def test_options_are_checked_when_made():
    assert ScoreOptions("l2", "per_image", overlap=False).norm == "l2"
    with pytest.raises(ValueError, match="`threshold` parameter of `image_scores`"):
        ScoreOptions(threshold="mean")


def trained(images, labels, *, n_classes, epochs):
    """A small network after a few epochs."""
    with preserved_rng(seed=0):
        net = CIFAR10CNN(n_classes=n_classes, width=8, batch_norm=True)
    optimizer, generator = torch.optim.Adam(net.parameters(), lr=0.003), torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for rows in torch.randperm(len(images), generator=generator).split(50):
            optimizer.zero_grad()
            F.cross_entropy(net(images[rows]), labels[rows]).backward()
            optimizer.step()
    return net


def precision_by_score(net, labeled, pool):
    """Share of right labels in ten bins of the pool, from the lowest scores to the highest."""
    statistics = class_statistics(net, labeled[0], labels=labeled[1], n_classes=len(labeled[1].unique()))
    found = image_scores(net, pool[0], statistics)
    return interval_accuracy(found.scores, found.labels == pool[1])[1]


@pytest.fixture(scope="module")
def toy():
    """A network for the first four classes of the toy scenes, which it learns in seconds."""
    parts = []
    for split, n in (("train", 960), ("test", 2000)):
        scenes = ToyScenes(3 * n, split=split)
        rows = (scenes.targets < 4).nonzero().flatten()
        parts.append((scenes.render(rows).float() / 255 - 0.5, scenes.targets[rows]))
    return trained(*parts[0], n_classes=4, epochs=4), *parts


def test_precision_rises_with_the_score_on_toy_scenes(toy):
    precision = precision_by_score(*toy)
    assert spearmanr(range(10), precision)[0] > 0.9
    assert precision[-1] > 1.2 * precision.mean()


@pytest.mark.slow
def test_precision_rises_with_the_score_on_cifar10():
    parts, classes = ([], []), []
    with tarfile.open(shared("cifar10_images.tar.gz")) as archive:
        for member in itertools.takewhile(lambda member: member.name.startswith("train"), archive):
            name, number = Path(member.name).parent.name, Path(member.name).stem
            if member.isfile() and int(number) < 800:
                classes += [] if name in classes else [name]
                picture = pil_to_tensor(Image.open(archive.extractfile(member)))
                parts[int(number) % 2].append((picture, classes.index(name)))
    labeled, pool = (
        (torch.stack([x for x, _ in part]) / 127.5 - 1, torch.tensor([y for _, y in part])) for part in parts
    )
    assert (len(classes), len(pool[0])) == (10, 4000)
    net = trained(*labeled, n_classes=10, epochs=6)
    precision = precision_by_score(net, labeled, pool)
    assert spearmanr(range(10), precision)[0] > 0.9
    assert precision[-1] > 1.2 * precision.mean()
