"""Where objects and their parts are, found by NMF heatmaps and by others, on toy scenes and on real pictures.

    python -m benchmarks.localization [--quick] [--part objects|parts|time|real]
    python -m benchmarks.localization --part real --icoseg FOLDER --voc FOLDER --pascal_part FOLDER \
        --vgg19 FILE --resnet50 FILE

- ``objects``: IoU and CorLoc of the object that a set of images has in common, and milliseconds.
- ``parts``: IoU of factors and parts by the number of factors.
- ``time``: seconds and error beside grad-cam's Deep Feature Factorization.
- ``real``: tables 4.2 to 4.5 of the thesis beside its numbers, where data and weights are there.

grad-cam comes with ``pip install lightning-interp[bench]``; if it is not there it takes no part, and the notes say so.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks._localization_methods import GRAD_CAM
from benchmarks._localization_real import Sources, real_rows
from benchmarks._localization_scenes import Subject, imagenet_network, scene_sets, toy_network
from benchmarks._localization_scores import THRESHOLDS, object_rows, part_rows
from benchmarks._localization_time import time_rows
from benchmarks._results import RESULTS, write_results
from benchmarks._synthesis_peers import takes_part

PARTS = ("objects", "parts", "time", "real")
CALIBRATION = (1,)
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Preset:
    """Sizes.

    Attributes:
        width: of the network that is trained.
        scenes: it is trained on.
        epochs: of its training.
        side: height of its images.
        large_side: height of SqueezeNet's images; 0 leaves it out.
        classes: one set of images for each.
        images: of a set.
        worlds: on which is measured; SqueezeNet, and parts, in the first alone.
        ks: numbers of factors.
        timed: images of the set that is timed.
        repeats: of what is timed; the best counts.
        real_side: of real pictures.
    """

    width: int = 16
    scenes: int = 2000
    epochs: int = 8
    side: int = 64
    large_side: int = 128
    classes: int = 12
    images: int = 8
    worlds: tuple[int, ...] = (2, 3)
    ks: tuple[int, ...] = (1, 2, 3, 4, 8)
    timed: int = 16
    repeats: int = 3
    real_side: int = 224


QUICK = Preset(
    4, 48, 1, side=32, large_side=0, classes=2, images=4, worlds=(2,), ks=(1, 2), timed=4, repeats=1, real_side=64
)


def toy_rows(part: str, preset: Preset, subjects: list[Subject], *, peers: bool) -> Iterator[dict[str, Any]]:
    """The rows of one part on toy scenes, network by network."""
    for subject in subjects:
        if part == "time":
            yield from time_rows(subject, n=preset.timed, ks=preset.ks, repeats=preset.repeats, peers=peers)
            continue
        worlds = preset.worlds if subject.classes and part == "objects" else preset.worlds[:1]
        calibration, sets = (
            list(scene_sets(subject, seeds, classes=preset.classes, n=preset.images)) for seeds in (CALIBRATION, worlds)
        )
        if part == "objects":
            yield from object_rows(subject, calibration, sets, peers=peers)
        else:
            yield from part_rows(subject, calibration, sets, preset.ks, peers=peers)


def networks(preset: Preset, weights: Path) -> tuple[list[Subject], str]:
    """Those that are measured on toy scenes, and a sentence for the notes."""
    small, accuracy = toy_network(width=preset.width, n=preset.scenes, epochs=preset.epochs, side=preset.side)
    note = (
        f"Network trained on {preset.scenes} toy scenes, {preset.epochs} epochs, {preset.side} x {preset.side}, test"
        f" accuracy {accuracy:.0%}; measured on {preset.side} x {2 * preset.side}."
    )
    if not preset.large_side or not weights.is_file():
        return [small], f"{note} SqueezeNet takes no part: {'--quick' if weights.is_file() else 'no weights'}."
    large = imagenet_network(weights, preset.large_side)
    return [small, large], f"{note} SqueezeNet: images {preset.large_side} x {2 * preset.large_side}."


def notes(part: str, preset: Preset, about: str) -> str:
    """What a reader must know."""
    sets = (
        f"{about} Sets: {preset.images} images of one class, {preset.classes} classes in {len(preset.worlds)} worlds"
        " (SqueezeNet, and parts: in the first of them), twice as wide as high. sd: over sets. Cuts: thresholds"
        f" {', '.join(map(str, THRESHOLDS))} of the largest value in the set or in the image, the same choice for all"
        f" methods; for each method and score the best one on sets of world {CALIBRATION[0]} is taken. All look at one"
        " layer."
    )
    return {
        "objects": f"{sets} The first image of a set is not measured: one-shot sees its truth. 'at 0.75': of the"
        " set, as in the thesis, or of the image where the method scales it. Boxes: around the largest region, right"
        " at an IoU above 0.5. PCA: of both sides of the component the one farther from the border. ms: CPU, from"
        " images to maps, one thread. 'Cut of the set': the best of these alone. 'true class' and 'one-shot' use truth,"
        " the others none.",
        "parts": f"{sets} Matched: mean over factors and (unions of) parts that prefer each other, as in the thesis;"
        " best: mean over parts of the IoU with their best factor, by the truth. PCA: positive sides. Strongest"
        " channels: by their mean. Masks are compared at 32 rows.",
        "time": f"{about} CPU time, one thread, the best of {preset.repeats}, in turns. Whole calls, from images to"
        " maps at image size; 'activations' is the forward pass and what our heatmaps need to know where cells lie."
        " Factors alone: defaults of both, DFF's are scikit-learn's coordinate descent.",
    }[part]


def toy_tables(parts: Sequence[str], preset: Preset, weights: Path, out: Path) -> Iterator[Path]:
    """Measure parts on toy scenes and write their tables, one by one."""
    peers, peer_note = takes_part(GRAD_CAM, CPU)
    subjects, about = networks(preset, weights) if parts else ([], "")
    for part in parts:
        rows = list(toy_rows(part, preset, subjects, peers=peers))
        name = "localization" if part == "objects" else f"localization_{part}"
        text = f"{notes(part, preset, about)} {peer_note}"
        yield write_results(name, rows, seeds=[0, *CALIBRATION, *preset.worlds], notes=text, folder=out)


def real_tables(sources: Sources, out: Path) -> Iterator[Path]:
    """Measure real pictures and write their tables, one by one."""
    for table, rows, text in real_rows(sources):
        yield write_results(f"localization_{table}", rows, seeds=[0], notes=text, folder=out)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, help="all by default")
    parser.add_argument("--quick", action="store_true", help="a tiny network, few images")
    parser.add_argument("--icoseg", type=Path, default=Path("../shared/data/icoseg"))
    parser.add_argument("--voc", type=Path, default=Path("../shared/data/voc"), help="holds VOCdevkit/VOC2007")
    parser.add_argument("--pascal_part", type=Path, default=Path("../shared/data/pascal_part"))
    parser.add_argument("--vgg19", type=Path, help="weights")
    parser.add_argument("--resnet50", type=Path, help="weights")
    parser.add_argument("--squeezenet", type=Path, default=Path("../shared/weights/squeezenet1_0_imagenet.safetensors"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = arguments(argv)
    torch.set_num_threads(1)
    preset = QUICK if args.quick else Preset()
    parts = [args.part] if args.part else PARTS
    for path in toy_tables([part for part in parts if part != "real"], preset, args.squeezenet, args.out):
        print(path.read_text(), flush=True)
    if "real" in parts:
        weights = {"vgg19": args.vgg19, "resnet50": args.resnet50, "squeezenet1_0": args.squeezenet}
        files = {name: file for name, file in weights.items() if file is not None and file.is_file()}
        sources = Sources(args.icoseg, args.voc, args.pascal_part, files, preset.real_side)
        for path in real_tables(sources, args.out):
            print(path.read_text(), flush=True)


if __name__ == "__main__":
    main()
