"""What the memorization experiments share: their sizes, their arguments, and how results are written.

Every script takes the same arguments; a field of ``Size`` given on the command line overrides the preset. Networks are
kept under ``--cache``, in a folder named like ``--root``; delete it to train anew.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure

from benchmarks._results import RESULTS, markdown, write_results
from lightning_interp.functional.compression import CompressionCurve

DATA = ("cifar10", "svhn", "fashion_mnist", "urban_sounds")


@dataclass(frozen=True)
class Size:
    """How large a study is.

    Attributes:
        width: channels of the first layer of the network (table 3.1: 64).
        side: pictures in class folders are scaled to it; their own size when None.
        train_size: training images, all when None.
        test_size: test images, all when None.
        epochs: limit; training ends earlier, when 99.9 % of an epoch's images were classified as labelled.
        lr: learning rate of Adam; SGD takes ten times as much.
        noise: the grid of p, the probability that a training label is drawn anew.
        seeds: of weights, noise, order and choice of the images measured: one network each.
        per_class: training images measured per given label, factorised together.
        steps: how many even steps the ranks take up to the layer's width; powers of two come before the first.
        max_iter: iterations of NMF at each rank.
    """

    width: int = 64
    side: int | None = None
    train_size: int | None = None
    test_size: int | None = None
    epochs: int = 200
    lr: float = 3e-4
    noise: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    seeds: tuple[int, ...] = tuple(range(10))
    per_class: int = 50
    steps: int = 25
    max_iter: int = 100

    @property
    def text(self) -> str:
        """What a reader must know of the networks and of the images measured."""
        images = "all" if self.train_size is None else self.train_size
        scaled = "" if self.side is None else f" scaled to {self.side} x {self.side}"
        return (
            f"{images} training images{scaled}, networks of table 3.1 at width {self.width} (thesis: 64),"
            f" Adam {self.lr:g}, until 99.9 % training accuracy or for {self.epochs} epochs."
            f" Label noise: uniform redraw, true class included. Measured on {self.per_class} training images per given"
            f" label; NMF: {self.max_iter} iterations per rank, started from the rank before."
        )


PRESETS = {
    "cpu": Size(12, None, 2000, 2000, epochs=60, lr=1e-3, seeds=(0, 1), steps=8, max_iter=12),
    "gpu": Size(train_size=10000, epochs=80, seeds=(0, 1), steps=8, max_iter=12),
    "paper": Size(),
}


@dataclass(frozen=True)
class Study:
    """One call of a script: a size, data, and folders."""

    preset: str
    size: Size
    data: str
    root: Path
    cache: Path
    out: Path

    @property
    def device(self) -> torch.device:
        """The accelerator where there is one."""
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def arguments(
    doc: str | None,
    argv: Sequence[str] | None = None,
    *,
    data: Sequence[str] = DATA,
    presets: Mapping[str, Size] = PRESETS,
    cache: str = "data_cache/memorization",
) -> Study:
    """The study asked for on the command line; a script may have data, sizes and a cache of its own."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=presets, default="cpu")
    parser.add_argument("--data", choices=data, default="cifar10")
    parser.add_argument("--root", type=Path, help="folder of the data; data_cache/<data> by default")
    parser.add_argument("--cache", type=Path, default=Path(cache), help="folder of the networks")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of tables and figures")
    for field in fields(Size):
        kind = float if field.name in ("lr", "noise") else int
        several: dict[str, Any] = {"nargs": "+"} if field.name in ("noise", "seeds") else {}
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, help="overrides the preset", **several)
    given = vars(parser.parse_args(argv))
    changes = {field.name: given.pop(field.name) for field in fields(Size)}
    changes = {name: tuple(value) if isinstance(value, list) else value for name, value in changes.items()}
    size = replace(presets[given["preset"]], **{name: value for name, value in changes.items() if value is not None})
    given["root"] = given["root"] or Path("data_cache") / given["data"]
    return Study(size=size, **given)


def curve_row(curve: CompressionCurve, **labels: Any) -> dict[str, Any]:
    """A curve as one row of a table; the cells ``K=...`` hold its points."""
    points = curve.to_dataframe()
    return {
        **labels,
        "AuC": curve.auc,
        "relative AuC": curve.relative_auc,
        "full-rank accuracy": curve.full_accuracy,
        **{f"K={int(k)}": accuracy for k, accuracy in zip(points["k"], points["accuracy"], strict=True)},
    }


def average(rows: Sequence[dict[str, Any]], by: Sequence[str]) -> list[dict[str, Any]]:
    """Mean over seeds, with the number of networks and the standard deviation of each area; order of appearance."""
    groups = pd.DataFrame(rows).drop(columns="seed").groupby(list(by), sort=False)
    means = groups.mean().dropna(axis=1, how="all")
    for name in [name for name in means if str(name).endswith("AuC")]:
        means.insert(means.columns.get_loc(name) + 1, f"{name} sd", groups[name].std())
    means.insert(0, "networks", groups.size())
    return without_nan(means.reset_index().to_dict("records"))


def without_nan(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows without their cells that are NaN, which JSON does not know."""
    return [{key: value for key, value in row.items() if value == value} for row in rows]


def publish(study: Study, name: str, rows: list[dict[str, Any]], figure: Figure | None = None, *, notes: str) -> None:
    """Write the table and its figure, and print the table."""
    stem = f"memorization_{name}" + (f"_{study.data}" if study.data != "cifar10" else "")
    write_results(stem, rows, seeds=list(study.size.seeds), notes=notes, folder=study.out)
    if figure is not None:
        figure.savefig(study.out / f"{stem}.png", dpi=80)
    print("\n".join(markdown(rows)))
