import math

import numpy as np
import pytest
import torch
from torch import nn

from lightning_interp.functional.generalization import power_law_alpha, power_law_alphas


def loop(eigenvalues):
    """Every beginning of the tail, its likelihood estimate and its Kolmogorov-Smirnov distance, value by value."""
    values = sorted(float(v) for v in eigenvalues)
    fits = []
    for start, smallest in enumerate(values[:-1]):
        tail = values[start:]
        logs = sum(math.log(v / smallest) for v in tail)
        if logs > 0:
            alpha = 1 + len(tail) / logs
            gaps = [abs(1 - (v / smallest) ** (1 - alpha) - i / len(tail)) for i, v in enumerate(tail)]
            fits.append((max(gaps), alpha))
    return min(fits)[1]


def test_the_exponent_equals_the_loop():
    for seed in range(3):
        values = np.random.default_rng(seed).exponential(size=60)
        assert power_law_alpha(values) == pytest.approx(loop(values))


@pytest.mark.parametrize("alpha", [1.5, 2.5, 4.0])
def test_a_planted_exponent_is_found(alpha):
    tail = np.random.default_rng(0).pareto(alpha - 1, 3000) + 1  # density ~ x^-alpha
    assert power_law_alpha(tail) == pytest.approx(alpha, rel=0.1)


def test_a_body_below_the_tail_is_cut_off():
    draw = np.random.default_rng(0)
    values = np.concatenate([draw.uniform(0, 1, 1000), draw.pareto(1.5, 1000) + 1])
    assert power_law_alpha(values) == pytest.approx(2.5, rel=0.15)


def test_scale_and_order_do_not_matter():
    values = np.random.default_rng(0).exponential(size=80)
    assert power_law_alpha(1e-6 * values) == pytest.approx(power_law_alpha(values))
    assert power_law_alpha(values[::-1]) == power_law_alpha(values)


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0, 2.0], [math.nan] * 9])
def test_no_tail_no_exponent(values):
    assert math.isnan(power_law_alpha(np.array(values)))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(30, 20),
        nn.Linear(20, 30),
        nn.Conv1d(12, 10, 3),
        nn.Conv2d(6, 9, 3),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.Conv3d(4, 5, 2),
    ],
    ids=str,
)
def test_the_eigenvalues_are_squared_singular_values_of_each_slice(layer):
    torch.manual_seed(0)
    nn.init.normal_(layer.weight)
    weight = layer.weight.detach().double()
    slices = weight[None] if weight.ndim == 2 else weight.flatten(2).permute(2, 0, 1)
    pooled = np.concatenate([np.linalg.svd(w.numpy(), compute_uv=False) ** 2 for w in slices])
    assert power_law_alphas(layer, min_eigenvalues=2)[""] == pytest.approx(power_law_alpha(pooled), rel=1e-6)


def test_layers_come_in_order_without_the_small_and_the_empty_ones():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 16), nn.Linear(16, 3))
    assert list(power_law_alphas(net)) == ["0", "3"]
    assert list(power_law_alphas(net, min_eigenvalues=3)) == ["0", "3", "4"]
    nn.init.zeros_(net[3].weight)
    assert list(power_law_alphas(net)) == ["0"]
    assert power_law_alphas(nn.ReLU()) == {}


def test_zero_eigenvalues_are_left_out():
    torch.manual_seed(0)
    full, padded = nn.Linear(12, 30, bias=False), nn.Linear(20, 30, bias=False)
    padded.weight.data = torch.cat([full.weight.data, torch.zeros(30, 8)], 1)
    assert power_law_alphas(padded)[""] == pytest.approx(power_law_alphas(full)[""])


def test_a_diverged_layer_has_no_exponent_and_a_half_precise_one_has():
    layer = nn.Linear(12, 30)
    assert math.isfinite(power_law_alphas(layer.bfloat16())[""])
    layer.weight.data[0, 0] = math.inf
    assert math.isnan(power_law_alphas(layer)[""])


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"`min_eigenvalues` parameter of `power_law_alphas` must be an int in \[2,"):
        power_law_alphas(nn.Linear(2, 2), min_eigenvalues=1)
