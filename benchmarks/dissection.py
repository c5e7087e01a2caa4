"""What a dissection costs, and whether it finds what brute force finds.

    python -m benchmarks.dissection

Time against two plain forward passes over the same images, which are held in memory (budget: 1.5 times for one layer);
peak memory against the number of images; and levels, intersections over unions and number of detected concepts against
a loop over whole activations.
"""

import argparse
import multiprocessing
import resource
from collections.abc import Callable, Iterator
from functools import partial
from math import floor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader, Dataset
from torchvision.models import resnet18, squeezenet1_1

from benchmarks._image_score_time import best
from benchmarks._results import RESULTS, write_results
from lightning_interp.datasets import ToyConcepts, ToyScenes
from lightning_interp.functional.dissection import Concepts, concept_batches, network_dissection
from lightning_interp.hooks import collect, evaluating, preserved_rng, select_layers
from lightning_interp.metrics.dissection import ConceptIoU, UnitActivations
from lightning_interp.models import CIFAR10CNN, VGG16ForSmallImages

BUDGET = 1.5
BATCH_SIZE = 32
# Network, side of its images, and of the masks.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "CIFAR10CNN(width=64)": (partial(CIFAR10CNN, width=64), 32, 32),
    "VGG16ForSmallImages": (VGG16ForSmallImages, 32, 32),
    "squeezenet1_1": (squeezenet1_1, 224, 112),
    "resnet18": (resnet18, 224, 112),
}


class Scenes(Dataset[Any]):
    """Toy scenes with masks thinned out to another size, as Broden's are."""

    def __init__(self, n: int, side: int, mask_side: int) -> None:
        self.source, self.step = ToyConcepts(ToyScenes(n, size=side)), side // mask_side
        self.concepts = self.source.concepts

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Any]]:
        image, targets = self.source[index]
        thin = {k: v[:: self.step, :: self.step].clone() if isinstance(v, Tensor) else v for k, v in targets.items()}
        return image, thin


class Held(list[Any]):
    """A concept dataset in memory: reading images is not what is timed."""

    def __init__(self, data: Scenes) -> None:
        super().__init__(data[i] for i in range(len(data)))
        self.concepts = data.concepts


def network(name: str) -> nn.Module:
    with preserved_rng(0):
        return NETWORKS[name][0]()


def plain(net: nn.Module, data: Any) -> None:
    """Two forward passes."""
    with evaluating(net):
        for _ in range(2):
            for _, images, _ in concept_batches(DataLoader(data, BATCH_SIZE, collate_fn=list), torch.device("cpu")):
                net(images)


def time_rows(n_small: int, n_large: int, repeats: int) -> Iterator[dict[str, Any]]:
    """Seconds of a dissection of one layer, and of all of the last block, over those of two forward passes."""
    for name, (_, side, mask_side) in NETWORKS.items():
        net, data = network(name), Held(Scenes(n_small if side == 32 else n_large, side, mask_side))
        layers = select_layers(net, "last_block", example_input=data[0][0][None])
        passes = {"plain": partial(plain, net, data)}
        passes |= {label: partial(network_dissection, net, data, which) for label, which in parts(layers).items()}
        took = best(passes, repeats, torch.device("cpu"))
        for label, which in parts(layers).items():
            found = network_dissection(net, Held(Scenes(4, side, mask_side)), which)
            yield {
                "network": name,
                "image side": side,
                "mask side": mask_side,
                "images": len(data),
                "layers": label,
                "units": sum(len(layer.levels) for layer in found.layers.values()),
                "two passes, ms per image": 1000 * took["plain"] / len(data),
                "times two passes": took[label] / took["plain"],
            }


def parts(layers: list[str]) -> dict[str, list[str]]:
    return {"1": layers[-1:], f"{len(layers)} (last block)": layers}


def memory_rows(counts: list[int]) -> Iterator[dict[str, Any]]:
    """Growth of the resident set while images are drawn, dissected and forgotten, each number in a fresh process."""
    name = "CIFAR10CNN(width=64)"
    net = network(name)
    layers = select_layers(net, "last_block", example_input=torch.zeros(1, 3, 32, 32))
    grown = {}
    for n in counts:  # all before the states are made: a process begins with the peak of its parent
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            grown[n] = pool.apply(_growth, (net, layers, n))
    state = state_bytes(net, layers) / 1e6
    for n in counts:
        yield {"network": name, "images": n, "peak growth, MB": grown[n], "state, MB": state}


def _growth(net: nn.Module, layers: list[str], n: int) -> float:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    network_dissection(net, Scenes(n, 32, 32), layers, batch_size=BATCH_SIZE)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def state_bytes(net: nn.Module, layers: list[str]) -> int:
    """Of what ranks exchange; it has no axis of images."""
    seen = collect(net, [torch.zeros(1, 3, 32, 32)], layers)
    sizes = [seen[name].shape[1] for name in layers]
    states = (UnitActivations(layers, sizes), ConceptIoU(Concepts.of(ToyScenes.concepts), layers, sizes))
    return sum(value.nbytes for metric in states for value in metric.metric_state.values())


def exactness_rows(n: int) -> Iterator[dict[str, Any]]:
    """Against brute force, with levels from histograms and with exact ones."""
    net, data = network("CIFAR10CNN(width=64)"), Held(Scenes(n, 32, 32))
    layers = select_layers(net, "last_block", example_input=data[0][0][None])
    activations = collect(net, [torch.stack([image for image, _ in data])], layers)
    slow = {name: brute_force(activations[name], data) for name in layers}
    for exact in (False, True):
        found = network_dissection(net, data, layers, exact=exact)
        for name, (level, iou) in slow.items():
            mine = found.layers[name]
            yield {
                "layer": name,
                "levels": "exact" if exact else "histogram",
                "images": n,
                "largest error of a level": float(((mine.levels - level).abs() / level.clamp(min=1e-12)).max()),
                "largest error of an IoU": float((mine.iou - iou).abs().max()),
                "concepts detected": detected(mine.iou),
                "by brute force": detected(iou),
            }


def brute_force(activation: Tensor, data: Held, quantile: float = 0.005) -> tuple[Tensor, Tensor]:
    """Levels ``(units,)`` and intersections over unions ``(units, concepts)``, concept by concept, image by image."""
    values = activation.movedim(1, 0).flatten(1).sort(1, descending=True).values
    levels = values[:, floor(quantile * values.shape[1])]
    concepts = [(category, i) for category, names in data.concepts.items() for i in range(1, len(names))]
    common, union = torch.zeros(len(levels), len(concepts)), torch.zeros(len(levels), len(concepts))
    for maps, (image, target) in zip(activation, data, strict=True):
        size = (image.shape[1], image.shape[2])
        active = interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0] > levels[:, None, None]
        for column, (category, concept) in enumerate(concepts):
            present = torch.as_tensor(target[category] == concept).expand(size)
            common[:, column] += (active & present).sum((1, 2))
            union[:, column] += (active | present).sum((1, 2))
    return levels, torch.where(union > 0, common / union, 0.0)


def detected(iou: Tensor, threshold: float = 0.04) -> int:
    highest, concept = iou.max(1)
    return len(concept[highest > threshold].unique())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["time", "memory", "exactness"], help="all by default")
    parser.add_argument("--images", type=int, default=512, help="at 32 pixels")
    parser.add_argument("--large-images", type=int, default=128, help="at 224 pixels")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    work: dict[str, tuple[Callable[[], Iterator[dict[str, Any]]], str]] = {
        "time": (
            partial(time_rows, args.images, args.large_images, args.repeats),
            f"Untrained weights, images in memory; best of {args.repeats}, in turns. Budget, one layer: {BUDGET}.",
        ),
        "memory": (
            partial(memory_rows, [args.images // 4, args.images, 4 * args.images]),
            "All of the last block. Images are drawn as they are needed, each number of them in a process of its own.",
        ),
        "exactness": (partial(exactness_rows, max(1, args.images // 8)), "Untrained weights."),
    }
    for part, (rows, notes) in work.items():
        if args.part in (None, part):
            name = "dissection" if part == "time" else f"dissection_{part}"
            path = write_results(name, list(rows()), seeds=[0], notes=notes, folder=args.out)
            print(path.read_text())


if __name__ == "__main__":
    main()
