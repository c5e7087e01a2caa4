import pickle
from itertools import chain

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from lightning_interp.datamodules import ClassificationDataModule, ToyScenesDataModule
from lightning_interp.datasets import GrowingDataset, ImageTensors


class Numbered(ClassificationDataModule):
    """Train image i is filled with i, test image i with 200 + i; labels are i % 4."""

    classes = ("a", "b", "c", "d")
    mean, std = (0.0,), (1 / 255,)

    def read(self, split):
        n, first = (120, 0) if split == "train" else (20, 200)
        pixels = torch.arange(first, first + n, dtype=torch.uint8)[:, None, None, None].expand(n, 1, 8, 8)
        return ImageTensors(pixels.contiguous(), torch.arange(n) % 4)


def ready(**options):
    data = Numbered(**options)
    data.setup()
    return data


def numbers(loader):
    return [round(v.max().item()) for x, _ in loader for v in x]


class Tiny(pl.LightningModule):
    """Records the batches it gets."""

    def __init__(self):
        super().__init__()
        self.layer, self.seen, self.order = nn.LazyLinear(12), [], []

    def forward(self, x):
        return self.layer(x.flatten(1))

    def training_step(self, batch, batch_idx):
        self.seen.append(batch[0].clone())
        self.order.append([round(v.max().item()) for v in batch[0]])
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def test_step(self, batch, batch_idx):
        self.log("test", self(batch[0]).mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-9)


class Validated(Tiny):
    def validation_step(self, batch, batch_idx):
        self.log("val", self(batch[0]).mean())


def fit(data, model=None, **options):
    model = model or Tiny()
    data.setup()
    model(next(iter(data.test_dataloader()))[0])  # initialises the lazy layer
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    trainer = pl.Trainer(**{"max_epochs": 2, "enable_model_summary": False, **quiet, **options})
    trainer.fit(model, datamodule=data)
    return model, trainer


def test_defaults_take_everything_and_hold_nothing_out():
    data = ready()
    assert (len(data.train_dataset), len(data.test_dataset)) == (120, 20)
    assert data.n_classes == 4
    assert data.val_dataset is data.unlabeled_dataset is None
    assert torch.equal(data.train_dataset.targets, data.train_dataset.true_targets)
    assert numbers(data.test_dataloader()) == list(range(200, 220))
    assert sorted(numbers(data.train_dataloader())) == list(range(120))


@pytest.mark.parametrize(
    ("options", "train", "val"),
    [
        ({"train_size": 40}, 40, 0),
        ({"train_size": 0.5}, 60, 0),
        ({"val_size": 20}, 100, 20),
        ({"val_size": 0.25, "train_size": 0.5}, 45, 30),
    ],
)
def test_sizes_are_balanced_and_disjoint(options, train, val):
    data = ready(**options)
    assert len(data.train_dataset) == train
    counts = data.train_dataset.true_targets.bincount()
    assert counts.max() - counts.min() <= 1
    held_out = data.val_dataset.indices.tolist() if val else []
    assert len(held_out) == val
    assert not set(held_out) & set(data.train_dataset.indices.tolist())


def test_label_noise_is_the_same_image_by_image_whatever_the_sizes():
    full, part = ready(label_noise=0.5), ready(label_noise=0.5, train_size=40, val_size=20, labeled_size=10)
    assert 0.25 < (full.train_dataset.targets != full.train_dataset.true_targets).float().mean() < 0.5
    assert torch.equal(full.train_dataset.targets[part.labeled_dataset.indices], part.labeled_dataset.targets)
    assert torch.equal(full.train_dataset.targets[part.val_dataset.indices], part.val_dataset.targets)
    assert torch.equal(full.train_dataset.true_targets, torch.arange(120) % 4)
    assert torch.equal(full.test_dataset.targets, torch.arange(20) % 4)
    for x, y in full.train_dataloader():
        assert torch.equal(y, full.train_dataset.targets[x[:, 0, 0, 0].round().long()])


def test_noise_kind():
    data = ready(label_noise=1.0, noise_kind="different")
    assert (data.train_dataset.targets != data.train_dataset.true_targets).all()


def test_seed_decides_everything():
    options = {"train_size": 60, "labeled_size": 20, "label_noise": 0.3, "val_size": 8}
    first, second, other = ready(**options), ready(**options), ready(**options, seed=1)
    for name in ("labeled_dataset", "unlabeled_dataset", "val_dataset"):
        assert torch.equal(getattr(first, name).indices, getattr(second, name).indices)
        assert not torch.equal(getattr(first, name).indices, getattr(other, name).indices)
    assert torch.equal(first.labeled_dataset.targets, second.labeled_dataset.targets)
    assert numbers(first.train_dataloader()) == numbers(second.train_dataloader())
    noise = [ready(label_noise=0.5, seed=seed).train_dataset.targets for seed in (0, 1)]
    assert not torch.equal(*noise)


def test_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    data = ready(label_noise=0.5, labeled_size=20)
    numbers(data.train_dataloader())
    numbers(data.test_dataloader())
    assert torch.equal(before, torch.get_rng_state())


def test_setup_twice_keeps_pseudo_labels():
    data = ready(labeled_size=20)
    data.set_pseudo_labels([3], [1])
    data.setup("fit")
    assert len(data.train_dataset) == 21


def test_pool_protocol():
    data = ready(labeled_size=0.25)
    assert len(data.labeled_dataset) == 30
    assert sorted(data.labeled_dataset.targets.bincount().tolist()) == [7, 7, 8, 8]
    both = data.labeled_dataset.indices.tolist() + data.unlabeled_dataset.indices.tolist()
    assert sorted(both) == list(range(120))
    x, index = data.unlabeled_dataset[7]
    assert index == 7
    assert round(x.max().item()) % 4 == data.unlabeled_dataset.true_targets[7]
    assert isinstance(data.train_dataset, GrowingDataset)
    data.set_pseudo_labels([7, 9], torch.tensor([3, 0]))
    assert data.train_dataset.targets[-2:].tolist() == [3, 0]
    assert len(numbers(data.train_dataloader())) == 32
    assert len(numbers(data.predict_dataloader())) == 90


def test_pool_errors():
    with pytest.raises(RuntimeError, match="no pool to take images from"):
        ready().set_pseudo_labels([0], [0])
    with pytest.raises(RuntimeError, match="call `setup`"):
        Numbered(labeled_size=4).set_pseudo_labels([0], [0])
    with pytest.raises(ValueError, match=r"`labels` parameter of `set_pseudo_labels` must be in \[0, 3\]. Got \[4\]"):
        ready(labeled_size=4).set_pseudo_labels([0], [4])


@pytest.mark.parametrize("reload", [0, 1])
@pytest.mark.parametrize("workers", [0, 2])
def test_trainer_sees_pseudo_labels(reload, workers):
    class Grow(pl.Callback):
        def on_train_epoch_end(self, trainer, module):
            trainer.datamodule.set_pseudo_labels(range(40), [0] * 40)

    data = Numbered(labeled_size=40, batch_size=20, num_workers=workers)
    model, _ = fit(data, callbacks=[Grow()], reload_dataloaders_every_n_epochs=reload)
    labeled, pool = set(data.labeled_dataset.indices.tolist()), set(data.unlabeled_dataset.indices[:40].tolist())
    first, second = list(chain(*model.order[:2])), list(chain(*model.order[2:]))
    assert set(first) == labeled
    assert len(set(second)) == len(second) == (80 if reload else 40)
    assert set(second) & pool
    assert set(second) <= labeled | pool


def test_trainer_fit_validate_test_and_no_validation_set():
    fit(Numbered(batch_size=40))  # no warning: a plain module has no validation step
    with pytest.warns(UserWarning, match="Skipping val loop"):
        _, trainer = fit(Numbered(batch_size=40), Validated())
    assert "val" not in trainer.callback_metrics
    model, trainer = fit(Numbered(batch_size=40, val_size=20), Validated())
    assert "val" in trainer.callback_metrics
    trainer.test(model, datamodule=ready(batch_size=10), verbose=False)
    assert "test" in trainer.callback_metrics
    fit(Numbered(), fast_dev_run=True)


def test_order_is_that_of_the_epoch_also_after_a_resume(tmp_path):
    whole, _ = fit(Numbered(batch_size=30, augment=True), max_epochs=4)
    _, trainer = fit(Numbered(batch_size=30, augment=True), max_epochs=2)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    model, data = Tiny(), Numbered(batch_size=30, augment=True)
    data.setup()
    model(next(iter(data.test_dataloader()))[0])
    trainer = pl.Trainer(
        max_epochs=4, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        accelerator="cpu",
    )  # fmt: skip
    trainer.fit(model, datamodule=data, ckpt_path=tmp_path / "x.ckpt")
    assert model.order == whole.order[8:]
    assert all(torch.equal(a, b) for a, b in zip(model.seen, whole.seen[8:], strict=True))


def test_augment_touches_training_batches_in_a_trainer_only():
    plain, _ = fit(Numbered(batch_size=30), max_epochs=1)
    crops, _ = fit(Numbered(batch_size=30, augment=True), max_epochs=1)
    again, _ = fit(Numbered(batch_size=30, augment=True), max_epochs=1)
    other, _ = fit(Numbered(batch_size=30, augment=True, seed=1), max_epochs=1)
    assert plain.order == crops.order
    assert not torch.equal(plain.seen[0], crops.seen[0])
    assert torch.equal(crops.seen[0], again.seen[0])
    assert crops.order != other.order
    assert set(numbers(ready(augment=True).train_dataloader())) == set(range(120))
    batch = next(iter(ready(augment=True).test_dataloader()))
    assert ready(augment=True).on_after_batch_transfer(batch, 0) is batch


@pytest.mark.parametrize("options", [{}, {"labeled_size": 40}, {"augment": True, "label_noise": 0.5}])
def test_workers_change_nothing(options):
    loaders = [ready(num_workers=workers, **options).train_dataloader() for workers in (0, 2)]
    for _ in range(2):
        batches = [[torch.cat(parts) for parts in zip(*loader, strict=True)] for loader in loaders]
        assert all(torch.equal(a, b) for a, b in zip(*batches, strict=True))
    assert loaders[1].persistent_workers


def test_pickle_before_and_after_setup():
    assert len(_setup(pickle.loads(pickle.dumps(Numbered(labeled_size=8)))).train_dataset) == 8
    assert len(pickle.loads(pickle.dumps(ready(labeled_size=8))).train_dataset) == 8


def _setup(data):
    data.setup()
    return data


def test_moments_are_estimated_where_unknown():
    class Unknown(Numbered):
        mean = std = None

    data = _setup(Unknown())
    pixels = torch.arange(120.0) / 255
    assert data.mean == pytest.approx([pixels.mean().item()], rel=1e-4)
    assert data.std == pytest.approx([pixels.std().item()], rel=1e-2)
    images = torch.stack([x for x, _ in data.train_dataset])
    assert images.mean().abs() < 1e-3
    assert torch.allclose(data.normalize.invert(images[:, 0, 0, 0]).flatten(), pixels, atol=1e-5)


def test_constant_channel_is_not_divided():
    class Black(Numbered):
        mean = std = None

        def read(self, split):
            return ImageTensors(torch.zeros(8, 1, 4, 4, dtype=torch.uint8), torch.arange(8) % 4)

    assert _setup(Black()).std == [1.0]


def test_distributed_sampler_replaces_ours(tmp_path):
    """What Lightning does under DDP: asked on a loader of ours, it shards, shuffles, and follows the epoch."""
    from pytorch_lightning.utilities.data import _is_dataloader_shuffled, _update_dataloader
    from torch.utils.data import DistributedSampler

    loader = ready(batch_size=10).train_dataloader()
    assert _is_dataloader_shuffled(loader)
    shards = []
    for rank in range(2):
        sampler = DistributedSampler(loader.dataset, num_replicas=2, rank=rank, seed=0)
        shards.append(numbers(_update_dataloader(loader, sampler)))
    assert sorted(shards[0] + shards[1]) == list(range(120))


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"batch_size": 0}, ValueError, r"`batch_size` parameter of `Numbered` must be an int in \[1, inf\). Got 0"),
        ({"num_workers": -1}, ValueError, "`num_workers`"),
        ({"label_noise": 1.5}, ValueError, "`label_noise`"),
        ({"noise_kind": "unifrm"}, ValueError, "Did you mean 'uniform'"),
        ({"seed": -1}, ValueError, "`seed`"),
        (
            {"train_size": 121},
            ValueError,
            r"`train_size` parameter of `Numbered` must be an int in \[1, 120\]. Got 121",
        ),
        ({"train_size": 0}, ValueError, "`train_size`"),
        ({"train_size": 1.5}, ValueError, r"`train_size` .* a number in \[0, 1\]"),
        ({"train_size": "all"}, TypeError, "`train_size`"),
        ({"val_size": 120}, ValueError, "`val_size`"),
        ({"val_size": 0.001}, ValueError, "`val_size`"),
        ({"labeled_size": 0}, ValueError, "`labeled_size`"),
    ],
)
def test_bad_options(options, error, match):
    with pytest.raises(error, match=match):
        ready(**options)


def test_a_number_of_images_may_come_as_a_float():
    data = ToyScenesDataModule(n_train=48, n_test=12, labeled_size=36.0, train_size=1.0)
    data.setup()
    assert len(data.labeled_dataset) == 36
