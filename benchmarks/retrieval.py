"""Descriptors for image retrieval on toy worlds whose truth is known, their time, and the tables of the thesis.

    python -m benchmarks.retrieval [--quick] [--part worlds|time|index|real]
    python -m benchmarks.retrieval --part real --oxford FOLDER --paris FOLDER --voc FOLDER --vgg16 FILE --resnet50 FILE

- ``worlds``: mAP of all descriptors on things of a kind and on streets of the same houses in different orders, and what
  becomes of the claims of the thesis there.
- ``time``: descriptors over the forward pass, and scikit-learn's NMF on the same matrices.
- ``index``: FAISS, exact and approximate, against all similarities.
- ``real``: tables 5.1 to 5.3 of the thesis beside its numbers, where data and weights are there.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks._localization_scenes import Subject, imagenet_network, toy_network
from benchmarks._results import RESULTS, write_results
from benchmarks._retrieval_claims import claim_rows, reference_rows, score_row
from benchmarks._retrieval_index import MATCHES, index_rows
from benchmarks._retrieval_real import Sources, real_rows
from benchmarks._retrieval_scores import EXPANSION, METHODS, all_scores, see
from benchmarks._retrieval_time import ITERATIONS, time_rows, timed_networks
from benchmarks._retrieval_worlds import World, category_world, instance_world

PARTS = ("worlds", "time", "index", "real")
CALIBRATION = 1
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Preset:
    """Sizes.

    Attributes:
        width: of the network that is trained.
        scenes: it is trained on.
        epochs: of its training.
        side: height of its images of categories.
        street_side: height of its images of streets.
        large_side: height of SqueezeNet's images; 0 leaves it out.
        images: of a world of categories.
        families: of streets.
        orders: streets of a family.
        views: images of a street.
        queries: of a class.
        street_queries: of a street.
        others: images to learn a whitening on.
        worlds: on which is measured.
        large_worlds: the same for SqueezeNet.
        ks: numbers of factors to choose from.
        dims: dimensions of whitening to choose from.
        timed_side: of the images that are timed.
        timed: of them in a batch, large ones and small ones.
        repeats: of what is timed; the best counts.
        vectors: in the index.
        dim: of them.
        probes: lists of the approximation to look through.
        real_side: smaller side of real pictures.
    """

    width: int = 16
    scenes: int = 2000
    epochs: int = 8
    side: int = 64
    street_side: int = 96
    large_side: int = 128
    images: int = 240
    families: int = 6
    orders: int = 4
    views: int = 8
    queries: int = 3
    street_queries: int = 1
    others: int = 240
    worlds: tuple[int, ...] = (2, 3, 4)
    large_worlds: tuple[int, ...] = (2, 3)
    ks: tuple[int, ...] = (2, 4, 6, 8)
    dims: tuple[int, ...] = (16, 32, 64)
    timed_side: int = 224
    timed: tuple[int, int] = (8, 64)
    repeats: int = 3
    vectors: int = 100_000
    dim: int = 128
    probes: tuple[int, ...] = (4, 16)
    real_side: int = 512


QUICK = Preset(
    4, 48, 1, 32, 48, large_side=0, images=24, families=2, orders=2, views=3, queries=1, street_queries=1, others=40,
    worlds=(2,), ks=(2,), dims=(4,), timed_side=64, timed=(2, 4), repeats=1, vectors=500, dim=8, probes=(),
    real_side=64,
)  # fmt: skip


def worlds_of(preset: Preset, kind: str, seeds: Sequence[int], side: int) -> list[World]:
    """Worlds of one kind."""
    others = preset.others
    make = partial(category_world, n=preset.images, n_queries=preset.queries, n_others=others)
    if kind == "instances":
        sizes = {"families": preset.families, "orders": preset.orders, "views": preset.views}
        make = partial(instance_world, n_queries=preset.street_queries, n_others=others, **sizes)
    return [make(seed, side=side) for seed in seeds]


def world_rows(preset: Preset, subject: Subject, kind: str) -> tuple[Rows, Rows]:
    """Scores and claims of one network on one kind of worlds."""
    seeds = preset.worlds if subject.classes else preset.large_worlds
    side = preset.street_side if subject.classes and kind == "instances" else subject.size[0]
    calibration, *worlds = worlds_of(preset, kind, (CALIBRATION, *seeds), side)
    methods = [method for method in METHODS if method != "cam" or subject.classes]
    seen = [see(subject, world) for world in worlds]
    found = list(all_scores(see(subject, calibration), seen, methods, preset.ks, preset.dims))
    facts = {"network": subject.name, "world": kind}
    scores = [facts | row for row in (*map(score_row, found), *reference_rows(worlds))]
    return scores, [facts | row for row in claim_rows(kind, found)]


def networks(preset: Preset, weights: Path) -> tuple[list[Subject], str]:
    """Those that are measured on toy worlds, and a sentence for the notes."""
    small, accuracy = toy_network(width=preset.width, n=preset.scenes, epochs=preset.epochs, side=preset.side)
    note = (
        f"Network trained on {preset.scenes} toy scenes, {preset.epochs} epochs, {preset.side} x {preset.side}, test"
        f" accuracy {accuracy:.0%}; categories {preset.side}, streets {preset.street_side} pixels high."
    )
    if not preset.large_side or not weights.is_file():
        return [small], f"{note} SqueezeNet takes no part: {'--quick' if weights.is_file() else 'no weights'}."
    large = imagenet_network(weights, preset.large_side)
    return [small, large], f"{note} SqueezeNet: {preset.large_side} pixels high; CAM does not know its classifier."


def world_notes(preset: Preset, about: str) -> str:
    """What a reader must know of the worlds."""
    return (
        f"{about} categories: {preset.images} pictures of two objects side by side, {preset.queries} queries of each of"
        f" 12 classes; found is an object of the class. instances: {preset.families} families of {preset.orders}"
        f" streets, {preset.views} pictures and {preset.street_queries} queries of each; the streets of a family are"
        " made of the same four houses in another order. 'what there is': the expectation for who sees these houses"
        f" and not their order. Worlds {preset.worlds}, SqueezeNet {preset.large_worlds}. Percent. s.e.: over groups of"
        " queries that share answers, classes or families, world by world. expanded: a second search with the"
        f" {EXPANSION} best matches. box: 'factors', the whole picture and its factors in the box, all of them where"
        " there are none ('no factor in the box', percent of queries); 'crop', what is in the box. k and the dimensions"
        f" of the whitening are the best of {preset.ks} and {preset.dims} on world {CALIBRATION}, whitened, with the"
        f" first use of the box. Whitening is learned on {preset.others} other pictures."
        " With k = 2 and without whitening, NMF V^T U is NMF V: both factors are mixed alike."
    )


CLAIM_NOTES = (
    "The thesis finds NMF V best for categories (mAP@30) and NMF V^T U best for instances (mAP). difference: its best"
    " one minus the other one, in points, one search. its box: how NMF uses it, 'factors' as in the thesis; the others"
    " always cut it out. Intervals: 95 %, percentile bootstrap over groups of queries that share answers. 'above': the"
    " interval is, 'open': it holds 0. Not adjusted for the number of comparisons."
)


def time_notes(preset: Preset) -> str:
    """What a reader must know of the times."""
    return (
        f"CPU time of the process, one thread, the best of {preset.repeats}, in turns. times forward: describing a"
        " batch over the plain forward pass through the whole network, of which descriptors need the part up to their"
        f" layer; the budget of NMF is 1.3. k = 4, {ITERATIONS} iterations for all images at once. scikit-learn: NMF"
        " of each image on its own, with its defaults (coordinate descent, up to 200 iterations). Errors: relative,"
        " mean over images. Networks but SqueezeNet have random weights."
    )


INDEX_NOTES = (
    f"Planted clusters of unit vectors, {MATCHES} matches. CPU time, one thread. recall: share of the exact matches. MB"
    " in memory: the vectors, or what the approximation holds in their place; it ranks what it proposes by vectors that"
    " it reads from files. 'lists' is the effort, the last row the default. The first answer includes learning the"
    " approximation."
)


def tables(parts: Sequence[str], preset: Preset, weights: Path) -> Iterator[tuple[str, Rows, str]]:
    """Name, rows and notes of the tables that need no data, one by one."""
    if "worlds" in parts:
        subjects, about = networks(preset, weights)
        found = [world_rows(preset, subject, kind) for subject in subjects for kind in ("categories", "instances")]
        yield "retrieval", [row for scores, _ in found for row in scores], world_notes(preset, about)
        yield "retrieval_claims", [row for _, claims in found for row in claims], CLAIM_NOTES
    if "time" in parts:
        timed = timed_networks(preset.timed_side, weights)
        large, small = preset.timed
        rows = list(time_rows(timed, k=4, large=large, small=small, repeats=preset.repeats))
        yield "retrieval_time", rows, time_notes(preset)
    if "index" in parts:
        clusters = max(1, preset.vectors // 100)
        rows = list(index_rows(preset.vectors, preset.dim, clusters=clusters, probes=preset.probes))
        yield "retrieval_index", rows, INDEX_NOTES


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, help="all by default")
    parser.add_argument("--quick", action="store_true", help="a tiny network, few images")
    parser.add_argument("--oxford", type=Path, default=Path("../shared/data/oxford5k"))
    parser.add_argument("--paris", type=Path, default=Path("../shared/data/paris6k"))
    parser.add_argument("--voc", type=Path, default=Path("../shared/data/voc2010"), help="holds VOCdevkit/VOC2010")
    parser.add_argument("--vgg16", type=Path, help="weights")
    parser.add_argument("--resnet50", type=Path, help="weights")
    parser.add_argument("--squeezenet", type=Path, default=Path("../shared/weights/squeezenet1_0_imagenet.safetensors"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = arguments(argv)
    torch.set_num_threads(1)
    preset = QUICK if args.quick else Preset()
    parts = [args.part] if args.part else PARTS
    seeds = sorted({0, CALIBRATION, *preset.worlds, *preset.large_worlds})
    for name, rows, text in tables(parts, preset, args.squeezenet):
        print(write_results(name, rows, seeds=seeds, notes=text, folder=args.out).read_text(), flush=True)
    if "real" in parts:
        weights = {"vgg16": args.vgg16, "resnet50": args.resnet50}
        files = {name: file for name, file in weights.items() if file is not None and file.is_file()}
        for name, rows, text in real_rows(Sources(args.oxford, args.paris, args.voc, files, preset.real_side)):
            path = write_results(f"retrieval_{name}", rows, seeds=[0], notes=text, folder=args.out)
            print(path.read_text(), flush=True)


if __name__ == "__main__":
    main()
