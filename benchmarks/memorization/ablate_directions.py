"""Ablating the directions a factorisation finds: the residual A - A_k is fed on (thesis, equation 3.21, figure 3.8).

    python -m benchmarks.memorization.ablate_directions --preset cpu|gpu|paper [--data svhn|fashion_mnist|urban_sounds]

Random ablation is beside it for comparison: there k random channels are set to zero.
"""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from benchmarks.memorization._figures import accuracies, legend, lines, ranked
from benchmarks.memorization._networks import cases, measure
from benchmarks.memorization._study import Study, arguments, average, curve_row, publish
from lightning_interp.plots.style import axes_grid

METHODS = {"nmf": "NMF", "pca": "PCA", "random_ablation": "random"}


def rows(study: Study) -> list[dict[str, Any]]:
    """One row per network and method."""
    return [
        curve_row(measure(study, case, method=method, residual=True), ablated=f"{name} directions", **case.labels)
        for case in cases(study)
        for method, name in METHODS.items()
    ]


def draw(found: list[dict[str, Any]]) -> Figure:
    """One panel per method, one line per level of noise."""
    figure, axes = axes_grid(1, 3, width=4.4)
    for axis, name in zip(axes, METHODS.values(), strict=True):
        lines(axis, ranked([row for row in found if row["ablated"] == f"{name} directions"], "p"), "p")
        accuracies(axis, f"{name} directions ablated", x="number of ablated directions")
    legend(figure, axes[0])
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    study = arguments(__doc__, argv)
    found = rows(study)
    notes = (
        "K directions of every layer of the last block are ablated, single-class batches; means over seeds. A low AuC"
        f" is a network that falls early. {study.size.text}"
    )
    publish(study, "ablate_directions", average(found, ["ablated", "p"]), draw(found), notes=notes)


if __name__ == "__main__":
    main()
