"""Figures of compression curves and of their history over a training run."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lightning_interp.functional.compression import CompressionCurve
from lightning_interp.plots.style import COLORS, axes_grid, finish

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["plot_compression_curve", "plot_compression_history"]


def plot_compression_curve(curves: CompressionCurve | Mapping[str, CompressionCurve]) -> Figure:
    """Accuracy against rank, with the full-rank accuracy as a dashed line.

    Args:
        curves: One curve, or several by name (epochs, layers, methods).

    Returns:
        The figure.

    Example:
        >>> import torch
        >>> from lightning_interp.functional.compression import CompressionCounts
        >>> counts = CompressionCounts.zeros(n_layers=1, n_ks=2, n_classes=2)
        >>> figure = plot_compression_curve(CompressionCurve((1, 4), 16, ("conv",), "nmf", False, counts))
        >>> figure.axes[0].get_ylabel()
        'accuracy on the same images'
    """
    named = {"": curves} if isinstance(curves, CompressionCurve) else dict(curves)
    figure, (axis,) = axes_grid(width=6.0, height=3.8)
    for i, (name, curve) in enumerate(named.items()):
        color = COLORS[i % len(COLORS)]
        table = curve.to_dataframe()
        label = f"{name + ': ' if name else ''}AuC {curve.auc:.3f}, relative {curve.relative_auc:.3f}"
        axis.plot(table["k"], table["accuracy"], "o-", color=color, markersize=4, label=label)
        axis.axhline(curve.full_accuracy, color=color, linestyle="--", linewidth=1)
    axis.set_xscale("symlog", base=2, linthresh=1)
    ranks = sorted({k for curve in named.values() for k in (0, *curve.ks, curve.width)})
    axis.set_xticks(ranks, [str(k) for k in ranks], fontsize=8)
    axis.minorticks_off()
    axis.set(xlim=(-0.3, 1.2 * ranks[-1]), ylim=(-0.02, 1.02))
    kinds = " / ".join(sorted({curve.method.replace("_", " ").upper() for curve in named.values()}))
    finish(
        axis,
        title=f"{kinds} compression of {_span(next(iter(named.values())).layers)}",
        x="rank K (dashed: accuracy at full rank)",
        y="accuracy on the same images",
    )
    axis.legend(loc="lower right", fontsize=8)
    return figure


def plot_compression_history(
    history: "pd.DataFrame", *, best: float | None = None, stopped: float | None = None
) -> Figure:
    """AuC, full-rank accuracy and relative AuC over the epochs of a run.

    Args:
        history: Columns ``epoch``, ``auc``, ``relative_auc``, ``full_accuracy``, and optionally ``smoothed``, the
            signal the decision rests on, and ``test_accuracy``.
        best: Epoch whose weights were kept.
        stopped: Epoch after which training stopped.

    Returns:
        The figure.

    Example:
        >>> import pandas as pd
        >>> rows = {"epoch": [1, 2], "auc": [0.4, 0.5], "relative_auc": [1.1, 0.9], "full_accuracy": [0.4, 0.6]}
        >>> len(plot_compression_history(pd.DataFrame(rows), best=1).axes)
        2
    """
    figure, (left, right) = axes_grid(columns=2)
    epochs = history["epoch"]
    lines = {"auc": "AuC", "full_accuracy": "full-rank accuracy", "test_accuracy": "accuracy on test images"}
    for i, (column, label) in enumerate(lines.items()):
        if column in history:
            left.plot(epochs, history[column], "osd"[i] + "-", color=COLORS[i], markersize=4, label=label)
    right.plot(epochs, history["relative_auc"], "o-", color=COLORS[3], markersize=4, label="relative AuC")
    if "smoothed" in history:
        right.plot(epochs, history["smoothed"], "--", color=COLORS[6], label="smoothed signal")
    right.axhline(1, color="grey", linewidth=1)
    for axis in (left, right):
        _mark_epochs(axis, best, stopped)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.legend(fontsize=8)
    finish(left, title="AuC and accuracy on the same training images", x="epoch", y="accuracy / area")
    finish(right, title="AuC / full-rank accuracy", x="epoch", y="relative AuC")
    return figure


def _mark_epochs(axis: Axes, best: float | None, stopped: float | None) -> None:
    if best is not None:
        axis.axvline(best, color=COLORS[2], linestyle="-.", label=f"weights kept: epoch {best:g}")
    if stopped is not None:
        axis.axvline(stopped, color="black", linestyle=":", label=f"stopped after epoch {stopped:g}")


def _span(layers: tuple[str, ...]) -> str:
    return layers[0] if len(layers) == 1 else f"{layers[0]} ... {layers[-1]} ({len(layers)} layers)"
