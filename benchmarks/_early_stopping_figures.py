"""Figures of the early stopping benchmark."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks._replay import Method, Run
from lightning_interp.functional import trailing_mean
from lightning_interp.plots.style import COLORS, axes_grid, finish

_COLUMNS = 5
_MARKERS = (("o", 6, COLORS[1]), ("s", 9, COLORS[2]), ("D", 11, COLORS[5]), ("^", 14, COLORS[3]))
_SETS = {"ours": COLORS[1], "control": COLORS[6], "native": COLORS[0], "common": COLORS[5], "tuned": COLORS[2]}


def runs(recorded: Sequence[Run], methods: Sequence[Method]) -> Figure:
    """Test accuracy and the relative AuC of every run, with the epochs that some rules return."""
    figure, axes = axes_grid(-(-len(recorded) // _COLUMNS), min(_COLUMNS, len(recorded)), width=3.4, height=2.6)
    for axis, run in zip(axes, sorted(recorded, key=lambda run: (run.setting.seed, run.label)), strict=False):
        epochs = run.rows["epoch"]
        axis.plot(epochs, run.rows["test_accuracy"], color="black", label="test accuracy")
        right = axis.twinx()
        ratio = trailing_mean(run.rows["relative_nmf_auc"].tolist(), 3)
        line = right.plot(epochs, ratio, "--", color=COLORS[0], label="relative AuC, mean of 3 (right axis)")
        right.axhline(1, color=COLORS[0], linewidth=0.6)
        right.tick_params(labelsize=7, colors=COLORS[0])
        _mark(axis, run, methods)
        finish(axis, title=f"{run.label}, seed {run.setting.seed}", x="epoch", y="test accuracy")
    for axis in axes[len(recorded) :]:
        figure.delaxes(axis)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend([*handles, *line], [*labels, line[0].get_label()], loc="outside lower center", ncols=3, fontsize=9)
    return figure


def regrets(rows: Sequence[dict[str, Any]]) -> Figure:
    """Mean regret of every method in each of its settings, best method first."""
    names = sorted({row["method"] for row in rows}, key=lambda name: -min(_regrets(rows, name)))
    figure, (axis,) = axes_grid(width=8.0, height=0.2 * len(names) + 1.2)
    for kind, color in _SETS.items():
        chosen = [row for row in rows if row["set"] == kind]
        places = [names.index(row["method"]) for row in chosen]
        size = 8 if kind == "native" else 5
        fill = "none" if kind == "native" else "full"
        axis.plot([r["regret"] for r in chosen], places, "o", color=color, label=kind, markersize=size, fillstyle=fill)
    axis.set_yticks(range(len(names)), [name.replace("_", " ") for name in names], fontsize=8)
    axis.set_ylim(-1, len(names))
    finish(axis, title="Mean regret over the test runs", x="points of test accuracy below the best epoch", y="")
    axis.legend(title="how it was set", fontsize=8, loc="upper right")
    return figure


def _regrets(rows: Sequence[dict[str, Any]], name: str) -> list[float]:
    return [row["regret"] for row in rows if row["method"] == name]


def _mark(axis: Axes, run: Run, methods: Sequence[Method]) -> None:
    """Open markers of different sizes: several rules may return the same epoch."""
    for method, (marker, size, color) in zip(methods, _MARKERS, strict=False):
        rows = run.held_out if method.twin and run.held_out is not None else run.rows
        best = method.decide(run).best
        label = f"{method.name} ({method.mode})"
        style = {"linestyle": "none", "fillstyle": "none", "markeredgewidth": 2.0}
        axis.plot(rows["epoch"][best], rows["test_accuracy"][best], marker, color=color, ms=size, label=label, **style)
