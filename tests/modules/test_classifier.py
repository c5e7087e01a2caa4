import pytest
import torch
from pytorch_lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_interp.modules import Classifier


def loader(n=32):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 4, generator=generator)
    return DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), batch_size=8)


def trainer(**options):
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(accelerator="cpu", **{**quiet, "max_epochs": 1, **options})


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_learns_and_logs(optimizer):
    torch.manual_seed(0)
    module = Classifier(nn.Linear(4, 2), optimizer=optimizer, lr=0.1, schedule="cosine")
    run = trainer(max_epochs=10)
    run.fit(module, loader(), loader())
    assert run.callback_metrics["train/accuracy"] > 0.85
    assert {"train/loss", "val/loss", "val/accuracy"} <= set(run.callback_metrics)
    (result,) = run.test(module, loader(), verbose=False)
    assert result["test/accuracy"] > 0.85
    assert run.optimizers == [] or run.optimizers[0].param_groups[0]["lr"] == pytest.approx(0, abs=1e-8)


def test_accuracy_of_an_epoch_is_weighted_by_batch_size():
    module = Classifier(nn.Linear(4, 2))
    nn.init.zeros_(module.net.weight)
    module.net.bias.data = torch.tensor([1.0, 0.0])  # always says class 0
    labels = torch.tensor([0, 0, 0, 0, 1])
    (result,) = trainer().test(
        module, DataLoader(TensorDataset(torch.zeros(5, 4), labels), batch_size=4), verbose=False
    )
    assert result["test/accuracy"] == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"optimizer": "adm"}, "The `optimizer` parameter of `Classifier` must be one of .* Did you mean 'adam'"),
        ({"schedule": "step"}, "The `schedule` parameter"),
        ({"lr": -1.0}, r"The `lr` parameter of `Classifier` must be a number in \[0, inf\). Got -1.0"),
        ({"label_smoothing": 2}, r"must be a number in \[0, 1\]. Got 2"),
    ],
)
def test_bad_options_are_named(options, text):
    with pytest.raises(ValueError, match=text):
        Classifier(nn.Linear(4, 2), **options)
