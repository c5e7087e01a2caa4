"""Seconds of image scores over those of a plain forward pass on the same batches."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import squeezenet1_1

from benchmarks._image_score_quality import READINGS
from benchmarks._results import markdown, write_results
from benchmarks.memorization._networks import stack
from benchmarks.memorization.timing import seconds
from lightning_interp.datamodules import ImageFolderDataModule
from lightning_interp.functional.selection import ClassStatistics, class_statistics, image_scores
from lightning_interp.hooks import evaluating, preserved_rng
from lightning_interp.models import CIFAR10CNN, ResNet18ForSmallImages, VGG16ForSmallImages

N_BATCHES = 10
BUDGET = 1.15
# Network, side of its images, and whether feature maps are so large that their positions must be pooled.
NETWORKS: dict[str, tuple[Callable[..., nn.Module], int, bool]] = {
    "CIFAR10CNN(width=64)": (CIFAR10CNN, 32, False),
    "VGG16ForSmallImages": (VGG16ForSmallImages, 32, False),
    "ResNet18ForSmallImages": (ResNet18ForSmallImages, 32, False),
    "squeezenet1_1": (squeezenet1_1, 224, True),
}


def timing(batch_sizes: Sequence[int], repeats: int, root: Path, out: Path) -> None:
    """Measure all networks and write the table."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = []
    for name, (build, side, pooled) in NETWORKS.items():
        with preserved_rng(0):
            net = build().to(device)
        for batch_size in batch_sizes:
            images, labels = pictures(root, side, N_BATCHES * batch_size)
            case = {"network": name, "side": side, "batch size": batch_size}
            measured = measure(net, images.to(device), labels, batch_size, repeats=repeats, pooled=pooled)
            rows += [case | row for row in measured]
            print("\n".join(markdown(rows[-len(measured) :])), flush=True)
    where = torch.cuda.get_device_name() if device.type == "cuda" else "CPU, in CPU time"
    notes = (
        f"On {where}: {N_BATCHES} batches of CIFAR-10 pictures, untrained weights; the best of {repeats} passes, taken"
        f" in turns with the plain ones. Statistics of the same pictures, their pass apart. Budget: {BUDGET} times."
    )
    write_results("image_score_time", rows, seeds=[0], notes=notes, folder=out)


def pictures(root: Path, side: int, n: int) -> tuple[Tensor, Tensor]:
    """Images ``(n, 3, side, side)`` and their labels, mixed."""
    data = ImageFolderDataModule(root, size=side, train_size=n)
    data.setup()
    mixed = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    images, labels = stack(data.train_dataset, torch.device("cpu"), mixed)
    return images.contiguous(), labels


def measure(
    net: nn.Module, images: Tensor, labels: Tensor, batch_size: int, *, repeats: int, pooled: bool
) -> list[dict[str, Any]]:
    """One row per reading; all of them pool positions when ``pooled``."""
    with evaluating(net):
        n_classes = net(images[:1]).shape[1]
    learn = partial(class_statistics, net, images, labels=labels, n_classes=n_classes, batch_size=batch_size)
    readings = variants(pooled)
    states = {spatial: learn(spatial=spatial) for spatial in {each["spatial"] for each in readings.values()}}
    passes: dict[str, Callable[[], Any]] = {
        "forward": partial(plain, net, images, batch_size),
        "statistics": partial(learn, spatial="mean" if pooled else "none"),
    }
    for name, each in readings.items():
        scoring = {key: value for key, value in each.items() if key != "spatial"}
        passes[name] = partial(image_scores, net, images, states[each["spatial"]], batch_size=batch_size, **scoring)
    took = best(passes, repeats, images.device)
    rows = [_row(name, states[each["spatial"]], each, took, len(images)) for name, each in readings.items()]
    rows[0]["statistics, times forward"] = took["statistics"] / took["forward"]
    return rows


def variants(pooled: bool) -> dict[str, dict[str, Any]]:
    """The readings of the score by name, each with its ``spatial``."""
    spatial = "mean" if pooled else "none"
    found = {name: {"spatial": spatial, **each} for name, each in {"overlap (default)": {}, **READINGS}.items()}
    if pooled:
        del found["spatial mean"]  # the default there
    return found


def plain(net: nn.Module, images: Tensor, batch_size: int) -> None:
    """Forward passes in eval mode, without gradients."""
    with evaluating(net):
        for batch in images.split(batch_size):
            net(batch)


def best(passes: dict[str, Callable[[], Any]], repeats: int, device: torch.device) -> dict[str, float]:
    """The shortest time of each pass; they take turns, so that a slow minute of the machine is everyone's."""
    rounds = [{name: clocked(work, device) for name, work in passes.items()} for _ in range(repeats)]
    return {name: min(each[name] for each in rounds) for name in passes}


def clocked(work: Callable[[], Any], device: torch.device) -> float:
    """Seconds of a call; on a CPU those the process was computing, whatever else runs beside it."""
    if device.type == "cuda":
        return seconds(work, device)[0]
    start = time.process_time()
    work()
    return time.process_time() - start


def _row(name: str, state: ClassStatistics, options: dict[str, Any], took: dict[str, float], n: int) -> dict[str, Any]:
    known = state.counts > 0
    masks = [mask.units[known] for mask in state.masks(options.get("norm", "linf"))]
    return {
        "reading": name,
        "forward, ms per image": 1000 * took["forward"] / n,
        "times forward": took[name] / took["forward"],
        "state, MB": sum(total.nbytes for total in state.sums) / 1e6,
        "units in a mask": sum(float(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks),
    }
