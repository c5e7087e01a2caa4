import pytest
import torch
from torch import nn

from lightning_interp.functional.inverse_set.lagrangian import Lagrangian, mean_squared_distance
from lightning_interp.functional.inverse_set.problem import problem
from lightning_interp.functional.synthesis import unit
from tests.functional.inverse_set.worlds import DIM, identity, linear_unit

LEVELS = torch.tensor([[0.2, 0.6], [0.1, 0.4]])


@pytest.fixture
def two_units():
    net = linear_unit(2)
    with problem(net, [unit("1", 0), unit("1", 1)], LEVELS, identity(), nn.Flatten()) as found:
        yield found


def codes(k=7, seed=0):
    return torch.rand(k, DIM, generator=torch.Generator().manual_seed(seed))


def slow(net, c, multipliers, mu, scale, *, fixed=None, on_codes=True):
    """Equations 6, 7, 9 and 11 with the slack variables written out, from both sides."""
    total = torch.zeros(())
    k = len(c)
    for i in range(k):
        for j in range(k):
            total = total - (c[i] - c[j]).square().sum() / k / scale
        for row in fixed if fixed is not None else ():
            total = total - (c[i] - row).square().sum() / len(fixed) / scale
        f = net(c[i][None])[0]
        width = LEVELS[:, 1] - LEVELS[:, 0]
        g = torch.cat([(width / 2 - LEVELS[:, 1] + f) / width, (LEVELS[:, 0] + width / 2 - f) / width])
        s = (g - multipliers[i] / mu).clamp(min=0).detach()
        total = total - (multipliers[i] * (g - s)).sum() + mu / 2 * (g - s).square().sum()
    return total


@pytest.mark.parametrize("batch_size", [100, 3, 1])
@pytest.mark.parametrize("repulsion", ["encoder", "codes", None])
@pytest.mark.parametrize("fixed", [None, codes(4, 1)])
def test_the_gradient_is_that_of_the_equations(two_units, batch_size, repulsion, fixed):
    multipliers = torch.rand(7, 4, generator=torch.Generator().manual_seed(2))
    found = Lagrangian(two_units, repulsion, multipliers, 3.0, 0.5, batch_size)
    seen, gradient = found.gradient(codes(), fixed)
    c = codes().requires_grad_()
    scale = float("inf") if repulsion is None else 0.5
    (expected,) = torch.autograd.grad(slow(linear_unit(2), c, multipliers, 3.0, scale, fixed=fixed), c)
    assert torch.allclose(gradient, expected, atol=1e-4)
    assert torch.allclose(seen.activations, linear_unit(2)(codes()).detach(), atol=1e-6)
    assert not seen.features.requires_grad


def test_multipliers_stay_positive_and_mu_grows(two_units):
    found = Lagrangian(two_units, "encoder", torch.zeros(7, 4), 10.0, 1.0, 100)
    activations = two_units.look(codes()).activations
    slacks = found.slacks(activations)
    found.raise_multipliers(activations, 10)
    assert torch.allclose(found.multipliers, (-10 * slacks).clamp(min=0))
    assert found.mu == 100
    assert bool((found.multipliers[:, :2] * found.multipliers[:, 2:] == 0).all())  # one side at a time


def test_the_mean_square_is_over_all_pairs():
    rows = codes()
    expected = torch.cdist(rows, rows).square().mean()
    assert torch.allclose(mean_squared_distance(rows), expected, atol=1e-5)
