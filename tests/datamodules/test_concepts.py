import pickle

import pytest
import torch

from lightning_interp._lightning import LightningModule, Trainer
from lightning_interp.datamodules.concepts import ConceptDataModule
from lightning_interp.datasets import ToyConcepts, ToyScenes


class ToyConceptsDataModule(ConceptDataModule):
    def read(self, split):
        n = {"train": 12, "val": 6, "test": 4}[split]
        return ToyConcepts(ToyScenes(n, split="train" if split == "train" else "test"))


def ready(**options):
    data = ToyConceptsDataModule(**options)
    data.prepare_data()
    data.setup()
    return data


def scenes(loader):
    return [target["scene"] for _, targets in loader for target in targets]


def test_splits_and_loaders():
    data = pickle.loads(pickle.dumps(ready(batch_size=4)))
    assert (len(data.train_dataset), len(data.val_dataset)) == (12, 6)
    assert data.test_dataset is data.val_dataset
    assert data.concepts == ToyScenes.concepts
    images, targets = next(iter(data.val_dataloader()))
    assert (images.shape, [target["part"].shape for target in targets]) == ((4, 3, 32, 32), [(32, 32)] * 4)
    in_order = [data.val_dataset[i][1]["scene"] for i in range(6)]
    assert scenes(data.val_dataloader()) == scenes(data.test_dataloader()) == scenes(data.predict_dataloader())
    assert scenes(data.val_dataloader()) == in_order


def test_a_test_split_when_there_is_one():
    data = ready(test_split="test")
    assert len(data.test_dataset) == 4
    before = data.test_dataset
    data.setup("test")
    assert data.test_dataset is before


def test_order_is_decided_by_the_seed_and_epoch():
    def two_epochs(seed):
        loader = ready(seed=seed, batch_size=5).train_dataloader()
        return scenes(loader), scenes(loader)

    before = torch.get_rng_state()
    first, second = two_epochs(0)
    assert (first, second) == two_epochs(0)
    assert first != second != two_epochs(1)[1]
    assert sorted(first) == sorted(second)
    assert torch.equal(before, torch.get_rng_state())


class Counter(LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = {"train": 0, "val": 0}

    def training_step(self, batch, batch_idx):
        self.seen["train"] += len(batch[1])
        return (self.weight - batch[0].mean()) ** 2

    def validation_step(self, batch, batch_idx):
        self.seen["val"] += len(batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def test_a_trainer_takes_it():
    off = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "num_sanity_val_steps": 0}
    module = Counter()
    Trainer(accelerator="cpu", max_epochs=2, enable_model_summary=False, log_every_n_steps=1, **off).fit(
        module, datamodule=ToyConceptsDataModule(batch_size=5, num_workers=1)
    )
    assert module.seen == {"train": 24, "val": 12}


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"batch_size": 0}, ValueError),
        ({"num_workers": 0.5}, TypeError),
        ({"seed": -1}, ValueError),
        ({"test_split": "train"}, ValueError),
    ],
)
def test_bad_options_are_named(options, error):
    (name,) = options
    with pytest.raises(error, match=f"The `{name}` parameter of `ToyConceptsDataModule` must be"):
        ToyConceptsDataModule(**options)
