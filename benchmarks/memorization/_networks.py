"""The networks of the memorization experiments, trained once and kept, and what is measured on them."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import Subset

from benchmarks._trajectories import predict
from benchmarks.memorization._study import Study
from lightning_interp import datamodules
from lightning_interp.datasets import balanced_indices
from lightning_interp.datasets.subsets import fetch
from lightning_interp.functional.compression import CompressionCurve, compression_curve, inspect_layers
from lightning_interp.hooks import LayerSpec, preserved_rng
from lightning_interp.models import CIFAR10CNN, SVHNCNN, FashionMNISTMLP, UrbanSoundsCNN

_KINDS: dict[str, Any] = {"svhn": SVHNCNN, "urban_sounds": UrbanSoundsCNN}


@dataclass(frozen=True)
class Setting:
    """One network; equal settings give equal weights on the same data."""

    network: str
    noise: float
    seed: int
    width: int
    side: int | None
    train_size: int | None
    test_size: int | None
    epochs: int
    lr: float
    optimizer: str = "adam"
    batch_size: int = 100
    weight_decay: float = 0.0

    @property
    def name(self) -> str:
        """Name of its folder."""
        return ",".join(f"{key}={value}" for key, value in asdict(self).items())


@dataclass(frozen=True)
class Case:
    """A trained network, its data, and its epochs and accuracies as cells of a table."""

    setting: Setting
    net: nn.Module
    data: datamodules.ClassificationDataModule
    scores: dict[str, float]

    @property
    def labels(self) -> dict[str, float]:
        """What tells it from the others of a p grid, and how well it does."""
        return {"p": self.setting.noise, "seed": self.setting.seed, "test accuracy": self.scores["test accuracy"]}


def cases(study: Study, network: str | None = None) -> Iterator[Case]:
    """One network per level of noise and seed: that of the data in table 3.1, or ``"cnn"`` or ``"mlp"``."""
    network = network or ("mlp" if study.data == "fashion_mnist" else "cnn")
    for noise in study.size.noise:
        for seed in study.size.seeds:
            yield trained(study, network=network, noise=noise, seed=seed)


def trained(study: Study, **choices: Any) -> Case:
    """The network of ``choices`` (fields of ``Setting``), trained unless the cache holds it."""
    sizes = {name: getattr(study.size, name) for name in ("width", "side", "train_size", "test_size", "epochs", "lr")}
    setting = Setting(**{"network": "cnn", "noise": 0.0, "seed": 0, **sizes, **choices})
    folder = study.cache / study.root.name / setting.name
    data = _data(study, train_size=setting.train_size, label_noise=setting.noise, seed=setting.seed)
    net = _network(study, setting, data)
    if not (folder / "scores.json").exists():
        scores = _fit(net, *stack(data.train_dataset, study.device), setting)
        scores["train accuracy"] = _accuracy(net, data.train_dataset)
        scores["test accuracy"] = _accuracy(net, _test_images(data, setting.test_size))
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: value.cpu().contiguous() for name, value in net.state_dict().items()}, folder / "net")
        (folder / "scores.json").write_text(json.dumps(scores))
    net.load_state_dict(load_file(folder / "net"))
    scores = json.loads((folder / "scores.json").read_text())
    print(setting.name, scores, flush=True)
    return Case(setting, net, data, scores)


def measure(
    study: Study, case: Case, *, dataset: Any = None, layers: LayerSpec = "last_block", **options: Any
) -> CompressionCurve:
    """The compression curve of the training images sampled for this network, or of images of another dataset."""
    dataset = case.data.train_dataset if dataset is None else dataset
    rows = sample(dataset, study.size.per_class, seed=case.setting.seed)
    return measure_images(study, case.net, *stack(dataset, study.device, rows), layers=layers, **options)


def measure_images(
    study: Study, net: nn.Module, images: Tensor, labels: Tensor, *, layers: LayerSpec = "last_block", **options: Any
) -> CompressionCurve:
    """The compression curve of given images, on the ranks of the study."""
    size, (_, width, _) = study.size, inspect_layers(net, layers, images[:1])
    common = {"ks": ranks(width, size.steps), "batch_size": size.per_class, "max_iter": size.max_iter}
    generator = torch.Generator().manual_seed(0)
    return compression_curve(net, images, labels, layers=layers, generator=generator, **common, **options)


def ranks(width: int, steps: int) -> list[int]:
    """Even steps up to the layer's width, which is left out, and powers of two before the first of them."""
    even = {max(1, width * i // steps) for i in range(1, steps)}
    return sorted(even | {2**i for i in range(width.bit_length()) if 2**i < width / steps})


def sample(dataset: Any, per_class: int, *, seed: int) -> Tensor:
    """Rows of ``per_class`` images of every given label, in random order."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.as_tensor(dataset.targets)
    rows = balanced_indices(labels, min(per_class * len(labels.unique()), len(labels)), generator=generator)
    return rows[torch.randperm(len(rows), generator=generator)]


def stack(dataset: Any, device: torch.device, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Images ``(N, C, H, W)`` and labels ``(N,)`` of a dataset, or of some of its rows."""
    pairs = fetch(dataset, (torch.arange(len(dataset)) if rows is None else rows).tolist())
    images = torch.stack([x for x, _ in pairs]).to(device, memory_format=torch.channels_last)
    return images, torch.tensor([y for _, y in pairs], device=device)


def _data(study: Study, **options: Any) -> datamodules.ClassificationDataModule:
    if study.data == "cifar10":
        data: Any = datamodules.ImageFolderDataModule(study.root, size=study.size.side, **options)
    elif study.data == "urban_sounds":
        data = datamodules.UrbanSound8KDataModule(study.root, test_folds=(9, 10), **options)
    else:
        kinds = {"svhn": datamodules.SVHNDataModule, "fashion_mnist": datamodules.FashionMNISTDataModule}
        data = kinds[study.data](study.root, **options)
    data.setup()
    return data


def _network(study: Study, setting: Setting, data: datamodules.ClassificationDataModule) -> nn.Module:
    shape = data.train_dataset[0][0].shape
    with preserved_rng():
        torch.manual_seed(setting.seed)
        if setting.network == "mlp":
            net: nn.Module = FashionMNISTMLP(data.n_classes, 2 * setting.width, shape.numel())
        else:
            kind = _KINDS.get(study.data, CIFAR10CNN)
            net = kind(data.n_classes, setting.width, shape[0], tuple(shape[1:]))
    return net.to(study.device, memory_format=torch.channels_last)


def _fit(net: nn.Module, images: Tensor, labels: Tensor, setting: Setting) -> dict[str, float]:
    """Train until an epoch classifies 99.9 % of the images as labelled, or to the limit."""
    optimizer = _optimizer(net, setting)
    generator = torch.Generator().manual_seed(setting.seed)
    for epoch in range(1, setting.epochs + 1):  # noqa: B007
        right = torch.zeros((), device=labels.device)
        for batch in torch.randperm(len(labels), generator=generator).split(setting.batch_size):
            rows = batch.to(labels.device)
            scores = net(images[rows])
            optimizer.zero_grad()
            cross_entropy(scores, labels[rows]).backward()
            optimizer.step()
            right += (scores.argmax(1) == labels[rows]).sum()
        if float(right) >= 0.999 * len(labels):
            break
    return {"epochs": epoch}


def _optimizer(net: nn.Module, setting: Setting) -> torch.optim.Optimizer:
    if setting.optimizer == "sgd":
        rate = 10 * setting.lr
        return torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9, weight_decay=setting.weight_decay)
    return torch.optim.Adam(net.parameters(), lr=setting.lr, weight_decay=setting.weight_decay)


def _accuracy(net: nn.Module, dataset: Any) -> float:
    scores, labels = predict(net, dataset)
    return float((scores.argmax(1) == labels).double().mean())


def _test_images(data: datamodules.ClassificationDataModule, size: int | None) -> Any:
    """The same test images for every network."""
    test = data.test_dataset
    if size is None:
        return test
    return Subset(test, balanced_indices(test.targets, size, generator=torch.Generator().manual_seed(0)).tolist())
