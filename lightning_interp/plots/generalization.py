"""Figures of validation-free signals over a training run."""

from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lightning_interp.plots.style import COLORS, axes_grid, finish

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["plot_signals"]

_COLUMNS = 4


def plot_signals(history: "pd.DataFrame", stops: "pd.DataFrame | None" = None) -> Figure:
    """One small panel per signal over the epochs, with the epoch its rule returns and the one it stops after.

    Args:
        history: Column ``epoch`` and one column per signal.
        stops: Columns ``signal``, ``stops``, ``stops_after_epoch``, ``returns_epoch``.

    Returns:
        The figure.

    Example:
        >>> import pandas as pd
        >>> len(plot_signals(pd.DataFrame({"epoch": [1, 2], "gwa": [0.1, 0.2], "label_wave": [0.5, 0.4]})).axes)
        2
    """
    names = [name for name in history if name != "epoch"]
    columns = min(_COLUMNS, len(names))
    rows = -(-len(names) // columns)
    figure, axes = axes_grid(rows, columns, width=3.2, height=2.3)
    rules = {} if stops is None else {row["signal"]: row for row in stops.to_dict("records")}
    for axis, name in zip(axes, names, strict=False):
        axis.plot(history["epoch"], history[name], "o-", color=COLORS[0], markersize=3)
        rule = rules.get(name)
        if rule is not None and rule["stops"]:
            axis.axvline(rule["returns_epoch"], color=COLORS[2], linestyle="-.")
            axis.axvline(rule["stops_after_epoch"], color="black", linestyle=":")
        axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        finish(axis, title=name.replace("_", " "), x="epoch", y="")
    for axis in axes[len(names) :]:
        figure.delaxes(axis)
    if rules:
        figure.suptitle("dash-dotted: epoch the published rule returns; dotted: where it stops", fontsize=9)
    return figure
