"""Teachers and students of the image-score benchmark: a pool is labelled once, and students train on parts of it."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import chain, count, islice
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import CosineAnnealingLR

from benchmarks.memorization._networks import stack
from lightning_interp.datamodules import ImageFolderDataModule
from lightning_interp.datasets import balanced_indices
from lightning_interp.functional.selection import class_predictions
from lightning_interp.hooks import preserved_rng
from lightning_interp.models import CIFAR10CNN, ResNet18ForSmallImages, VGG16ForSmallImages

BATCH = 100


@dataclass(frozen=True)
class Setting:
    """One teacher; equal settings give equal weights.

    Attributes:
        network: ``"cnn"`` (table 3.1 of the thesis), ``"vgg16"`` or ``"resnet18"``, with batch norm and dropout.
        width: channels of the first layer of ``"cnn"``.
        labeled: labelled images.
        pool: images without label.
        test: test images.
        epochs: passes over the labelled images; a student takes as many steps as its teacher.
        lr: learning rate of Adam.
        dropout: probability, before the linear layers.
        seed: of the split, the weights, the order and the dropout.
    """

    network: str = "cnn"
    width: int = 64
    labeled: int = 4000
    pool: int = 46_000
    test: int = 10_000
    epochs: int = 100
    lr: float = 1e-3
    dropout: float = 0.3
    seed: int = 0

    @property
    def name(self) -> str:
        """Name of its folder."""
        return ",".join(f"{key}={value}" for key, value in asdict(self).items())

    def build(self, n_classes: int) -> nn.Module:
        """The network with the weights of the seed, on the accelerator where there is one."""
        with preserved_rng(self.seed):
            net = self.untrained(n_classes)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return net.to(device, memory_format=torch.channels_last)

    def untrained(self, n_classes: int) -> nn.Module:
        """The network with weights from the global random state."""
        if self.network == "vgg16":
            return VGG16ForSmallImages(n_classes, self.dropout)
        if self.network == "resnet18":
            resnet = ResNet18ForSmallImages(n_classes)
            resnet.trunk.fc = nn.Sequential(nn.Dropout(self.dropout), resnet.trunk.fc)
            return resnet
        cnn = CIFAR10CNN(n_classes, self.width, batch_norm=True)
        cnn.classifier = nn.Sequential(nn.Dropout(self.dropout), *cnn.classifier)
        for module in cnn.modules():  # He's weights are for networks without norm; with it Adam hardly moves them
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.reset_parameters()
        return cnn

    def datamodule(self, root: Path, *, in_memory: bool = False) -> ImageFolderDataModule:
        """The labelled images and the pool."""
        sizes = {"train_size": self.labeled + self.pool, "labeled_size": self.labeled}
        data = ImageFolderDataModule(root, in_memory=in_memory, seed=self.seed, batch_size=BATCH, **sizes)
        data.setup()
        return data


class Part(NamedTuple):
    """Images ``(n, C, H, W)`` and their true labels ``(n,)``."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Data:
    """What a teacher learns from, what it labels, and what everyone is tested on."""

    labeled: Part
    pool: Part
    test: Part
    classes: tuple[str, ...]


def read(setting: Setting, root: Path) -> Data:
    """The pictures of a setting, on the CPU."""
    data, cpu = setting.datamodule(root), torch.device("cpu")
    hidden = data.unlabeled_dataset
    # The pool comes sorted by class, and of equal scores the first image wins.
    mixed = torch.randperm(len(hidden), generator=torch.Generator().manual_seed(setting.seed))
    pool = Part(stack(hidden, cpu, mixed)[0], hidden.true_targets[mixed])
    return Data(Part(*stack(data.labeled_dataset, cpu)), pool, tested(data, setting.test), tuple(data.classes))


def tested(data: ImageFolderDataModule, size: int) -> Part:
    """The same test images for every network."""
    rows = balanced_indices(data.test_dataset.targets, size, generator=torch.Generator().manual_seed(0))
    return Part(*stack(data.test_dataset, torch.device("cpu"), rows))


def teacher(setting: Setting, data: Data, cache: Path) -> nn.Module:
    """The network trained on the labelled images, read from the cache where that holds it."""
    net, file = setting.build(len(data.classes)), cache / setting.name / "teacher.safetensors"
    if not file.exists():
        fit(net, data.labeled, setting)
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file(weights(net), file)
    net.load_state_dict(load_file(file))
    return net


def student(setting: Setting, data: Data, rows: Tensor, labels: Tensor, cache: Path) -> list[float]:
    """Test accuracy per class of a network trained anew on the labelled images and on ``rows`` of the pool.

    Teacher and students start from the same weights: without any row the student is its teacher.
    """
    chosen = sha256(torch.stack([rows, labels]).numpy().tobytes()).hexdigest()[:16]
    file = cache / setting.name / f"student_{chosen}.json"
    if not file.exists():
        if len(rows):
            images = torch.cat([data.labeled.images, data.pool.images[rows]])
            net = setting.build(len(data.classes))
            fit(net, Part(images, torch.cat([data.labeled.labels, labels])), setting)
        else:
            net = teacher(setting, data, cache)
        file.write_text(json.dumps(accuracies(net, data.test, len(data.classes))))
    found: list[float] = json.loads(file.read_text())
    return found


def fit(net: nn.Module, part: Part, setting: Setting) -> None:
    """Adam, its rate on half a cosine down to 0, for as many steps as the labelled images make in all epochs."""
    optimizer = torch.optim.Adam(net.parameters(), lr=setting.lr)
    steps = setting.epochs * max(1, setting.labeled // BATCH)
    schedule, device = CosineAnnealingLR(optimizer, steps), next(net.parameters()).device
    net.train()
    with preserved_rng(setting.seed):  # dropout has no generator of its own
        for rows in islice(_batches(len(part.labels), setting.seed), steps):
            loss = cross_entropy(net(part.images[rows].to(device)), part.labels[rows].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def _batches(n: int, seed: int) -> Iterator[Tensor]:
    """Rows of full batches, epoch after epoch."""
    generator = torch.Generator().manual_seed(seed)
    size = min(n, BATCH)
    return chain.from_iterable(torch.randperm(n, generator=generator)[: n - n % size].split(size) for _ in count())


def accuracies(net: nn.Module, part: Part, n_classes: int) -> list[float]:
    """Accuracy on the images of every class."""
    right = class_predictions(net, part.images, batch_size=200).labels == part.labels
    return [float(right[part.labels == c].float().mean()) for c in range(n_classes)]


def weights(net: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers as a safetensors file takes them."""
    return {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
