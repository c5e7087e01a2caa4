import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from lightning_interp.functional.generalization import effective_rank, within_class_collapse


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(d):
    return torch.linalg.qr(normal(d, d, seed=9)).Q


@pytest.mark.parametrize("shape", [(40, 6), (6, 40), (7, 7), (1, 5)])
def test_effective_rank_equals_the_entropy_of_the_svd(shape):
    z = normal(*shape)
    singular = np.linalg.svd(z.numpy(), compute_uv=False)
    assert effective_rank(z) == pytest.approx(math.exp(entropy(singular / singular.sum())), rel=1e-6)


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_equal_directions_count_as_many_as_they_are(rank):
    z = torch.linalg.qr(normal(30, rank)).Q @ rotation(12)[:rank]
    assert effective_rank(z) == pytest.approx(rank, abs=1e-5)


def test_effective_rank_ignores_scale_rotation_and_order():
    z = normal(30, 8)
    plain = effective_rank(z)
    assert effective_rank(100 * z) == pytest.approx(plain)
    assert effective_rank(z @ rotation(8)) == pytest.approx(plain)
    assert effective_rank(z.flip(0)) == pytest.approx(plain)
    assert effective_rank(z.float()) == pytest.approx(plain, rel=1e-5)


def collapse(features, labels):
    """NC1 from the covariances themselves and a pseudo-inverse."""
    z, labels = features.numpy(), labels.numpy()
    means = {c: z[labels == c].mean(0) for c in np.unique(labels)}
    centre = np.mean(list(means.values()), 0)
    within = sum(np.outer(x - means[c], x - means[c]) for x, c in zip(z, labels, strict=True)) / len(z)
    between = sum(np.outer(mean - centre, mean - centre) for mean in means.values()) / len(means)
    return np.trace(within @ np.linalg.pinv(between, rcond=1e-10)) / len(means)


@pytest.mark.parametrize(("n", "d", "n_classes"), [(40, 6, 3), (12, 30, 4), (20, 2, 5)])
def test_collapse_equals_the_pseudo_inverse(n, d, n_classes):
    labels = torch.arange(n) % n_classes
    z = normal(n, d) + normal(n_classes, d, seed=1)[labels]
    assert within_class_collapse(z, labels) == pytest.approx(collapse(z, labels), rel=1e-6)
    uneven = labels.clamp(max=1)
    assert within_class_collapse(z, uneven * 7) == pytest.approx(collapse(z, uneven), rel=1e-6)


def test_collapse_is_the_planted_spread():
    """Two classes at +-1 with values +-s about them: within s^2, between 1, over two classes."""
    labels = torch.tensor([0, 0, 1, 1])
    for s in (0.0, 0.5, 2.0):
        z = torch.tensor([[1 - s], [1 + s], [-1 - s], [-1 + s]])
        assert within_class_collapse(z, labels) == pytest.approx(s**2 / 2)


def test_collapse_ignores_scale_shift_rotation_and_order():
    labels = torch.arange(30) % 3
    z = normal(30, 8) + normal(3, 8, seed=1)[labels]
    plain = within_class_collapse(z, labels)
    for same in (100 * z, z + 5, z @ rotation(8)):
        assert within_class_collapse(same, labels) == pytest.approx(plain)
    assert within_class_collapse(z.flip(0), labels.flip(0)) == pytest.approx(plain)


def test_without_two_classes_apart_there_is_no_collapse():
    labels = torch.arange(10) % 2
    assert math.isnan(within_class_collapse(normal(10, 3), torch.zeros(10)))
    assert math.isnan(within_class_collapse(torch.zeros(10, 3), labels))  # dead features
    assert math.isnan(within_class_collapse(torch.full((10, 3), 0.1), labels))
    assert math.isnan(effective_rank(torch.zeros(10, 3)))


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_features_that_are_not_finite_give_nan(broken):
    z = normal(10, 3)
    z[2, 1] = broken
    assert math.isnan(effective_rank(z))
    assert math.isnan(within_class_collapse(z, torch.arange(10) % 2))
