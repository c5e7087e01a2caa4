"""Loaders that depend on nothing but the seed and the epoch, through the smallest datamodule there can be."""

import pytest
import torch

from lightning_interp._lightning import LightningModule
from lightning_interp.datamodules.seeded import SeededDataModule
from tests.callbacks.conftest import quiet_trainer


class Numbers(SeededDataModule):
    """The numbers from 0 on."""

    def __init__(self, n=12, **options):
        super().__init__(**{"batch_size": 4, "num_workers": 0, "seed": 0, **options})
        self.train_dataset, self.test_dataset = range(n), range(100, 100 + n)


class Lists(Numbers):
    collate = staticmethod(list)


class Watcher(LightningModule):
    """Remembers what it is trained on."""

    def __init__(self):
        super().__init__()
        self.weight, self.seen = torch.nn.Parameter(torch.zeros(())), []

    def training_step(self, batch, batch_idx):
        self.seen += [batch.tolist()]
        self.draws = self.trainer.datamodule._step_generator().initial_seed()
        return self.weight

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def order(data):
    return [n for batch in data.train_dataloader() for n in batch.tolist()]


def test_the_order_follows_the_seed_and_the_epoch():
    assert order(Numbers()) == order(Numbers()) != order(Numbers(seed=1))
    assert sorted(order(Numbers())) == list(range(12))
    loader = Numbers().train_dataloader()
    assert [b.tolist() for b in loader] != [b.tolist() for b in loader]


def test_test_and_prediction_are_in_order_and_the_pool_comes_first():
    data = Numbers(n=4)
    assert (
        next(iter(data.test_dataloader())).tolist()
        == next(iter(data.predict_dataloader())).tolist()
        == [*range(100, 104)]
    )
    data.unlabeled_dataset = range(7, 9)
    assert next(iter(data.predict_dataloader())).tolist() == [7, 8]


def test_a_subclass_says_how_batches_are_made():
    assert next(iter(Lists(n=4).test_dataloader())) == [100, 101, 102, 103]


def test_the_global_random_state_is_left_alone():
    state = torch.get_rng_state()
    order(Numbers())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_resumed_run_goes_on_in_the_same_order(tmp_path, num_workers):
    whole, first, second = Watcher(), Watcher(), Watcher()
    quiet_trainer(max_epochs=3).fit(whole, datamodule=Numbers(num_workers=num_workers))
    begun = quiet_trainer(max_epochs=2)
    begun.fit(first, datamodule=Numbers(num_workers=num_workers))
    begun.save_checkpoint(tmp_path / "run.ckpt")
    quiet_trainer(max_epochs=3).fit(
        second, datamodule=Numbers(num_workers=num_workers), ckpt_path=tmp_path / "run.ckpt", weights_only=False
    )
    assert first.seen + second.seen == whole.seen
    assert second.draws == whole.draws


def test_nothing_is_drawn_outside_training():
    assert Numbers()._step_generator() is None


@pytest.mark.parametrize(("option", "value"), [("batch_size", 0), ("num_workers", -1), ("seed", -1)])
def test_options_out_of_range(option, value):
    with pytest.raises(ValueError, match=f"`{option}` parameter of `Numbers`"):
        Numbers(**{option: value})
