import itertools

import numpy as np
import pytest
import torch
from torch import nn

from lightning_interp.exceptions import NegativeActivationsError
from lightning_interp.functional import compression_auc, compression_curve, layer_compression_curves, nmf
from lightning_interp.models import CIFAR10CNN


class SmallCNN(nn.Module):
    """Two compressible conv layers behind a stem, written so that a test can run it by hand."""

    def __init__(self, n_classes=3):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2))
        self.one = nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(inplace=True))
        self.two = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(inplace=True))
        self.head = nn.Linear(8, n_classes)

    def forward(self, x):
        return self.head(self.two(self.one(self.stem(x))).mean((2, 3)))


@pytest.fixture
def problem():
    torch.manual_seed(0)
    return SmallCNN(), torch.rand(37, 3, 10, 10), torch.arange(37) % 3


def rank_k_pca(matrix, k):
    mean = matrix.mean(0)
    u, s, v = np.linalg.svd(matrix - mean, full_matrices=False)
    return (u[:, :k] * s[:k]) @ v[:k] + mean


def by_hand(net, images, labels, k, reconstruct, *, batch_size, residual=False):
    """Accuracy at rank k from explicit forward code, batch by batch, layer after layer."""
    hits = 0
    for c in labels.unique():
        for batch in (labels == c).nonzero().flatten().split(batch_size):
            a = net.stem(images[batch])
            for layer in (net.one, net.two):
                a = layer(a)
                n, channels, h, w = a.shape
                matrix = a.permute(0, 2, 3, 1).reshape(-1, channels)
                low = torch.zeros_like(matrix) if k == 0 else torch.as_tensor(reconstruct(matrix.numpy(), k))
                matrix = (matrix - low if residual else low).float()
                a = matrix.reshape(n, h, w, channels).permute(0, 3, 1, 2)
            hits += int((net.head(a.mean((2, 3))).argmax(1) == c).sum())
    return hits / len(labels)


@pytest.mark.parametrize("residual", [False, True])
def test_pca_curve_equals_explicit_forward_code(problem, residual):
    net, images, labels = problem
    curve = compression_curve(
        net, images, labels, layers=["one", "two"], ks=[1, 2, 5], method="pca", residual=residual, batch_size=5
    )
    with torch.no_grad():
        expected = [by_hand(net, images, labels, k, rank_k_pca, batch_size=5, residual=residual) for k in (1, 2, 5)]
        full = (net(images).argmax(1) == labels).float().mean()
    assert curve.accuracy.tolist() == pytest.approx(expected)
    assert curve.full_accuracy == pytest.approx(float(full))


def test_the_residual_goes_from_everything_to_nothing(problem):
    curve = compression_curve(*problem, layers="two", ks=[1], method="pca", residual=True)
    kept = compression_curve(*problem, layers="two", ks=[1], method="pca")
    ends = curve.to_dataframe()["accuracy"].tolist()
    assert (ends[0], ends[-1]) == (curve.full_accuracy, curve.zero_accuracy)
    assert (curve.full_accuracy, curve.zero_accuracy) == (kept.full_accuracy, kept.zero_accuracy)
    assert curve.full_accuracy != curve.zero_accuracy


def test_nmf_curve_equals_explicit_forward_code(problem):
    net, images, labels = problem
    accuracy, warm = [], {}
    with torch.no_grad():
        for k in (1, 3):
            hits = 0
            for c in range(3):
                for part, batch in enumerate((labels == c).nonzero().flatten().split(5)):
                    a = net.one(net.stem(images[batch]))
                    matrix = a.permute(0, 2, 3, 1).reshape(-1, 8)
                    factors = nmf(
                        matrix, k, v=warm.get((c, part)), init="nndsvda", max_iter=12, tol=0.0, generator=seeded(0)
                    )
                    warm[c, part] = factors.v
                    a = factors.reconstruct().reshape(len(batch), 5, 5, 8).permute(0, 3, 1, 2)
                    hits += int((net.head(net.two(a).mean((2, 3))).argmax(1) == c).sum())
            accuracy.append(hits / len(labels))
    curve = compression_curve(net, images, labels, layers="one", ks=[1, 3], batch_size=5)
    assert curve.accuracy.tolist() == pytest.approx(accuracy, abs=1.5 / len(labels))


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_auc_equals_a_hand_written_loop():
    ks, accuracy, width = [1, 3, 8], [0.2, 0.6, 0.7], 16
    points = [(0, 0.1), *zip(ks, accuracy, strict=True), (width, 0.9)]
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        area += (x1 - x0) * (y0 + y1) / 2
    got = compression_auc(ks, torch.tensor(accuracy), width=width, start=0.1, end=0.9)
    assert float(got) == pytest.approx(area / width)
    flat = compression_auc(ks, torch.full((2, 3), 0.5), width=width)
    assert flat.tolist() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("ks", [[], [3, 1], [1, 1], [1, 17], [-1, 2]])
def test_auc_refuses_a_bad_grid(ks):
    with pytest.raises(ValueError, match=r"`ks` parameter of `compression_auc` must be increasing ints in \[0, 16\]"):
        compression_auc(ks, torch.zeros(len(ks)), width=16)


def test_low_rank_activations_lose_nothing():
    """Planted: every patch is a positive multiple of one direction, so rank 1 is exact for every method that can be."""
    net = nn.Sequential(nn.Conv2d(1, 6, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2))
    torch.manual_seed(0)
    net[0].weight.data.abs_()
    net[0].bias.data.zero_()
    images, labels = torch.rand(20, 1, 4, 4), torch.arange(20) % 2
    curve = compression_curve(net, images, labels, layers="1", ks=[1, 2])
    assert curve.accuracy.tolist() == [curve.full_accuracy] * 2
    assert curve.relative_error.max() < 1e-3


def test_full_rank_is_exact_for_every_method(problem):
    for method in ("nmf", "pca", "kmeans", "random_ablation"):
        curve = compression_curve(*problem, layers="two", ks=[8], method=method, batch_size=5)
        if method != "kmeans":  # eight centroids are not eight directions
            assert curve.accuracy.tolist() == [curve.full_accuracy]
            assert curve.relative_error.max() < 1e-4
        assert 0 <= curve.accuracy[0] <= 1


def test_layer_curves_compress_one_layer_each(problem):
    curves = layer_compression_curves(*problem, layers=["one", "two"], ks=[2], method="pca", batch_size=5)
    alone = compression_curve(*problem, layers="two", ks=[2], method="pca", batch_size=5)
    assert list(curves) == ["one", "two"]
    assert torch.equal(curves["two"].counts.correct, alone.counts.correct)


def test_errors_grow_along_the_layers_and_fall_with_rank(problem):
    curve = compression_curve(*problem, layers=["one", "two"], ks=[1, 2, 4], method="pca", batch_size=5)
    assert curve.relative_error.shape == (2, 3)
    assert (curve.relative_error[0].diff() < 0).all()


def test_the_order_of_the_images_does_not_matter(problem):
    net, images, labels = problem
    order = torch.randperm(37, generator=seeded(1))
    by_class = torch.cat([(labels == c).nonzero().flatten() for c in range(3)])
    first = compression_curve(net, images, labels, layers="one", ks=[2], method="pca", batch_size=50)
    again = compression_curve(net, images[order], labels[order], layers="one", ks=[2], method="pca", batch_size=50)
    assert torch.equal(first.counts.correct, again.counts.correct)
    sorted_ = compression_curve(
        net, images[by_class], labels[by_class], layers="one", ks=[2], method="pca", batch_size=4
    )
    assert sorted_.counts.total.tolist() == [13, 12, 12]


def test_the_network_is_left_as_it_was(problem):
    net, images, labels = problem
    net.train()
    net.one.eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.random.get_rng_state()
    compression_curve(net, images, labels, layers=["one", "two"], ks=[1])
    assert (net.training, net.one.training) == (True, False)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_default_is_the_last_block_and_powers_of_two():
    curve = compression_curve(CIFAR10CNN(width=4), torch.rand(6, 3, 32, 32), torch.arange(6) % 2)
    assert curve.layers == ("features.17", "features.19", "features.21")
    assert (curve.ks, curve.width) == ((1, 2, 4, 8, 16), 32)


def test_half_precision_networks_are_measured_in_single_precision(problem):
    net, images, labels = problem
    curve = compression_curve(net.bfloat16(), images.bfloat16(), labels, layers="two", ks=[1, 4], batch_size=5)
    assert curve.relative_error.isfinite().all()
    assert curve.relative_error[0, 1] < curve.relative_error[0, 0]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"ks": [0]}, ValueError, r"The `ks` parameter of `compression_curve` must be an int in \[1, 8\]. Got 0"),
        ({"ks": [9]}, ValueError, "Got 9"),
        ({"ks": [1.5]}, TypeError, "Got 1.5"),
        ({"ks": []}, ValueError, "Got none"),
        ({"method": "svd"}, ValueError, "`method` parameter of `compression_curve` must be one of 'nmf'"),
        ({"layers": "three"}, ValueError, "three"),
        ({"layers": "stem.0"}, NegativeActivationsError, r"Layer 'stem.0', activations folded to \(1, 1300, 6\)"),
        ({"batch_size": 0}, ValueError, "`batch_size`"),
    ],
)
def test_bad_input_is_named(problem, options, error, text):
    with pytest.raises(error, match=text):
        compression_curve(*problem, **{"layers": "two", **options})


def test_images_and_labels_must_fit(problem):
    net, images, labels = problem
    with pytest.raises(ValueError, match="Got 37 images and 36 labels"):
        compression_curve(net, images, labels[1:])
    with pytest.raises(ValueError, match="Got 0 images and 0 labels"):
        compression_curve(net, images[:0], labels[:0])
