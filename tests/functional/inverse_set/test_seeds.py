import pytest
import torch
from torch import nn

from lightning_interp.functional.inverse_set.lagrangian import mean_squared_distance
from lightning_interp.functional.inverse_set.problem import problem
from lightning_interp.functional.inverse_set.seeds import Run, find_seeds
from lightning_interp.functional.synthesis import unit
from tests.functional.inverse_set.worlds import DIM, DIRECTION, identity, linear_unit


def cube(low, high, bounds=(0.0, 1.0)):
    levels = torch.tensor([[low, high]])
    return problem(linear_unit(), [unit("1", 0)], levels, identity(), nn.Flatten(), bounds=bounds)


def start(k=10):
    return torch.rand(k, DIM, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("level", [(0.0, 0.2), (0.9, 1.0), (-0.7, -0.6)])
def test_all_seeds_get_inside_and_it_stops_there(level):
    run = Run(1)
    with cube(*level) as found:
        seeds, lagrangian = find_seeds(found, start(), run)
    activations = seeds @ DIRECTION
    assert len(seeds) == 10
    assert bool(((activations >= level[0]) & (activations <= level[1])).all())
    assert bool(((seeds >= 0) & (seeds <= 1)).all())
    assert run.trace[-1][2] == 10  # all inside
    assert all(row[2] < 10 for row in run.trace[:-1])
    assert lagrangian.multipliers.shape == (10, 2)


def test_seeds_keep_apart():
    with cube(0.0, 0.2) as found:
        near = 0.5 + 0.01 * start()
        apart, _ = find_seeds(found, near, Run(1), to_the_end=True, rounds=1)
        alone, _ = find_seeds(found, near, Run(1), to_the_end=True, rounds=1, repulsion=None)
    assert mean_squared_distance(apart) > 10 * mean_squared_distance(alone)


def test_what_cannot_be_reached_ends_and_is_known():
    run = Run(1)
    with cube(5.0, 6.0) as found:
        seeds, lagrangian = find_seeds(found, start(), run, rounds=2, steps=30)
    assert len(seeds) == len(lagrangian.multipliers) == 0
    assert len(run.trace) == 60
    best = float(DIRECTION.clamp(min=0).sum())  # at a corner of the cube
    assert float(run.reached[0, 1]) == pytest.approx(best, abs=1e-4)


def test_only_seeds_that_were_inside_count():
    run = Run(1)
    with cube(0.3, 0.4) as found:
        seeds, lagrangian = find_seeds(found, start(), run, rounds=1, steps=1)
    activations = start() @ DIRECTION
    assert len(seeds) == int(((activations >= 0.3) & (activations <= 0.4)).sum()) == run.trace[0][2]
    assert 0 < len(seeds) < 10
    assert len(lagrangian.multipliers) == len(seeds)


def test_equal_codes_have_a_scale_too():
    with cube(0.0, 0.2) as found:
        _, lagrangian = find_seeds(found, torch.full((4, DIM), 0.5), Run(1), rounds=1, steps=1)
        assert lagrangian.scale == pytest.approx(DIM / 4 / 2)
        _, lagrangian = find_seeds(found, torch.zeros(4, DIM), Run(1), rounds=1, steps=1)
        assert lagrangian.scale == 1
