"""What all datamodules share: loaders that depend on nothing but the seed, the epoch and the step."""

from typing import Any, ClassVar

import torch
from torch.utils.data import DataLoader

from lightning_interp._checks import check_int
from lightning_interp._lightning import LightningDataModule
from lightning_interp.datamodules.sampler import EpochSampler


class SeededDataModule(LightningDataModule):
    """Loads ``train_dataset`` shuffled by (seed, epoch), and ``test_dataset`` in order.

    The order is the same on every machine and after a resume, and the global random state is left alone.

    Args:
        batch_size: images per batch.
        num_workers: loader processes.
        seed: decides everything random.

    Raises:
        ValueError: an option out of range.
        TypeError: an option of another type.
    """

    collate: ClassVar[Any] = None  # of a batch; torch's own when None
    train_dataset: Any
    test_dataset: Any

    def __init__(self, *, batch_size: int, num_workers: int, seed: int) -> None:
        super().__init__()
        owner = type(self).__name__
        self.batch_size = check_int(batch_size, "batch_size", owner)
        self.num_workers = check_int(num_workers, "num_workers", owner, low=0)
        self.seed = check_int(seed, "seed", owner, low=0)

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled by (seed, epoch)."""
        sampler = EpochSampler(self.train_dataset, seed=self.seed)
        if self.trainer is not None:  # workers ask for the first batches before the Trainer announces the epoch
            progress: Any = self.trainer.fit_loop.epoch_progress
            sampler.set_epoch(progress.current.processed)
        return self._loader(self.train_dataset, sampler=sampler)

    def test_dataloader(self) -> DataLoader[Any]:
        """The test images in order."""
        return self._loader(self.test_dataset)

    def predict_dataloader(self) -> DataLoader[Any]:
        """The pool where there is one, else the test images."""
        return self._loader(getattr(self, "unlabeled_dataset", None) or self.test_dataset)

    def _loader(self, dataset: Any, **options: Any) -> DataLoader[Any]:
        # a loader draws the seed of its workers when it starts: from here, or it would take it from the global state
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            collate_fn=type(self).collate,
            generator=self._generator(4),
            **options,
        )

    def _generator(self, stream: int) -> torch.Generator:
        """For one of up to eight things that are drawn."""
        return torch.Generator().manual_seed((self.seed * 8 + stream) % 2**63)

    def _step_generator(self) -> torch.Generator | None:
        """In training, a generator that depends on step and rank alone: the same after a resume; else None."""
        trainer = self.trainer
        if trainer is None or not trainer.training:
            return None
        step = trainer.fit_loop.total_batch_idx * trainer.world_size + trainer.global_rank
        return torch.Generator().manual_seed((self.seed * 1_000_003 + step) % 2**63)
