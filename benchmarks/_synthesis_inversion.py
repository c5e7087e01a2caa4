"""What is recovered of an image from each layer of a small trained network."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks._synthesis_peers import SEED
from lightning_interp.datasets import ToyScenes
from lightning_interp.functional.synthesis import invert
from lightning_interp.hooks import OUTPUT, evaluating, forward_to, preserved_rng
from lightning_interp.models import CIFAR10CNN

LAYERS = (*(f"features.{i}" for i in (1, 5, 9, 13, 17, 21)), OUTPUT)
TARGET = 0.05  # for the first layer


def trained(*, width: int, n: int, epochs: int, device: torch.device) -> tuple[nn.Module, float]:
    """A CIFAR10CNN that knows toy scenes, and its test accuracy."""
    with preserved_rng(SEED):
        net = CIFAR10CNN(len(ToyScenes.classes), width=width).to(device)
    images, labels = scenes(n, "train", device)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    generator = Generator().manual_seed(SEED)
    for _ in range(epochs):
        for batch in torch.randperm(n, generator=generator).to(device).split(64):
            optimizer.zero_grad()
            cross_entropy(net(images[batch]), labels[batch]).backward()
            optimizer.step()
    images, labels = scenes(600, "test", device)
    with evaluating(net):
        return net.eval(), float((net(images).argmax(1) == labels).float().mean())


def scenes(n: int, split: Any, device: torch.device) -> tuple[Tensor, Tensor]:
    """Pictures ``(n, 3, 32, 32)`` in [0, 1] and their labels."""
    data = ToyScenes(n, split=split)
    return (data.render().float() / 255).to(device), data.targets.to(device)


def rows(
    net: nn.Module, *, n_images: int, steps: int, device: torch.device, layers: Sequence[str] = LAYERS
) -> Iterator[dict[str, Any]]:
    """One row per layer."""
    images, _ = scenes(n_images, "test", device)
    for layer in layers:
        found = invert(net, images, layer, steps=steps, seed=SEED)
        with forward_to(net, layer) as features:
            values = features(images[:1])[layer].numel()
        yield {
            "layer": layer,
            "values": values,
            "feature error, start": float(found.trace[0].mean()),
            "feature error": float(found.feature_errors.mean()),
            "feature error, worst image": float(found.feature_errors.max()),
            "pixel error": float(found.pixel_errors.mean()),
            "steps": steps,
        }
