"""Shuffling that an interrupted run finds again."""

from collections.abc import Iterator, Sized

import torch
from torch.utils.data import RandomSampler


class EpochSampler(RandomSampler):
    """Shuffles by (seed, epoch) and touches no global random state.

    The Trainer announces every epoch through ``set_epoch``, also after a resume, so that the order of epoch 7 is the
    same with and without an interruption. Outside a Trainer every pass counts as an epoch. A ``RandomSampler`` by
    type: Lightning replaces those by distributed ones under DDP.

    Args:
        data: what to shuffle; its length may change between epochs.
        seed: seed of the order.

    >>> sampler = EpochSampler(range(100), seed=0)
    >>> first, second = list(sampler), list(sampler)
    >>> sampler.set_epoch(0)
    >>> first == list(sampler), first == second
    (True, False)
    """

    def __init__(self, data: Sized, *, seed: int) -> None:
        super().__init__(data)
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) % 2**63)
        self.epoch += 1
        yield from torch.randperm(len(self.data_source), generator=generator).tolist()
