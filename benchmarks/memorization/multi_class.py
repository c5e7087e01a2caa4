"""Compression of batches of one class, and of batches of all classes (thesis, figure 3.7).

    python -m benchmarks.memorization.multi_class --preset cpu|gpu|paper [--data svhn|fashion_mnist|urban_sounds]

Batches of all classes are as large as those of one class, so that the same number of images shares the rank.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from benchmarks.memorization._figures import accuracies, legend, lines, ranked
from benchmarks.memorization._networks import cases, measure
from benchmarks.memorization._study import Study, arguments, average, curve_row, publish
from lightning_interp.plots.style import axes_grid, finish

BATCHES = {True: "single-class", False: "multi-class"}


def rows(study: Study) -> list[dict[str, Any]]:
    """One row per network and kind of batch."""
    return [
        curve_row(measure(study, case, single_class=single), batches=name, **case.labels)
        for case in cases(study)
        for single, name in BATCHES.items()
    ]


def draw(found: list[dict[str, Any]]) -> Figure:
    """The curves of both kinds, and their areas against p."""
    figure, axes = axes_grid(1, 3, width=4.4)
    for axis, name in zip(axes, BATCHES.values(), strict=False):
        lines(axis, ranked([row for row in found if row["batches"] == name], "p"), "p")
        accuracies(axis, f"NMF, {name} batches")
    areas = [(row["batches"], row["p"], row["AuC"]) for row in found]
    lines(axes[2], pd.DataFrame(areas, columns=["batches", "x", "y"]), "batches", shaded=False)
    finish(axes[2], title="NMF AuC", x="label noise p", y="AuC")
    axes[2].legend(fontsize=8)
    legend(figure, axes[0])
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    study = arguments(__doc__, argv)
    found = rows(study)
    notes = f"NMF on the last block; means over seeds. {study.size.text}"
    publish(study, "multi_class", average(found, ["batches", "p"]), draw(found), notes=notes)


if __name__ == "__main__":
    main()
