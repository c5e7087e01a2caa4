"""Does the image score choose better pseudo-labels? Every ranking keeps the same share of the same labels.

    python -m benchmarks.image_score --preset cpu
    python -m benchmarks.image_score --part time
    python -m benchmarks.image_score --part retraining --preset paper --network resnet18

- ``selection``: a teacher labels the pool once; precision of what each ranking keeps, and test accuracy of students
  trained anew on the labelled images and on that, all for the same number of steps.
- ``time``: seconds of scoring over those of a plain forward pass.
- ``retraining``: tables 1 to 3 and figure 5 of the paper: training goes on with a choice that is made anew every epoch.

Networks are kept under ``--cache``; an interrupted run goes on where it ended.
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from benchmarks._image_score_quality import ORACLE, SHARES, SURE, quality, rankings, reading
from benchmarks._image_score_retraining import retraining
from benchmarks._image_score_runs import Data, Setting, read, student, teacher
from benchmarks._image_score_time import timing
from benchmarks._results import RESULTS, markdown, write_results
from benchmarks.memorization._study import without_nan
from lightning_interp.functional.selection import RANKINGS, ImageScores, select_top
from lightning_interp.plots import plot_ranking_precision, plot_score_intervals

STUDENTS = (*RANKINGS, ORACLE)


@dataclass(frozen=True)
class Preset:
    """Sizes of the three parts.

    Attributes:
        setting: of the teachers, but for their seed.
        seeds: one teacher each, and its students.
        share: of each predicted class that students get.
        boosted: classes for which trainings go on with a choice of images of that class.
        batch_sizes: of the timed passes.
        repeats: of the timed passes; the best counts.
    """

    setting: Setting
    seeds: tuple[int, ...] = (0, 1, 2)
    share: float = 0.3
    boosted: tuple[int, ...] = tuple(range(10))
    batch_sizes: tuple[int, ...] = (32,)
    repeats: int = 3


_PAPER = Setting("vgg16", labeled=30_000, pool=20_000)
PRESETS = {
    "cpu": Preset(Setting(width=8, labeled=2000, pool=6000, test=5000, epochs=16, lr=3e-3), boosted=(3, 5)),
    "gpu": Preset(Setting(), batch_sizes=(32, 256), repeats=10),
    "paper": Preset(_PAPER, batch_sizes=(32, 256), repeats=10),
}


@dataclass(frozen=True)
class Judged:
    """A teacher with all that is known of its choices; ``students`` by name, with accuracies per class."""

    seed: int
    data: Data
    net: torch.nn.Module
    pool: ImageScores
    scores: dict[str, Tensor]
    rows: list[dict[str, Any]]
    students: dict[str, dict[str, Any]]


def judged(preset: Preset, root: Path, cache: Path) -> Iterator[Judged]:
    """The teachers, one after the other."""
    for seed in preset.seeds:
        setting = replace(preset.setting, seed=seed)
        data = read(setting, root)
        net = teacher(setting, data, cache)
        pool, scores = rankings(net, data, seed=seed)
        rows = [
            {"ranking": name, "seed": seed, **quality(values, pool, data.pool.labels, share=preset.share)}
            for name, values in scores.items()
        ]
        print("\n".join(markdown(rows)), flush=True)
        students = {}
        for name, chosen in choices(pool, scores, preset.share).items():
            right = (pool.labels == data.pool.labels)[chosen].float()
            accuracy = student(setting, data, chosen, pool.labels[chosen], cache)
            students[name] = {"images": len(chosen), "right": float(right.mean()), "accuracy": _mean(accuracy)}
            print(seed, name, students[name], flush=True)
        yield Judged(seed, data, net, pool, scores, rows, students)


def choices(pool: ImageScores, scores: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """Rows of the pool that students are given, by name."""
    everything = torch.arange(len(pool))
    chosen = {name: select_top(scores[name], pool.labels, share) for name in STUDENTS}
    return {"none": everything[:0], **chosen, "all": everything}


def precision_rows(found: Sequence[Judged]) -> list[dict[str, Any]]:
    """One row per ranking: means over the seeds, and the accuracy of its students."""
    table = pd.DataFrame([row for each in found for row in each.rows])
    groups = table.drop(columns="seed").groupby("ranking", sort=False)
    rows = groups.mean().reset_index().to_dict("records")
    for row in rows:
        if row["ranking"] in STUDENTS:
            row["student accuracy"] = _mean([each.students[row["ranking"]]["accuracy"] for each in found])
    controls = [
        {"ranking": name, "student accuracy": _mean([each.students[name]["accuracy"] for each in found])}
        for name in ("none", "all")
    ]
    return without_nan([*rows, *controls])


def student_rows(found: Sequence[Judged]) -> list[dict[str, Any]]:
    """One row per choice: its size and precision, and the test accuracy of its students, seed by seed."""
    rows = []
    for name in found[0].students:
        each = pd.DataFrame([one.students[name] for one in found])
        base = [one.students["none"]["accuracy"] for one in found]
        row = {"chosen by": name, "images": each["images"].mean(), "right": each["right"].mean()}
        row |= {"accuracy": each["accuracy"].mean(), "minus none": (each["accuracy"] - base).mean()}
        row |= {"sd of that": (each["accuracy"] - base).std()} if len(found) > 1 else {}
        rows.append(row | {f"seed {one.seed}": one.students[name]["accuracy"] for one in found})
    return without_nan(rows)


def selection(preset: Preset, name: str, root: Path, cache: Path, out: Path) -> None:
    """The first part; what is known after every seed is written, in case there is no time for all of them."""
    found: list[Judged] = []
    for one in judged(preset, root, cache):
        found.append(one)
        report(found, preset, name, out)
    print("\n".join(markdown(student_rows(found))))


def report(found: Sequence[Judged], preset: Preset, name: str, out: Path) -> None:
    """Tables and figures of the first part."""
    right = _percent(one.pool.labels == one.data.pool.labels for one in found)
    sure = _percent(one.pool.probabilities.amax(1) >= SURE for one in found)
    notes = (
        f"Preset {name}: {preset.setting}. CIFAR-10 pictures (JPEG). By seed, the teacher labels {right} % of the pool"
        f" correctly, and {sure} % with p >= {SURE}. Means over the seeds."
        f" Shares are of the images predicted as each class; global ones are of the pool. Columns about one choice: at"
        f" {preset.share:.0%}; AURC, AUROC: within predicted classes; Spearman: over 10 bins of the pool. Students"
        f" start anew and take as many steps as the teacher. '{ORACLE}' knows the truth and draws among equals."
    )
    facts: dict[str, Any] = {"seeds": [one.seed for one in found], "notes": notes, "folder": out}
    write_results("image_score", precision_rows(found), **facts)
    write_results("image_score_seeds", without_nan([row for one in found for row in one.rows]), **facts)
    write_results("image_score_students", student_rows(found), **facts)
    points = [
        {"ranking": row["ranking"], "share": share, "precision": row[f"precision {share:.0%}"]}
        for one in found
        for row in one.rows
        if row["ranking"] in RANKINGS
        for share in SHARES
    ]
    plot_ranking_precision(pd.DataFrame(points)).savefig(out / "image_score.png", dpi=80)
    _intervals(found[0], out)


def _intervals(one: Judged, out: Path) -> None:
    """Accuracy per score interval, of the labelled images and of the pool, as in figure 2 of the paper."""
    known = one.data.labeled
    train = reading(one.net, one.data, known.images)
    scores = {"train": train.scores, "pool": one.scores["image_score"]}
    right = {"train": train.labels == known.labels, "pool": one.pool.labels == one.data.pool.labels}
    plot_score_intervals(scores, right).savefig(out / "image_score_intervals.png", dpi=80)


def _percent(parts: Iterable[Tensor]) -> str:
    return ", ".join(f"{100 * float(part.float().mean()):.1f}" for part in parts)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="cpu")
    parser.add_argument("--part", choices=("selection", "time", "retraining"), default="selection")
    parser.add_argument("--network", choices=("cnn", "vgg16", "resnet18"), help="overrides the preset")
    parser.add_argument("--seeds", type=int, nargs="+", help="overrides the preset")
    parser.add_argument("--root", type=Path, default=Path("data_cache/cifar10"), help="train/<class>, test/<class>")
    parser.add_argument("--cache", type=Path, default=Path("data_cache/image_score"), help="folder of the networks")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of tables and figures")
    args = parser.parse_args(argv)
    preset = PRESETS[args.preset]
    setting = replace(preset.setting, network=args.network or preset.setting.network)
    preset = replace(preset, setting=setting, seeds=tuple(args.seeds or preset.seeds))
    if args.part == "selection":
        selection(preset, args.preset, args.root, args.cache, args.out)
    elif args.part == "time":
        timing(preset.batch_sizes, preset.repeats, args.root, args.out)
    else:
        setting = replace(setting, seed=preset.seeds[0])
        retraining(setting, preset.boosted, args.root, args.cache, args.out)


if __name__ == "__main__":
    main()
