"""Networks, and sets of toy scenes with all there is to know about them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy
from torchvision.models import squeezenet1_0

from lightning_interp.datasets import ToyScenes
from lightning_interp.datasets.image_tensors import Normalize
from lightning_interp.hooks import evaluating, preserved_rng

CLASSES = ToyScenes.classes
IMAGENET = Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_PLAIN = Normalize((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@dataclass(frozen=True)
class Subject:
    """A network in eval mode.

    Attributes:
        name: for tables.
        net: the network.
        layer: whose maps are looked at.
        size: height and width of its images.
        normalize: from pixels to what it takes.
        classes: whether the classes of toy scenes are its own.
    """

    name: str
    net: nn.Module
    layer: str
    size: tuple[int, int]
    normalize: Normalize
    classes: bool


@dataclass(frozen=True)
class SceneSet:
    """Images of one class, and their truth.

    Attributes:
        label: the class.
        images: as the network takes them, ``(N, 3, H, W)``.
        masks: of the object, bool, ``(N, H, W)``.
        parts: bool, ``(N, T, H, W)``.
        part_names: ``T`` of them.
        boxes: of the object, one ``(1, 4)`` for each image.
    """

    label: int
    images: Tensor
    masks: Tensor
    parts: Tensor
    part_names: tuple[str, ...]
    boxes: list[Tensor]


def scene_sets(subject: Subject, seeds: tuple[int, ...], *, classes: int, n: int) -> Iterator[SceneSet]:
    """One set of ``n`` images for each of the first classes and each world; every object appears twice.

    Images are twice as wide as high: objects lie anywhere along them, and not always in the middle.
    """
    for seed in seeds:
        scenes = ToyScenes(n * len(CLASSES), size=subject.size, seed=seed, split="test")
        for label in range(classes):
            yield scene_set(scenes, label, subject.normalize)


def scene_set(scenes: ToyScenes, label: int, normalize: Normalize) -> SceneSet:
    """All images of one class."""
    frames = list(scenes.frames(range(label, len(scenes), len(CLASSES))))
    images = torch.cat([torch.from_numpy(each.images) for each in frames]).float() / 255
    part = torch.cat([torch.from_numpy(each.part) for each in frames])
    values = [int(value) for value in part.unique() if value]
    names = tuple(scenes.parts[value - 1] for value in values)
    parts = torch.stack([part == value for value in values], 1)
    return SceneSet(label, normalize(images), part > 0, parts, names, [box_of(mask) for mask in part > 0])


def box_of(mask: Tensor) -> Tensor:
    """Left, top, right and bottom of a mask ``(h, w)``, ``(1, 4)``; nothing, ``(0, 4)``, for an empty one."""
    rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
    if not len(rows):
        return torch.empty(0, 4)
    return torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], 1).float()


def toy_network(*, width: int, n: int, epochs: int, side: int, seed: int = 0) -> tuple[Subject, float]:
    """A small network with batch norm, with maps of an eighth of the image, trained on square ones; its accuracy."""
    with preserved_rng(seed):
        net = _small(width)
    images, labels = _pictures(n, side, "train")
    optimizer = torch.optim.AdamW(net.parameters(), lr=4e-3)
    batches = -(-n // 48)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=epochs * batches)
    generator = Generator().manual_seed(seed)
    for _ in range(epochs):
        for batch in torch.randperm(n, generator=generator).split(48):
            optimizer.zero_grad()
            cross_entropy(net(images[batch]), labels[batch]).backward()
            optimizer.step()
            schedule.step()
    images, labels = _pictures(600, side, "test")
    with evaluating(net):
        accuracy = float((net(images).argmax(1) == labels).float().mean())
    return Subject("trained on toy scenes", net.eval(), "14", (side, 2 * side), _PLAIN, classes=True), accuracy


def imagenet_network(weights: Path, side: int) -> Subject:
    """SqueezeNet, whose classes are not those of toy scenes."""
    with preserved_rng(0):
        net = squeezenet1_0()
    net.load_state_dict(load_file(weights))
    return Subject("SqueezeNet, ImageNet", net.eval(), "features.12", (side, 2 * side), IMAGENET, classes=False)


def _small(width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, (before, after) in enumerate([(3, width), (width, 2 * width), (2 * width, 4 * width), (4 * width,) * 2]):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if i < 3 else []
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, len(CLASSES)))


def _pictures(n: int, side: int, split: Literal["train", "test"]) -> tuple[Tensor, Tensor]:
    scenes = ToyScenes(n, size=side, split=split)
    return _PLAIN(scenes.render().float() / 255), scenes.targets
