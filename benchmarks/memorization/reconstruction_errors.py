"""Raw and normalised reconstruction error of NMF, layer by layer (thesis, figure 3.4).

    python -m benchmarks.memorization.reconstruction_errors --preset cpu|gpu|paper [--data svhn|urban_sounds|...]

The area under ||A - A_k|| and under ||A - A_k|| / ||A|| against k, from k = 0 (nothing kept) to the layer's width
(all kept), divided by the width.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from torch import nn

from benchmarks.memorization._figures import legend, lines
from benchmarks.memorization._networks import Case, cases, measure
from benchmarks.memorization._study import Study, arguments, average, publish
from lightning_interp.functional import compression_auc
from lightning_interp.hooks import select_layers
from lightning_interp.plots.style import axes_grid, finish

AREAS = {"raw error AuC": "raw NMF error", "normalised error AuC": "normalised NMF error"}


def rows(study: Study) -> list[dict[str, Any]]:
    """One row per network and layer."""
    return [row for case in cases(study, "cnn") for row in layer_rows(study, case)]


def layer_rows(study: Study, case: Case) -> list[dict[str, Any]]:
    """The two areas of every hidden layer of one network."""
    found = []
    for number, layer in enumerate(select_layers(case.net, nn.ReLU), start=1):
        curve = measure(study, case, layers=layer)
        grid = {"ks": curve.ks, "width": curve.width, "end": 0.0}
        norm = float(curve.counts.squared_norm[0, 0].sqrt())
        raw = compression_auc(accuracy=curve.raw_error[0], start=norm, **grid)
        normalised = compression_auc(accuracy=curve.relative_error[0], start=1.0, **grid)
        areas = dict(zip(AREAS, (float(raw), float(normalised)), strict=True))
        found.append({"layer": number, "width": curve.width, **case.labels, "norm": norm, **areas})
    return found


def draw(found: list[dict[str, Any]]) -> Figure:
    """One panel per area, one line per level of noise."""
    figure, axes = axes_grid(1, 2)
    for axis, (column, title) in zip(axes, AREAS.items(), strict=True):
        points = pd.DataFrame([(row["p"], row["layer"], row[column]) for row in found], columns=["p", "x", "y"])
        lines(axis, points, "p")
        finish(axis, title=title, x="layer, compressed alone", y="area under error against K")
        axis.set_xticks(sorted(set(points["x"])))
    legend(figure, axes[0])
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    study = arguments(__doc__, argv)
    found = rows(study)
    notes = f"NMF, one layer at a time, single-class batches; means over seeds. {study.size.text}"
    publish(study, "reconstruction_errors", average(found, ["layer", "p"]), draw(found), notes=notes)


if __name__ == "__main__":
    main()
