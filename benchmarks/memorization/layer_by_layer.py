"""Every layer compressed alone: accuracy against rank, and its area layer by layer (thesis, figure 3.3).

    python -m benchmarks.memorization.layer_by_layer --preset cpu|gpu|paper [--data svhn|fashion_mnist|urban_sounds]

A fully connected and a convolutional network on the same data; the thesis has them on Fashion-MNIST and CIFAR-10.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn

from benchmarks.memorization._figures import accuracies, legend, lines, ranked
from benchmarks.memorization._networks import Case, cases, measure
from benchmarks.memorization._study import Study, arguments, average, curve_row, publish
from lightning_interp.hooks import select_layers
from lightning_interp.plots.style import axes_grid, finish

NETWORKS = {"mlp": "fully connected", "cnn": "convolutional"}
LAYERS = {"mlp": "fc", "cnn": "conv"}


def rows(study: Study) -> list[dict[str, Any]]:
    """One row per network and layer."""
    return [row for network in NETWORKS for case in cases(study, network) for row in layer_rows(study, case)]


def layer_rows(study: Study, case: Case) -> list[dict[str, Any]]:
    """One row per hidden layer of one network, the layer taken after its activation."""
    network, found = case.setting.network, []
    for number, layer in enumerate(select_layers(case.net, nn.ReLU), start=1):
        curve = measure(study, case, layers=layer)
        labels = {"network": NETWORKS[network], "layer": number, "width": curve.width}
        found.append(curve_row(curve, **labels, **case.labels))
    return found


def draw(found: list[dict[str, Any]]) -> Figure:
    """Per network: the curves of two layers, and the areas of all layers."""
    figure, axes = axes_grid(2, 3, width=4.4)
    for (network, name), panels in zip(NETWORKS.items(), (axes[:3], axes[3:]), strict=True):
        own = [row for row in found if row["network"] == name]
        last = max(row["layer"] for row in own)
        # those of the thesis: fc1 and fc2, or the first convolutions of the last two blocks
        shown = (1, 2) if network == "mlp" else (last // 2 + 1, last - 2)
        for axis, layer in zip(panels, shown, strict=False):
            lines(axis, ranked([row for row in own if row["layer"] == layer], "p"), "p")
            accuracies(axis, f"{name}: {LAYERS[network]} {layer} alone")
        _areas(panels[2], own, f"{name}: every layer alone")
    legend(figure, axes[0])
    return figure


def _areas(axis: Axes, own: list[dict[str, Any]], title: str) -> None:
    areas = pd.DataFrame([(row["p"], row["layer"], row["AuC"]) for row in own], columns=["p", "x", "y"])
    lines(axis, areas, "p")
    finish(axis, title=title, x="layer", y="NMF AuC")
    axis.set_xticks(sorted(set(areas["x"])))


def main(argv: Sequence[str] | None = None) -> None:
    study = arguments(__doc__, argv)
    found = rows(study)
    notes = f"NMF, one layer at a time, single-class batches; means over seeds. {study.size.text}"
    publish(study, "layer_by_layer", average(found, ["network", "layer", "p"]), draw(found), notes=notes)


if __name__ == "__main__":
    main()
