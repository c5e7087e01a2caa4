import torch

from lightning_interp.functional.inverse_set.diversity import mean_pairwise_distance
from lightning_interp.functional.inverse_set.seeds import Run, find_seeds
from lightning_interp.functional.inverse_set.walk import walk
from tests.functional.inverse_set.test_seeds import cube, start
from tests.functional.inverse_set.worlds import DIRECTION, uniform_slab


def sampled(low, high, n=500, seed=0, max_steps=400, bounds=(0.0, 1.0)):
    run = Run(1)
    with cube(low, high, bounds) as found:
        seeds, lagrangian = find_seeds(found, start(), run)
        before = len(run.trace)
        random = torch.Generator().manual_seed(seed)
        codes, places = walk(lagrangian, seeds, n, run, generator=random, max_steps=max_steps)
    return codes, places, len(run.trace) - before


def test_samples_fill_the_slab_of_the_cube():
    for low, high in ((0.0, 0.2), (0.6, 0.8)):
        codes, _, n_steps = sampled(low, high)
        activations = codes @ DIRECTION
        assert len(codes) == 500
        assert bool(((activations >= low) & (activations <= high)).all())
        assert bool(((codes >= 0) & (codes <= 1)).all())
        assert n_steps <= 2 * 500 / 10
        uniform = uniform_slab(low, high)
        _, directions = torch.linalg.eigh(uniform.T.cov())
        spread = ((codes - codes.mean(0)) @ directions).var(0) / ((uniform - uniform.mean(0)) @ directions).var(0)
        assert bool((spread > 0.5).all()), spread  # in every direction, across the slab too
        assert mean_pairwise_distance(codes) > mean_pairwise_distance(uniform[:500])
        assert float((codes.mean(0) - uniform.mean(0)).norm()) < 0.3


def test_no_sample_comes_twice():
    codes, _, _ = sampled(0.9, 1.1)  # few corners are left there
    assert len(codes.unique(dim=0)) == len(codes)


def test_samples_descend_from_all_seeds():
    _, places, _ = sampled(0.0, 0.2)
    assert places.bincount().tolist() == [50] * 10 or places.unique().numel() == 10


def test_it_ends_and_the_same_seed_walks_the_same_way():
    codes, _, n_steps = sampled(0.0, 0.2, n=10_000, max_steps=15)
    assert n_steps == 15
    assert len(codes) <= 150
    again, _, _ = sampled(0.0, 0.2, n=10_000, max_steps=15)
    assert torch.equal(codes, again)
