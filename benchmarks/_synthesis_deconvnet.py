"""Seconds of a DeconvNet over those of the backward passes it needs, and its difference to captum's."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models import googlenet, resnet18, squeezenet1_1, vgg11_bn

from benchmarks._synthesis_peers import CAPTUM, SEED, captum_maps, start_of, takes_part, timed
from lightning_interp.datasets import ToyScenes
from lightning_interp.functional.synthesis import Projections, deconvnet
from lightning_interp.hooks import forward_to, preserved_rng
from lightning_interp.models import VGG16ForSmallImages

BUDGET = 1.3


class Subject(NamedTuple):
    """A network, the side of its images, whether its rectifiers are modules, a middle and a late layer."""

    name: str
    build: Callable[[], nn.Module]
    side: int
    relu: str
    layers: tuple[str, ...]


def subjects(side: int) -> list[Subject]:
    """The networks, the large ones with images of this side."""
    inception = partial(googlenet, init_weights=False, aux_logits=False)
    return [
        Subject("VGG16ForSmallImages", VGG16ForSmallImages, 32, "modules", ("features.22", "features.42")),
        Subject("squeezenet1_1", squeezenet1_1, side, "modules", ("features.7", "features.12")),
        Subject("resnet18", resnet18, side, "modules", ("layer2", "layer4")),
        Subject("vgg11_bn", vgg11_bn, side // 2, "modules", ("features.13", "features.27")),
        Subject("googlenet", inception, side // 2, "functions", ("inception3b", "inception5b")),
    ]


def rows(
    which: list[Subject], *, n_units: int, n_images: int, repeats: int, device: torch.device
) -> Iterator[dict[str, Any]]:
    """One row per network and layer."""
    for subject in which:
        net = network(subject).to(device)
        images = torch.stack([image for image, _ in ToyScenes(n_images, size=subject.side)]).to(device)
        for layer in subject.layers:
            head = {"network": subject.name, "ReLU": subject.relu, "side": subject.side, "layer": layer}
            yield head | measure(net, images, layer, n_units=n_units, repeats=repeats)


def network(subject: Subject) -> nn.Module:
    """In eval mode; rectifiers do not work in place, because captum cannot hook those."""
    with preserved_rng(SEED):
        net = subject.build().eval()
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return net


def measure(net: nn.Module, images: Tensor, layer: str, *, n_units: int, repeats: int) -> dict[str, Any]:
    """Times and, where captum is there, its largest difference to ours."""
    found = deconvnet(net, images, layer, n_units=n_units)
    passes: dict[str, Callable[[], Tensor]] = {
        "bare": partial(bare, net, images, found),
        "ours": lambda: deconvnet(net, images, layer, n_units=n_units).maps,
    }
    if takes_part(CAPTUM, images.device)[0]:
        passes["captum"] = partial(captum_maps, net, images, found)
    took, made = timed(passes, repeats, images.device)
    row: dict[str, Any] = {"units": len(found.units), "images": len(images), "bare passes, s": took["bare"]}
    row |= {f"{name}, times bare": took[name] / took["bare"] for name in passes if name != "bare"}
    if "captum" in made:
        row["difference to captum"] = difference(made["ours"], made["captum"])
    return row


def bare(net: nn.Module, images: Tensor, found: Projections) -> Tensor:
    """One forward pass to the layer, one backward pass for each unit: same signals, but plain gradients."""
    pixels = images.clone().requires_grad_()
    gradients = []
    with forward_to(net, found.layer) as features:
        output = features(pixels)[found.layer]
        for row, unit in enumerate(found.units):
            image, down, right = start_of(found, row)
            signal = torch.zeros_like(output)
            signal[image, unit, down, right] = found.activations[row]
            gradients += torch.autograd.grad(output, pixels, signal, retain_graph=True)
    return torch.stack(gradients)


def difference(maps: Tensor, others: Tensor) -> float:
    """The largest of a projection, over the largest value of it in either; the worst of all projections."""
    largest = torch.maximum(maps.abs(), others.abs()).flatten(2).amax(2)
    apart = (maps - others).abs().flatten(2).amax(2)
    return float((apart / largest.clamp(min=torch.finfo(maps.dtype).tiny)).max())
