"""Accuracy against rank for four factorisations and a grid of label noise (thesis, figures 3.5 and 3.6).

    python -m benchmarks.memorization.noise_grid --preset cpu|gpu|paper [--data svhn|fashion_mnist|urban_sounds]

Figure 3.5 is CIFAR-10; with --data it is one row of figure 3.6, for whoever has the data under --root.
"""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from benchmarks.memorization._figures import accuracies, legend, lines, ranked
from benchmarks.memorization._networks import cases, measure
from benchmarks.memorization._study import Study, arguments, average, curve_row, publish
from lightning_interp.plots.style import axes_grid

METHODS = {"kmeans": "k-means", "nmf": "NMF", "pca": "PCA", "random_ablation": "random ablation"}


def rows(study: Study) -> list[dict[str, Any]]:
    """One row per network and method."""
    return [
        curve_row(measure(study, case, method=method), method=name, **case.labels)
        for case in cases(study)
        for method, name in METHODS.items()
    ]


def draw(found: list[dict[str, Any]]) -> Figure:
    """One panel per method, one line per level of noise."""
    figure, axes = axes_grid(2, 2)
    for axis, method in zip(axes, METHODS.values(), strict=True):
        lines(axis, ranked([row for row in found if row["method"] == method], "p"), "p")
        accuracies(axis, f"{method}, single-class batches")
    legend(figure, axes[0])
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    study = arguments(__doc__, argv)
    found = rows(study)
    notes = f"Last block (perceptrons: all hidden layers), single-class batches; means over seeds. {study.size.text}"
    publish(study, "noise_grid", average(found, ["method", "p"]), draw(found), notes=notes)


if __name__ == "__main__":
    main()
