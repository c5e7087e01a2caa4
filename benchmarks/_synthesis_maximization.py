"""Steps per second and final activation of activation maximisation."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Generator, Tensor, nn
from torchvision.models import resnet18, squeezenet1_0

from benchmarks._synthesis_peers import LUCENT, SEED, lucent_pixels, takes_part, timed
from lightning_interp.functional.synthesis import FourierImages, PixelSpace, channel, logit, maximize_activation
from lightning_interp.hooks import OUTPUT, capture, evaluating, forward_to, preserved_rng
from lightning_interp.models import CIFAR10CNN

WEIGHTS = Path(__file__).parents[1] / "../shared/weights/squeezenet1_0_imagenet.safetensors"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LR = 0.05


@dataclass(frozen=True)
class Subject:
    """A network, the side of its images, an early, a middle and a late layer."""

    name: str
    build: Callable[[], nn.Module]
    side: int
    layers: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """A network and what to maximise."""

    net: nn.Module
    layer: str
    units: list[int]
    side: int
    steps: int


def subjects(side: int) -> list[Subject]:
    """The networks, the large ones with images of this side."""
    name = f"squeezenet1_0 ({'ImageNet' if WEIGHTS.exists() else 'untrained'})"
    return [
        Subject(
            "CIFAR10CNN(width=32)", partial(CIFAR10CNN, width=32), 32, ("features.1", "features.11", "features.21")
        ),
        Subject(name, _squeezenet, side, ("features.3", "features.7", "features.12")),
        Subject("resnet18", resnet18, side, ("layer1", "layer2", "layer4")),
    ]


def rows(
    which: list[Subject], *, steps: int, batch: int, repeats: int, device: torch.device
) -> Iterator[dict[str, Any]]:
    """One row per network and objective; then one per network for a batch of units of the middle layer."""
    for subject in which:
        with preserved_rng(SEED):
            net = subject.build().to(device).eval()
        tasks = [(layer, 1, steps) for layer in (*subject.layers, OUTPUT)]
        for layer, n, length in [*tasks, (subject.layers[1], batch, max(1, steps // 4))]:
            case = Case(net, layer, excited(net, layer, n, subject.side), subject.side, length)
            head = {"network": subject.name, "side": subject.side, "layer": layer, "images": n, "steps": length}
            yield head | measure(case, repeats, device)


def measure(case: Case, repeats: int, device: torch.device) -> dict[str, Any]:
    """Time over that of the bare steps, and the activation of what each made."""
    searches: dict[str, Callable[[Case], Tensor]] = {"bare": bare, "ours": ours}
    if takes_part(LUCENT, device)[0]:
        searches |= {"lucent": lucent, "lucent with frozen weights": partial(lucent, frozen=True)}
    took, made = timed({name: partial(search, case) for name, search in searches.items()}, repeats, device)
    peers = [name for name in searches if name.startswith("lucent")]
    row: dict[str, Any] = {"bare step, ms": 1000 * took["bare"] / case.steps}
    row |= {"time over bare": took["ours"] / took["bare"]}
    row |= {f"steps per second over {name}": took[name] / took["ours"] for name in peers}
    start = _starts(len(case.units), case.side, device)().detach()
    reached = {"start": start, "ours": made["ours"], **({"lucent": made["lucent"]} if peers else {})}
    row |= {f"activation, {name}": float(activation(case, images).mean()) for name, images in reached.items()}
    return row


def bare(case: Case) -> Tensor:
    """What every search must do: spectra to images, forward to the layer, gradient, Adam; no checks, no best."""
    images = _starts(len(case.units), case.side, next(case.net.parameters()).device)
    optimizer = torch.optim.Adam([images.values], lr=LR)
    with forward_to(case.net, case.layer) as features:
        for _ in range(case.steps):
            optimizer.zero_grad()
            (-_chosen(features(images())[case.layer], case.units).sum()).backward()
            optimizer.step()
    return images().detach()


def ours(case: Case) -> Tensor:
    make = logit if case.layer == OUTPUT else partial(channel, case.layer)
    shape, options = (3, case.side, case.side), {"steps": case.steps, "lr": LR, "seed": SEED}
    wanted = [make(unit) for unit in case.units]
    found = maximize_activation(case.net, wanted, image_shape=shape, regularizers=(), mean=MEAN, std=STD, **options)
    return found.images


def lucent(case: Case, *, frozen: bool = False) -> Tensor:
    options: dict[str, Any] = {"side": case.side, "steps": case.steps, "lr": LR, "frozen": frozen}
    return _space().to_network(lucent_pixels(case.net, case.layer, case.units, **options))


def excited(net: nn.Module, layer: str, n: int, side: int) -> list[int]:
    """The units that a start excites most: none that is silent there, where lucent would get no gradient."""
    start = _starts(1, side, next(net.parameters()).device)().detach()
    return _seen(net, layer, start).transpose(0, 1).flatten(1).mean(1).topk(n).indices.tolist()


def activation(case: Case, images: Tensor) -> Tensor:
    """Of each image's unit, mean over its map, by a plain forward pass, ``(N,)``."""
    device = next(case.net.parameters()).device
    return _chosen(_seen(case.net, case.layer, images.to(device)), case.units)


def _seen(net: nn.Module, layer: str, images: Tensor) -> Tensor:
    """Output of the layer."""
    if layer == OUTPUT:
        with evaluating(net):
            output: Tensor = net(images)
        return output
    with evaluating(net), capture(net, layer) as seen:
        net(images)
    return seen[layer]


def _chosen(output: Tensor, units: list[int]) -> Tensor:
    """Mean of the i-th image's i-th unit over its map, ``(N,)``."""
    picked = output[torch.arange(len(units)), units]
    return picked.flatten(1).mean(1) if picked.ndim > 1 else picked


def _squeezenet() -> nn.Module:
    net: nn.Module = squeezenet1_0()
    if WEIGHTS.exists():
        net.load_state_dict(load_file(WEIGHTS))
    return net


def _starts(n: int, side: int, device: torch.device) -> FourierImages:
    generator = Generator().manual_seed(SEED)
    return FourierImages((n, 3, side, side), space=_space(), generator=generator, device=device)


def _space() -> PixelSpace:
    return PixelSpace(MEAN, STD)
