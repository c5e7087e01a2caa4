"""What inverse sets are sampled of: a small network that knows toy scenes, and a generator of such scenes."""

from collections import OrderedDict
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import pytorch_lightning as pl
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from lightning_interp.datamodules import ToyScenesDataModule
from lightning_interp.functional.inverse_set import CodeGenerator, as_generator
from lightning_interp.hooks import preserved_rng
from lightning_interp.models import UpconvDecoder
from lightning_interp.modules import Classifier, Inverter


@dataclass(frozen=True)
class Setting:
    """One world; equal settings give equal weights.

    Attributes:
        scenes: For training; a tenth as many for the test.
        width: Channels of the network's first layer.
        code: Numbers of a code.
        decoder_width: Channels of the generator's last layer.
        epochs: Of the network's training, and of the generator's.
        seed: Of the scenes, the weights and the order.
    """

    scenes: int = 2400
    width: int = 16
    code: int = 48
    decoder_width: int = 8
    epochs: int = 8
    seed: int = 0

    @property
    def name(self) -> str:
        """Name of its folder."""
        return ",".join(f"{key}={value}" for key, value in asdict(self).items())


@dataclass(frozen=True)
class World:
    """A network, a generator and the images they were trained on.

    Attributes:
        net: Its layers are ``block1`` to ``block3``, ``code`` and ``scores``.
        generator: Of codes that are normal: it inverts whitened principal components of images.
        images: Those of training, as the network takes them.
        accuracy: Of the network on test images.
        error: Of the generator there: squared, as a share of the variance.
    """

    net: nn.Module
    generator: CodeGenerator
    images: Tensor
    accuracy: float
    error: float


def world(setting: Setting, cache: Path) -> World:
    """Read what the cache holds, and train the rest."""
    with preserved_rng(setting.seed):
        data = ToyScenesDataModule(
            n_train=setting.scenes, n_test=setting.scenes // 10, batch_size=50, seed=setting.seed
        )
        data.setup()
        images, (test, labels) = _all(data.train_dataset)[0], _all(data.test_dataset)
        principal = _principal(images, setting.code)
        folder = cache / setting.name
        folder.mkdir(parents=True, exist_ok=True)
        net = _network(setting, data, folder / "net.safetensors")
        decoder = _decoder(setting, data, principal, folder / "decoder.safetensors")
    for module in (net, decoder):
        module.eval().requires_grad_(False)
    with torch.no_grad():
        accuracy = float((net(test).argmax(1) == labels).float().mean())
        error = float(mse_loss(decoder(principal(test)), test) / test.var())
    return World(net, as_generator(decoder, mean=data.mean, std=data.std), images, accuracy, error)


def _network(setting: Setting, data: ToyScenesDataModule, file: Path) -> nn.Module:
    net = network(len(data.classes), setting)
    if not file.exists():
        _fit(Classifier(net, "adamw", lr=3e-3, weight_decay=0.1, schedule="cosine"), data, setting)
        save_file({name: value.cpu().contiguous() for name, value in net.cpu().state_dict().items()}, file)
    net.load_state_dict(load_file(file))
    return net


def _decoder(setting: Setting, data: ToyScenesDataModule, principal: nn.Module, file: Path) -> UpconvDecoder:
    if not file.exists():
        inverter = Inverter(principal, "1", width=setting.decoder_width)
        _fit(inverter, data, setting)
        inverter.cpu().decoder.save(file)
    return UpconvDecoder.load(file)


def network(n_classes: int, setting: Setting) -> nn.Module:
    """Three blocks that halve the image, a hidden layer, scores."""
    widths = [3, setting.width, 2 * setting.width, 2 * setting.width]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, (given, made) in enumerate(pairwise(widths), start=1):
        parts = [nn.Conv2d(given, made, 3, padding=1), nn.BatchNorm2d(made), nn.ReLU(), nn.MaxPool2d(2)]
        layers[f"block{i}"] = nn.Sequential(*parts)
    layers["code"] = nn.Sequential(nn.Flatten(), nn.Linear(16 * widths[-1], 48), nn.ReLU())
    layers["scores"] = nn.Linear(48, n_classes)
    return nn.Sequential(layers)


def _principal(images: Tensor, dim: int) -> nn.Module:
    """From images to their whitened principal components, as a network that can be inverted."""
    rows = images.flatten(1).double()
    mean = rows.mean(0)
    rows = rows - mean
    squares, left = (part[..., -dim:] for part in torch.linalg.eigh(rows @ rows.mT))
    projection = (left / squares).mT @ rows * (len(rows) - 1) ** 0.5
    linear = nn.Linear(len(mean), dim).requires_grad_(False)
    linear.weight.copy_(projection)
    linear.bias.copy_(-projection @ mean)
    return nn.Sequential(nn.Flatten(), linear)


def _fit(module: pl.LightningModule, data: ToyScenesDataModule, setting: Setting) -> None:
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_model_summary", "enable_progress_bar"), False)
    pl.Trainer(max_epochs=setting.epochs, accelerator="cpu", **quiet).fit(module, datamodule=data)
    module.cpu()


def _all(dataset: torch.utils.data.Dataset) -> tuple[Tensor, Tensor]:
    """Images and labels."""
    images, labels = zip(*(dataset[i][:2] for i in range(len(dataset))), strict=True)
    return torch.stack(images), torch.tensor(labels)
