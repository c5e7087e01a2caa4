import pickle

import torch
from torch.utils.data import RandomSampler

from lightning_interp.datamodules.sampler import EpochSampler


def test_every_pass_is_another_permutation():
    sampler = EpochSampler(range(50), seed=0)
    passes = [list(sampler) for _ in range(3)]
    assert all(sorted(order) == list(range(50)) for order in passes)
    assert passes[0] != passes[1] != passes[2]


def test_epoch_and_seed_decide():
    first, again = EpochSampler(range(50), seed=0), EpochSampler(range(50), seed=0)
    orders = [list(first) for _ in range(4)]
    again.set_epoch(3)
    assert list(again) == orders[3]
    assert list(EpochSampler(range(50), seed=1)) != orders[0]
    assert list(pickle.loads(pickle.dumps(EpochSampler(range(50), seed=0)))) == orders[0]


def test_follows_a_growing_dataset():
    data = [0, 1, 2]
    sampler = EpochSampler(data, seed=0)
    data.append(3)
    assert len(sampler) == 4
    assert sorted(sampler) == [0, 1, 2, 3]


def test_lightning_knows_it_shuffles_and_the_global_state_is_left_alone():
    before = torch.get_rng_state()
    sampler = EpochSampler(range(5), seed=0)
    list(sampler)
    assert isinstance(sampler, RandomSampler)
    assert torch.equal(before, torch.get_rng_state())
