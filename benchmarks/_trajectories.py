"""Train networks once and keep the weights of every epoch, so that any signal can be measured on them later."""

import json
import time
from collections.abc import Iterator
from copy import copy
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import Subset

from lightning_interp._lightning import Callback, LightningModule, Trainer, seed_everything
from lightning_interp.datamodules import ImageFolderDataModule
from lightning_interp.datasets import FolderImages, balanced_indices
from lightning_interp.hooks import evaluating, preserved_rng
from lightning_interp.models import CIFAR10CNN
from lightning_interp.modules import Classifier


@dataclass(frozen=True)
class Setting:
    """One training run; two settings that are equal give the same weights.

    Attributes:
        batch_norm: whether the network of table 3.1 has batch norm.
        noise: probability that a training label is drawn anew, the true class included.
        seed: of the split, the noise, the weights and the order.
        val_share: share of the training images held out with their noisy labels.
        width: channels of the first layer.
        train_size: images, the held-out ones included.
        test_size: test images scored after every epoch.
        epochs: length of the run.
        lr: learning rate of AdamW, constant.
        weight_decay: of AdamW.
        augment: random shifts and mirroring.
    """

    batch_norm: bool = False
    noise: float = 0.0
    seed: int = 0
    val_share: float = 0.0
    width: int = 16
    train_size: int = 4000
    test_size: int = 4000
    epochs: int = 16
    lr: float = 1e-3
    weight_decay: float = 5e-4
    augment: bool = False

    @property
    def name(self) -> str:
        """Name of the folder of this run."""
        parts = [f"{key}={value:g}" for key, value in asdict(self).items()]
        return ",".join(parts)

    def network(self) -> nn.Module:
        """The untrained network."""
        net: nn.Module = CIFAR10CNN(width=self.width, batch_norm=self.batch_norm)
        return net.to(memory_format=torch.channels_last)  # a quarter faster on CPUs

    def data(self, root: Path) -> "Pictures":
        """Its training images with their given labels, and its test images."""
        n_val = round(self.val_share * self.train_size)
        data = Pictures(
            root,
            train_size=self.train_size - n_val,
            val_size=n_val,
            label_noise=self.noise,
            augment=self.augment,
            seed=self.seed,
        )
        data.setup()
        generator = torch.Generator().manual_seed(0)  # the same test images in every run
        chosen = balanced_indices(data.test_dataset.targets, self.test_size, generator=generator)
        data.test_dataset = Subset(data.test_dataset, chosen[torch.randperm(len(chosen), generator=generator)].tolist())
        return data


class Pictures(ImageFolderDataModule):
    """Class folders, decoded once per process."""

    def read(self, split: Any) -> Any:
        """A view of the decoded pictures with a transform of its own."""
        data = copy(_decode(self.root / split))
        self.classes = data.classes
        return data


@cache
def _decode(folder: Path) -> FolderImages:
    return FolderImages(folder, in_memory=True)


class Recorder(Callback):
    """After every epoch: the weights as a file, and one line of scores."""

    def __init__(self, data: Pictures, folder: Path) -> None:
        self.data, self.folder, self.seconds = data, folder, 0.0
        self.parts = {"test": data.test_dataset, "val": data.val_dataset}

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seconds = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        seconds, epoch = time.perf_counter() - self.seconds, trainer.current_epoch + 1
        row: dict[str, Any] = {"epoch": epoch, "train_seconds": seconds}
        row |= {name.replace("/", "_"): float(value) for name, value in trainer.callback_metrics.items()}
        for part, dataset in self.parts.items():
            if dataset:
                scores, labels = predict(pl_module, dataset)
                row |= {f"{part}_{name}": value for name, value in judge(scores, labels).items()}
        save_file(_weights(pl_module), self.folder / f"epoch_{epoch:03d}.safetensors")
        with (self.folder / "scores.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")


def predict(model: nn.Module, dataset: Any) -> tuple[Tensor, Tensor]:
    """Class scores ``(N, n_classes)`` of a whole dataset, and its labels."""
    device = next(model.parameters()).device
    loader = torch.utils.data.DataLoader(dataset, batch_size=200)
    with preserved_rng(), evaluating(model):
        pairs = [(model(x.to(device)).float().cpu(), y) for x, y in loader]
    return torch.cat([scores for scores, _ in pairs]), torch.cat([labels for _, labels in pairs])


def judge(scores: Tensor, labels: Tensor) -> dict[str, float]:
    """Loss and accuracy: of all images and of the first and the second half."""
    right = (scores.argmax(1) == labels).double()
    half = len(labels) // 2
    return {
        "loss": float(cross_entropy(scores, labels)),
        "accuracy": float(right.mean()),
        "accuracy_a": float(right[:half].mean()),
        "accuracy_b": float(right[half:].mean()),
    }


def train(setting: Setting, root: Path, folder: Path) -> Path:
    """Train one setting unless its folder holds it already; returns the folder."""
    target = folder / setting.name
    if (target / "done").exists():
        return target
    target.mkdir(parents=True, exist_ok=True)
    for old in target.iterdir():
        old.unlink()
    seed_everything(setting.seed, verbose=False)
    data = setting.data(root)
    module = Classifier(setting.network(), optimizer="adamw", lr=setting.lr, weight_decay=setting.weight_decay)
    save_file(_weights(module), target / "epoch_000.safetensors")
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "devices": 1}
    loader = data.train_dataloader()
    trainer = Trainer(
        max_epochs=setting.epochs,
        callbacks=[Recorder(data, target)],
        enable_model_summary=False,
        accelerator="auto",
        **options,
    )
    if setting.augment:  # the datamodule augments on the device
        trainer.fit(module, datamodule=data)
    else:
        trainer.fit(module, loader)
    (target / "done").touch()
    return target


def trajectory(setting: Setting, folder: Path) -> Iterator[tuple[dict[str, Any], nn.Module]]:
    """The scores and the network after every epoch of a trained setting."""
    target, net = folder / setting.name, setting.network()
    for line in (target / "scores.jsonl").read_text().splitlines():
        row = json.loads(line)
        net.load_state_dict(load_file(target / f"epoch_{row['epoch']:03d}.safetensors"))
        yield row, net


def _weights(module: LightningModule) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in module.net.state_dict().items()}
