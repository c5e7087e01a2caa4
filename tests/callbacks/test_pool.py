from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pytorch_lightning.plugins import Precision
from pytorch_lightning.plugins.precision import HalfPrecision
from torch.utils.data import DataLoader, Subset, TensorDataset

from lightning_interp.callbacks.pool import (
    PoolDataModule,
    check_pool,
    overlap_with_labeled,
    reloads_every_epoch,
    shard_batches,
    true_targets,
)
from lightning_interp.datamodules import ToyScenesDataModule
from lightning_interp.datasets import LabeledSubset, UnlabeledPool
from tests.callbacks.conftest import ColourData, Net, PoolData, quiet_trainer, toy_dataset

N = 7


def pool_of(items, **attributes):
    data = PoolData()
    data.unlabeled_dataset = items
    for name, value in attributes.items():
        setattr(data, name, value)
    return SimpleNamespace(datamodule=data)


def training(loader, precision=None):
    """As much of a Trainer as loading needs."""
    return SimpleNamespace(train_dataloader=loader, precision_plugin=precision or Precision())


class TestCheckPool:
    def test_datamodules_of_this_package_and_plain_ones(self):
        for data in (PoolData(), ColourData()):
            data.setup("fit")
            assert check_pool(SimpleNamespace(datamodule=data)) is data
            assert isinstance(data, PoolDataModule)

    @pytest.mark.parametrize("index", [0, torch.tensor(0), np.int64(0)])
    def test_an_index_is_any_kind_of_int(self, index):
        check_pool(pool_of([(torch.zeros(3, 8, 8), index)]))

    def test_no_datamodule(self):
        with pytest.raises(TypeError, match=r"Got none, without labeled_dataset, unlabeled_dataset, set_pseudo_labels"):
            check_pool(SimpleNamespace(datamodule=None))

    def test_one_that_cannot_take_pseudo_labels(self):
        data = SimpleNamespace(labeled_dataset=[], unlabeled_dataset=[])
        with pytest.raises(TypeError, match=r"Got SimpleNamespace, without set_pseudo_labels\. Pass one to"):
            check_pool(SimpleNamespace(datamodule=data))

    def test_a_pool_that_was_not_asked_for(self):
        data = ToyScenesDataModule(n_train=24, n_test=12)
        data.setup("fit")
        with pytest.raises(ValueError, match=r"ToyScenesDataModule must hold images. Got none.\s+Pass `labeled_size`"):
            check_pool(SimpleNamespace(datamodule=data))

    def test_an_empty_pool(self):
        with pytest.raises(ValueError, match=r"`unlabeled_dataset` of PoolData must hold images\. Got none"):
            check_pool(pool_of([]))

    @pytest.mark.parametrize(
        ("item", "shown"),
        [
            (torch.zeros(3, 8, 8), r"\(Tensor\)"),
            ((torch.zeros(3, 8, 8),), r"\(Tensor\)"),
            ((torch.zeros(3, 8, 8), 4), r"\(Tensor, 4\)"),  # a label, no index
            ((torch.zeros(3, 8, 8), 0.0), r"\(Tensor, float\)"),
            ((torch.zeros(3, 8, 8), "a.png"), r"\(Tensor, str\)"),
        ],
    )
    def test_items_without_an_index(self, item, shown):
        with pytest.raises(ValueError, match=rf"Got {shown} first. Wrap the images in `.*UnlabeledPool`"):
            check_pool(pool_of([item]))


class TestOverlap:
    def overlap(self, labeled, pool):
        return overlap_with_labeled(SimpleNamespace(labeled_dataset=labeled, unlabeled_dataset=pool)).tolist()

    def test_positions_in_the_pool_of_images_that_are_labelled(self):
        images = ColourData().read("train")
        pool = UnlabeledPool(images, indices=[9, 1, 5, 2])
        assert self.overlap(LabeledSubset(images, indices=[1, 2, 3]), pool) == [1, 3]
        assert self.overlap(Subset(images, [5, 6]), pool) == [2]
        assert self.overlap(images, pool) == [0, 1, 2, 3]
        assert self.overlap(LabeledSubset(images, indices=[0]), pool) == []

    def test_other_images_under_the_same_numbers_are_no_overlap(self):
        images, others = ColourData().read("train"), ColourData().read("train")
        assert self.overlap(LabeledSubset(images), UnlabeledPool(others)) == []

    def test_the_parts_of_a_datamodule_never_overlap(self):
        data = ColourData()
        data.setup("fit")
        assert len(overlap_with_labeled(data)) == 0


class TestShardBatches:
    def test_items_by_position_in_order_in_batches_of_the_training_size(self):
        images = toy_dataset(12).tensors[0]
        pool = TensorDataset(images, torch.arange(12))
        loader = DataLoader(pool, batch_size=3, shuffle=True)
        positions = [8, 1, 4, 11, 0, 2, 7]
        batches = list(shard_batches(pool, positions, training(loader), Net()))
        assert [len(found) for found, _ in batches] == [3, 3, 1]
        assert torch.cat([index for _, index in batches]).tolist() == positions
        assert torch.equal(torch.cat([found for found, _ in batches]), images[positions])

    def test_with_workers_and_the_collate_function_of_training(self):
        def collate(items):
            images, index = zip(*items, strict=True)
            return torch.stack(images) + 1, list(index), "and more"

        pool = TensorDataset(torch.zeros(N, 3, 8, 8), torch.arange(N))
        loader = DataLoader(pool, batch_size=4, num_workers=2, collate_fn=collate)
        batches = list(shard_batches(pool, range(N), training(loader), Net()))
        assert [len(index) for _, index in batches] == [4, 3]
        assert all((images == 1).all() for images, _ in batches)

    def test_in_the_precision_of_training(self):
        pool = TensorDataset(torch.zeros(N, 3, 8, 8), torch.arange(N))
        trainer = training(DataLoader(pool, batch_size=4), HalfPrecision("bf16-true"))
        assert all(images.dtype == torch.bfloat16 for images, _ in shard_batches(pool, range(N), trainer, Net()))

    def test_images_of_different_sizes_come_one_by_one(self):
        pool = [(torch.zeros(3, 4 + i, 5), i) for i in range(N)]
        loader = DataLoader(pool, batch_size=4, collate_fn=lambda items: tuple(zip(*items, strict=True)))
        batches = list(shard_batches(pool, range(N), training(loader), Net()))
        assert [([image.shape[1] for image in images], index) for images, index in batches] == [
            ([4 + i], [i]) for i in range(N)
        ]

    def test_a_loader_without_a_batch_size(self):
        pool = TensorDataset(torch.zeros(N, 3, 8, 8), torch.arange(N))
        batches = torch.utils.data.BatchSampler(range(N), 2, drop_last=False)
        loader = DataLoader(pool, batch_sampler=batches)
        found = list(shard_batches(pool, range(N), training(loader), Net()))
        assert torch.cat([index for _, index in found]).tolist() == list(range(N))


class TestReloads:
    @pytest.mark.parametrize(("every", "answer"), [(0, False), (1, True), (2, False)])
    def test_a_single_process_may_go_without(self, every, answer):
        assert reloads_every_epoch(quiet_trainer(reload_dataloaders_every_n_epochs=every)) is answer

    @pytest.mark.parametrize("every", [0, 2])
    def test_several_processes_may_not(self, every):
        trainer = SimpleNamespace(world_size=2, reload_dataloaders_every_n_epochs=every)
        with pytest.raises(ValueError, match=r"Set `Trainer\(reload_dataloaders_every_n_epochs=1\)`"):
            reloads_every_epoch(trainer)
        trainer.reload_dataloaders_every_n_epochs = 1
        assert reloads_every_epoch(trainer)


@pytest.mark.parametrize("truth", [[2, 0, 1], torch.tensor([2, 0, 1]), np.array([2, 0, 1])])
def test_the_truth_may_be_of_any_kind_or_unknown(truth):
    items = UnlabeledPool([(torch.zeros(3, 8, 8),)] * 3)
    data = pool_of(items).datamodule
    assert true_targets(data) is None
    items.true_targets = truth
    assert true_targets(data).tolist() == [2, 0, 1]
