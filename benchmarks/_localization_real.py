"""The tables of the thesis on real pictures, where data and weights are there."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.utils.data import Dataset, Subset

from benchmarks._image_score_time import clocked
from benchmarks._localization_paper import ANIMALS, ICOSEG, PART_GROUPS, PARTS, VOC, VOC_MEAN
from benchmarks._localization_scenes import IMAGENET
from benchmarks._synthesis_peers import quiet
from lightning_interp.cli.networks import load_network
from lightning_interp.datamodules import ICosegDataModule
from lightning_interp.datasets import PascalPart, VOCDetection
from lightning_interp.datasets.folder_images import decode
from lightning_interp.exceptions import DatasetNotFoundError
from lightning_interp.functional.localization import (
    binarize,
    colocalize,
    correct_localization,
    cosegment,
    heatmap_sweep,
    object_iou,
    part_table,
)

ONE_SHOT = (2, 4, 6, 8)
Rows = list[dict[str, Any]]


class Recipe(NamedTuple):
    """Layer, number of factors whose foreground is the object, and padding."""

    layer: str
    k: int
    padding: str


RECIPES = {  # the thesis's; SqueezeNet, which it does not have, like VGG
    "vgg19": Recipe("features.35", 1, "zeros"),
    "resnet50": Recipe("layer3", 2, "reflect"),
    "squeezenet1_0": Recipe("features.12", 1, "zeros"),
}


@dataclass(frozen=True)
class Sources:
    """Folders, which need not exist, and files of weights, which do.

    Attributes:
        icoseg: iCoseg, or pictures in folders of it, one for each set.
        voc: VOC 2007.
        pascal_part: PASCAL-Part and VOC 2010.
        weights: by name of the network.
        side: to which pictures are resized.
    """

    icoseg: Path
    voc: Path
    pascal_part: Path
    weights: dict[str, Path]
    side: int


def real_rows(sources: Sources) -> Iterator[tuple[str, Rows, str]]:
    """Name, rows and notes of every table that can be made, and at last what became of each."""
    states: Rows = [{"table": "4.1", "data": "iCoseg", "state": "not possible: its masks of parts are not public"}]
    tables: list[tuple[str, str, Path, Callable[[nn.Module, Recipe, Sources], Rows]]] = [
        ("4.2", "icoseg", sources.icoseg, icoseg_rows),
        ("4.3", "voc", sources.voc, voc_rows),
        ("4.4", "pascal_part", sources.pascal_part, part_rows),
        ("4.5", "pascal_part_animals", sources.pascal_part, animal_rows),
        ("(no masks)", "pictures", sources.icoseg, picture_rows),
    ]
    for table, name, folder, make in tables:
        try:
            rows = list(_by_network(sources, make))
            state = f"written: localization_{name}" if rows else "skipped: no weights"
        except DatasetNotFoundError as error:
            rows, state = [], f"skipped: {str(error).split('. ')[0]}"
        states.append({"table": table, "data": folder.name, "state": state})
        if rows:
            about = f"Table {table} of the thesis, percent" if table[0] == "4" else "Sets of pictures without masks"
            yield name, rows, f"{about}; pictures {sources.side} x {sources.side}."
    yield "real", states, "Tables of the thesis on real pictures: what could be measured here, and why not."


def icoseg_rows(net: nn.Module, recipe: Recipe, sources: Sources) -> Rows:
    """Table 4.2: IoU of the object; one-shot by the first mask, measured on the other pictures."""
    data = ICosegDataModule(sources.icoseg, image_size=sources.side)
    data.prepare_data()
    with quiet():  # it warns of missing masks; they are not annotated
        data.setup()
    rows = []
    for name in data.group_names:
        images, masks = map(torch.stack, zip(*data.group_dataset(name), strict=True))
        options: dict[str, Any] = {"layer": recipe.layer, "padding": recipe.padding}
        plain = cosegment(net, images, recipe.k, **options)
        paper = next((each for each in ICOSEG if re.search(each.pattern, name.casefold())), None)
        row = {"group": name, "pictures": len(images), "IoU": 100 * float(object_iou(plain.masks, masks))}
        row["one-shot"] = _one_shot(net, images, masks, options)
        if paper:
            row |= {"thesis, VGG-19": paper.vgg19, "thesis, ResNet-50": paper.resnet50}
            row |= {"its one-shot, VGG-19": paper.vgg19_one_shot, "its one-shot, ResNet-50": paper.resnet50_one_shot}
        rows.append(row)
    return rows


def voc_rows(net: nn.Module, recipe: Recipe, sources: Sources) -> Rows:
    """Table 4.3: CorLoc by class, and the mean over classes."""
    data = VOCDetection(sources.voc, year=2007, image_set="trainval", transform=IMAGENET)
    rows: Rows = []
    for name in VOCDetection.classes:
        truth = data.class_images(name)
        if len(truth) < 2:
            continue
        options: dict[str, Any] = {"layer": recipe.layer, "padding": recipe.padding, "image_size": sources.side}
        found = colocalize(net, Subset(data, list(truth)), recipe.k, **options)
        boxes = found.scaled_boxes(torch.tensor([_size(data, index) for index in truth]))
        right = correct_localization(boxes, list(truth.values())).double().mean()
        row = {"class": name, "pictures": len(truth), "CorLoc": 100 * float(right)}
        rows.append(row | dict(zip(("thesis, VGG-19", "thesis, ResNet-50"), VOC.get(name, ()), strict=False)))
    mean = sum(row["CorLoc"] for row in rows) / max(1, len(rows))
    total = sum(row["pictures"] for row in rows)
    last = {"class": "mean", "pictures": total, "CorLoc": mean}
    return [*rows, last | dict(zip(("thesis, VGG-19", "thesis, ResNet-50"), VOC_MEAN, strict=True))]


def part_rows(net: nn.Module, recipe: Recipe, sources: Sources) -> Rows:
    """Table 4.4: what each factor shows at 1 to 4 factors, by all truth."""
    rows = []
    for name, paper in PARTS.items():
        images, truth, names = _part_set(sources, name)
        if len(images) < 2:
            continue
        sweep = heatmap_sweep(net, images, range(1, 5), layer=recipe.layer, padding=recipe.padding)
        for found, theirs in zip(sweep, paper, strict=True):
            table = part_table(binarize(found), truth, names)
            factors = [
                f"{'/'.join(parts)} {100 * float(iou):.0f}" for parts, iou in zip(table.parts, table.iou, strict=True)
            ]
            rows.append(
                {
                    "class": name,
                    "pictures": len(images),
                    "K": found.k,
                    "factors": ", ".join(factors),
                    "mean": 100 * float(table.iou.mean()),
                    "thesis, VGG-19": ", ".join(map(str, theirs)),
                    "its mean": sum(theirs) / len(theirs),
                }
            )
    return rows


def animal_rows(net: nn.Module, recipe: Recipe, sources: Sources) -> Rows:
    """Table 4.5: parts of cows and horses; four factors, named and merged by the truth of five pictures."""
    rows = []
    for name, paper in ANIMALS.items():
        images, truth, names = _part_set(sources, name)
        if len(images) <= 5:
            continue
        (found,) = heatmap_sweep(net, images, [4], layer=recipe.layer, padding=recipe.padding)
        table = part_table(binarize(found), truth, names, known=range(5), merging="factors")
        for part in names:
            ious = [float(iou) for parts, iou in zip(table.parts, table.iou, strict=True) if parts == (part,)]
            columns = dict(zip(("supervised", "thesis, VGG-19", "thesis, ResNet-50"), paper[part], strict=True))
            rows.append({"class": name, "pictures": len(images), "part": part, "IoU": 100 * max(ious, default=0.0)})
            rows[-1] |= columns
    return rows


def picture_rows(net: nn.Module, recipe: Recipe, sources: Sources) -> Rows:
    """Sets of pictures without truth: error and time of the factors, nothing else."""
    if (sources.icoseg / "images").is_dir() or not sources.icoseg.is_dir():
        raise DatasetNotFoundError(f"no folders of pictures without masks in {str(sources.icoseg)!r}")
    rows = []
    for folder in sorted(path for path in sources.icoseg.iterdir() if path.is_dir()):
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in {".jpg", ".jpeg", ".png"})
        if len(files) < 2:
            continue
        images = torch.stack([_square(decode(file, size=None).float() / 255, sources.side) for file in files])
        for k in (1, *ONE_SHOT):
            found: list[Any] = []
            work = _sweep_of(net, recipe, IMAGENET(images), k, found)
            seconds = clocked(work, torch.device("cpu"))
            row = {"set": folder.name, "pictures": len(files), "k": k, "relative error": found[0].error}
            rows.append(row | {"ms per picture": 1000 * seconds / len(files)})
    return rows


def _by_network(sources: Sources, make: Callable[[nn.Module, Recipe, Sources], Rows]) -> Iterator[dict[str, Any]]:
    for name, file in sources.weights.items():
        net = load_network(name, ckpt=file)
        for row in make(net, RECIPES[name], sources):
            yield {"network": name, **row}


def _one_shot(net: nn.Module, images: Tensor, masks: Tensor, options: dict[str, Any]) -> float | None:
    shown = next(i for i, mask in enumerate(masks) if bool((mask > 0).any()))
    rest = [i for i in range(len(images)) if i != shown]
    try:
        found = cosegment(net, images, ONE_SHOT, truth={shown: masks[shown]}, **options)
    except ValueError:  # no factor overlaps that mask at this threshold: there is nothing to choose by
        return None
    return 100 * float(object_iou(found.masks[rest], masks[rest]))


def _sweep_of(net: nn.Module, recipe: Recipe, images: Tensor, k: int, found: list[Any]) -> Callable[[], None]:
    options: dict[str, Any] = {"layer": recipe.layer, "padding": recipe.padding}
    return lambda: found.extend(heatmap_sweep(net, images, [k], **options))


def _part_set(sources: Sources, name: str) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Pictures ``(N, 3, s, s)`` of a class without difficult and truncated ones, and parts ``(N, T, s, s)``."""
    groups = {part: [f"{name}/{each}" for each in patterns] for part, patterns in PART_GROUPS[name].items()}
    options: dict[str, Any] = {"image_set": "trainval", "categories": ["part"], "groups": groups}
    data: Dataset[Any] = PascalPart(sources.pascal_part, transform=IMAGENET, **options)
    chosen = VOCDetection(sources.pascal_part, year=2010, image_set="trainval").class_images(name)
    images, truth = [], []
    for index in chosen:
        image, targets = data[index]
        if "part" not in targets:
            continue
        images.append(_square(image, sources.side))
        layers = targets["part"] if targets["part"].ndim == 3 else targets["part"][None]
        masks = torch.stack([(layers == value).any(0) for value in range(1, 1 + len(groups))]).float()
        truth.append(interpolate(masks[None], (sources.side, sources.side), mode="nearest-exact")[0].bool())
    if not images:
        return torch.empty(0), torch.empty(0), tuple(groups)
    return torch.stack(images), torch.stack(truth), tuple(groups)


def _square(image: Tensor, side: int) -> Tensor:
    squared: Tensor = interpolate(image[None], (side, side), mode="bilinear", antialias=True)[0]
    return squared


def _size(data: VOCDetection, index: int) -> tuple[int, int]:
    with Image.open(data.folder / "JPEGImages" / f"{data.ids[index]}.jpg") as picture:
        return picture.height, picture.width
