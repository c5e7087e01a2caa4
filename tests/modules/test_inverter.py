import copy

import pytest
import torch
from pytorch_lightning import LightningDataModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_interp.datamodules import ToyScenesDataModule
from lightning_interp.hooks import OUTPUT
from lightning_interp.models import SVHNCNN
from lightning_interp.modules.inverter import Inverter
from tests.callbacks.processes import run_code
from tests.modules.test_classifier import trainer


class Net(nn.Sequential):
    """Everything that must not change: batch norm, dropout, an in-place layer in front."""

    def __init__(self):
        super().__init__(
            nn.ReLU(inplace=True),
            nn.Conv2d(3, 6, 3, stride=2, padding=1),
            nn.BatchNorm2d(6),
            nn.Dropout(),
            nn.Flatten(),
            nn.Linear(6 * 4 * 5, 7),
        )


class Images(LightningDataModule):
    """Unlabelled images, shuffled by the global random state."""

    def __init__(self, n=24, batch_size=8):
        super().__init__()
        images = torch.randn(n, 3, 8, 10, generator=torch.Generator().manual_seed(0))
        self.data, self.batch_size = TensorDataset(images), batch_size

    def train_dataloader(self):
        return DataLoader(self.data, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader([image for (image,) in self.data], batch_size=self.batch_size)  # x alone

    test_dataloader = predict_dataloader = val_dataloader


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


def test_a_rotation_of_the_colours_is_undone():
    """Planted: a 1x1 convolution with orthogonal weights loses nothing."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Flatten(), nn.Linear(768, 2))
    nn.init.orthogonal_(net[0].weight)
    data = ToyScenesDataModule(n_train=240, n_test=60, size=16, batch_size=20)
    inverter = Inverter(net, "0", width=8, lr=0.01)
    run = trainer(max_epochs=40)
    run.fit(inverter, datamodule=data)
    (result,) = run.test(inverter, datamodule=data, verbose=False)
    assert result["test/reconstruction_error"] < 0.01, "of images of variance 1"


@pytest.mark.slow
def test_deep_layers_forget_more():
    torch.manual_seed(0)
    net, errors = SVHNCNN(n_classes=12, width=4), []
    data = ToyScenesDataModule(n_train=600, n_test=200, batch_size=20)
    for layer in ("features.1", "features.7", "features.15", OUTPUT):
        run = trainer(max_epochs=4)
        inverter = Inverter(net, layer, width=8)
        run.fit(inverter, datamodule=data)
        errors.append(run.test(inverter, datamodule=data, verbose=False)[0]["test/reconstruction_error"])
    assert errors == sorted(errors)
    assert errors[0] < 0.25
    assert errors[-1] > 0.6


@pytest.mark.parametrize("layer", ["1", "2", "5", OUTPUT])
def test_the_network_is_borrowed_and_the_decoder_learns(net, layer):
    net.train()
    before = copy.deepcopy(net.state_dict())
    torch.manual_seed(1)
    inverter = Inverter(net, layer, width=4)
    run = trainer(max_epochs=1)
    run.fit(inverter, datamodule=Images())
    assert {"train/reconstruction_error", "val/reconstruction_error"} <= set(run.callback_metrics)
    first = run.callback_metrics["val/reconstruction_error"]
    run = trainer(max_epochs=15)
    run.fit(inverter, datamodule=Images())
    assert run.callback_metrics["val/reconstruction_error"] < first
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(module.training for module in net.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())
    assert not any(module._forward_hooks for module in net.modules())
    assert {name.split(".")[0] for name, _ in inverter.named_parameters()} == {"decoder"}


def test_the_error_is_the_mean_over_pixels_and_images(net):
    images = torch.randn(5, 3, 8, 10)
    inverter = Inverter(net, "2", image_shape=(3, 8, 10), width=4)
    inverter.setup("fit")
    (result,) = trainer().test(inverter, DataLoader(TensorDataset(images, torch.arange(5)), 4), verbose=False)
    with torch.no_grad():
        expected = sum(((inverter(image[None]) - image) ** 2).sum().item() for image in images) / images.numel()
    assert result["test/reconstruction_error"] == pytest.approx(expected, rel=1e-5)


def test_features_are_those_of_a_network_in_eval_mode_and_images_stay(net):
    net.train()
    inverter, images = Inverter(net, "3"), torch.randn(2, 3, 8, 10)
    before = images.clone()
    found = inverter.features(images.requires_grad_())
    assert not found.requires_grad
    assert torch.equal(images.detach(), before), "a layer that works in place reached the images"
    net.eval()
    torch.testing.assert_close(found, nn.Sequential(*list(net)[:4])(before.clone()))


def test_the_size_of_features_is_taken_out_and_setup_draws_nothing(net):
    net[1].weight.data.mul_(1000)
    state = torch.get_rng_state()
    images = Inverter(net, "1")
    images.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    images.trainer.datamodule = Images()
    found = images._trial_images()
    assert torch.equal(torch.get_rng_state(), state)
    assert found.shape == (8, 3, 8, 10)
    noise = Inverter(net, "1", image_shape=(3, 8, 10))
    images.setup("fit")
    noise.setup("fit")
    scale = images.features(found).square().mean().sqrt()
    torch.testing.assert_close(images.decoder.feature_scale, scale)
    assert scale > 100
    assert noise.decoder.feature_scale == pytest.approx(float(scale), rel=0.3)
    decoder = images.decoder
    images.setup("fit")
    assert images.decoder is decoder, "a second fit must go on with what was learnt"


def test_a_silent_layer_is_no_reason_to_fail(net):
    nn.init.zeros_(net[1].weight)
    nn.init.zeros_(net[1].bias)
    inverter = Inverter(net, "1", image_shape=(3, 8, 10), width=2)
    inverter.setup("fit")
    assert inverter(torch.randn(1, 3, 8, 10)).isfinite().all()


def fit(net, epochs, **options):
    """An inverter and the Trainer that trained it."""
    torch.manual_seed(1)
    inverter, run = Inverter(net, "2", width=4, image_shape=(3, 8, 10)), trainer(max_epochs=epochs)
    run.fit(inverter, DataLoader(Images().data, batch_size=8), **options)
    return inverter, run


def test_a_checkpoint_gives_the_decoder_without_the_network(net, tmp_path):
    inverter, run = fit(net, 2)
    run.save_checkpoint(tmp_path / "inverter.ckpt")
    checkpoint = torch.load(tmp_path / "inverter.ckpt", weights_only=True)
    assert all(name.startswith("decoder.") for name in checkpoint["state_dict"])
    decoder, features = Inverter.load_decoder(tmp_path / "inverter.ckpt"), torch.randn(3, 6, 4, 5)
    assert torch.equal(decoder(features), inverter.decode(features))
    whole = Inverter.load_from_checkpoint(tmp_path / "inverter.ckpt", net=net)
    assert (whole.layer, whole.width, whole.lr, whole.net) == ("2", 4, inverter.lr, net)
    assert torch.equal(whole.decode(features), inverter.decode(features))


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(net, tmp_path):
    whole, _ = fit(net, 4)
    half, run = fit(net, 2)
    run.save_checkpoint(tmp_path / "half.ckpt")
    resumed, run = fit(net, 4, ckpt_path=tmp_path / "half.ckpt")
    for name, weight in whole.decoder.state_dict().items():
        assert torch.equal(weight, resumed.decoder.state_dict()[name]), name
    loader = DataLoader(Images().data, batch_size=8)
    (result,) = run.test(Inverter(net, "2", width=4), loader, ckpt_path=tmp_path / "half.ckpt", verbose=False)
    assert [result] == run.test(half, loader, verbose=False)


def test_predictions_are_reconstructions(net):
    inverter = Inverter(net, "2", image_shape=(3, 8, 10), width=4)
    inverter.setup("fit")
    parts = trainer().predict(inverter, datamodule=Images())
    assert [part.shape for part in parts] == [(8, 3, 8, 10)] * 3


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_low_precision(net, precision):
    inverter = Inverter(net, "2", image_shape=(3, 8, 10), width=4)
    run = trainer(precision=precision)
    run.fit(inverter, datamodule=Images())
    assert run.callback_metrics["train/reconstruction_error"].isfinite()
    assert net[1].weight.dtype == torch.float32


@pytest.mark.slow
def test_the_twin_package():
    code = """
import lightning.pytorch as pl, torch
from torch import nn
from lightning_interp.modules.inverter import Inverter
images = torch.randn(8, 3, 6, 6)
inverter = Inverter(nn.Sequential(nn.Conv2d(3, 4, 3)), "0", image_shape=(3, 6, 6), width=2)
quiet = dict(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
run = pl.Trainer(accelerator="cpu", max_epochs=1, **quiet)
run.fit(inverter, torch.utils.data.DataLoader(images, batch_size=4))
print(isinstance(inverter, pl.LightningModule), sorted(run.callback_metrics))
"""
    run = run_code(code)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split("\n")[-2] == "True ['train/reconstruction_error']"


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"width": 0}, ValueError, r"The `width` parameter of `Inverter` must be an int in \[1, inf\). Got 0."),
        ({"lr": -1.0}, ValueError, "The `lr` parameter of `Inverter`"),
        ({"weight_decay": "much"}, TypeError, "The `weight_decay` parameter of `Inverter`"),
        ({"image_shape": (8, 10)}, ValueError, r"`image_shape` parameter of `Inverter` must be \(C, H, W\)"),
    ],
)
def test_bad_options(net, options, error, match):
    with pytest.raises(error, match=match):
        Inverter(net, "2", **options)


def test_what_cannot_be_known_is_asked_for(net, tmp_path):
    with pytest.raises(RuntimeError, match=r"Pass it as `image_shape=\(C, H, W\)`, or train with a datamodule"):
        trainer().fit(Inverter(net, "2"), DataLoader(Images().data))
    with pytest.raises(RuntimeError, match="has no decoder yet"):
        Inverter(net, "2")(torch.zeros(1, 3, 8, 10))
    with pytest.raises(ValueError, match="matches a layer"):
        trainer().fit(Inverter(net, "conv"), datamodule=Images())
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match=r"`path` .* must be a checkpoint of an `Inverter`"):
        Inverter.load_decoder(tmp_path / "other.ckpt")
