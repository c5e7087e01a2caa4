"""Figures of the early stopping benchmark."""

from typing import Any

from matplotlib.figure import Figure

from benchmarks._replay import Method, Run, by_rule
from benchmarks._scores import smooth
from lightning_interp.functional.generalization import SIGNALS
from lightning_interp.plots.style import COLORS, axes_grid, finish


def runs(recorded: list[Run], ours: Method) -> Figure:
    """Test accuracy and the relative AuC of every run, with what some rules return."""
    shown = {
        ours.name: (ours, "o", COLORS[1]),
        "plain NMF AuC": (by_rule("", "", "nmf_auc", SIGNALS["nmf_auc"].rule), "s", COLORS[2]),
        "Label Wave, patience 3": (by_rule("", "", "label_wave", SIGNALS["head_gradient"].rule), "^", COLORS[3]),
        "GWA (mean)": (by_rule("", "", "gwa_mean", SIGNALS["gwa_mean"].rule), "D", COLORS[5]),
    }
    columns = 5
    rows = -(-len(recorded) // columns)
    figure, axes = axes_grid(rows, columns, width=3.3, height=2.6)
    for axis, run in zip(axes, sorted(recorded, key=lambda run: (run.setting.seed, run.label)), strict=False):
        epochs, accuracy = run.rows["epoch"], run.rows["test_accuracy"]
        axis.plot(epochs, accuracy, color="black", label="test accuracy")
        other = axis.twinx()
        other.plot(epochs, smooth(run.rows["relative_nmf_auc"]), "--", color=COLORS[0], label="relative AuC (right)")
        other.axhline(1, color=COLORS[0], linewidth=0.5)
        other.tick_params(labelsize=7, colors=COLORS[0])
        for name, (method, marker, color) in shown.items():
            best = method.decide(run).best
            axis.plot(epochs[best], accuracy[best], marker, color=color, markersize=7, label=name, linestyle="none")
        finish(axis, title=f"{run.label}, seed {run.setting.seed}", x="epoch", y="test accuracy")
    for axis in axes[len(recorded) :]:
        figure.delaxes(axis)
    handles, labels = axes[0].get_legend_handles_labels()
    more = figure.axes[len(recorded)].get_legend_handles_labels() if len(figure.axes) > len(recorded) else ([], [])
    figure.legend(handles + more[0][:1], labels + more[1][:1], loc="outside lower center", ncols=6, fontsize=8)
    return figure


def regrets(rows: list[dict[str, Any]]) -> Figure:
    """Mean regret of every method, best first."""
    ordered = sorted(rows, key=lambda row: -row["regret"])
    figure, (axis,) = axes_grid(width=8.0, height=0.17 * len(ordered) + 1.2)
    colors = {"native": COLORS[0], "common": COLORS[5], "tuned": COLORS[2], "control": COLORS[6], "ours": COLORS[1]}
    for mode, color in colors.items():
        places = [i for i, row in enumerate(ordered) if row["set"] == mode]
        axis.plot([ordered[i]["regret"] for i in places], places, "o", color=color, label=mode, markersize=5)
    axis.set_yticks(range(len(ordered)), [row["method"] for row in ordered], fontsize=6)
    axis.set_ylim(-1, len(ordered))
    finish(axis, title="Mean regret over the test runs", x="points of test accuracy below the best epoch", y="")
    axis.legend(title="set", fontsize=8, loc="upper right")
    return figure
