import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from lightning_interp.functional.generalization import neuron_divergence


def histograms(x, labels, bins):
    """Shares of each class in the bins of one neuron."""
    counts = [np.histogram(x[labels == c], bins=bins, range=(x.min(), x.max()))[0] for c in np.unique(labels)]
    return [count / count.sum() for count in counts]


@pytest.fixture
def problem():
    labels = torch.arange(90) % 3
    x = torch.randn(90, 8, generator=torch.Generator().manual_seed(0)) + labels[:, None] * torch.linspace(0, 3, 8)
    return x, labels


@pytest.mark.parametrize(("bins", "percentile"), [(40, 90.0), (7, 10.0), (40, 100.0)])
def test_divergence_equals_the_loop_over_neurons(problem, bins, percentile):
    x, labels = problem
    values = []
    for neuron in x.numpy().T:
        shares = histograms(neuron, labels.numpy(), bins)
        values.append(entropy(np.mean(shares, 0), base=2) - np.mean([entropy(p, base=2) for p in shares]))
    got = neuron_divergence(x, labels, bins=bins, percentile=percentile)
    assert got == pytest.approx(np.percentile(values, percentile), rel=1e-6)


def test_two_classes_have_the_divergence_of_scipy(problem):
    x, labels = problem[0], problem[1].clamp(max=1)
    for neuron in range(8):
        p, q = histograms(x[:, neuron].numpy(), labels.numpy(), 40)
        expected = jensenshannon(p, q, base=2) ** 2  # scipy takes the root
        # classes weigh the same, however many images they have
        assert neuron_divergence(x[:, [neuron]], labels) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_separate_classes_diverge_fully_and_equal_ones_not_at_all(n_classes):
    labels = torch.arange(40) % n_classes
    assert neuron_divergence(labels[:, None].float(), labels) == pytest.approx(math.log2(n_classes))
    assert neuron_divergence((torch.arange(40) // n_classes)[:, None].float(), labels) == pytest.approx(0, abs=1e-12)
    assert neuron_divergence(torch.ones(40, 3), labels) == 0  # neurons that do nothing


def test_the_percentile_is_over_neurons():
    labels = torch.arange(20) % 2
    x = torch.zeros(20, 11)
    x[:, 0] = labels  # one neuron in eleven knows the class
    assert neuron_divergence(x, labels, percentile=100) == 1
    assert neuron_divergence(x, labels, percentile=90) == pytest.approx(0)
    assert neuron_divergence(x, labels, percentile=95) == pytest.approx(0.5)


def test_scale_shift_and_order_do_not_matter(problem):
    x, labels = problem[0].double(), problem[1]
    plain = neuron_divergence(x, labels)
    assert neuron_divergence(4 * x, labels) == pytest.approx(plain)
    assert neuron_divergence(x.flip(0), labels.flip(0)) == plain
    assert neuron_divergence(-x, labels) == pytest.approx(plain, rel=0.05)  # but for values on the edges of bins


def test_with_few_classes_only_images_predicted_as_labelled_count(problem):
    x, labels = problem
    predictions = torch.where(torch.arange(90) < 60, labels, (labels + 1) % 3)
    kept = neuron_divergence(x[:60], labels[:60])
    assert neuron_divergence(x, labels, predictions=predictions) == pytest.approx(kept)
    assert neuron_divergence(x, labels, predictions=predictions) != pytest.approx(neuron_divergence(x, labels))
    many = neuron_divergence(x, labels, predictions=predictions, n_classes=11)
    assert many == pytest.approx(neuron_divergence(x, labels))


def test_a_missing_class_is_left_out(problem):
    x, labels = problem
    gap = torch.where(labels == 2, 5, labels)
    assert neuron_divergence(x, gap, n_classes=10) == pytest.approx(neuron_divergence(x, labels))


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_nothing_to_compare_gives_nan(problem, broken):
    x, labels = problem
    assert math.isnan(neuron_divergence(x, torch.zeros_like(labels)))
    assert math.isnan(neuron_divergence(x, labels, predictions=(labels + 1) % 3))
    x = x.clone()
    x[3, 2] = broken
    assert math.isnan(neuron_divergence(x, labels))


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"bins": 1}, ValueError, r"`bins` parameter of `neuron_divergence` must be an int in \[2, inf\). Got 1"),
        ({"bins": 2.5}, TypeError, "`bins`"),
        ({"percentile": 101}, ValueError, r"`percentile` .* must be a number in \[0, 100\]"),
        ({"percentile": -1}, ValueError, "`percentile`"),
    ],
)
def test_bad_input_is_named(problem, options, error, text):
    with pytest.raises(error, match=text):
        neuron_divergence(*problem, **options)
