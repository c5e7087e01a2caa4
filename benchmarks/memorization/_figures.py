"""How the memorization figures look: noise from dark to pale, bands from the lowest to the highest seed."""

from collections.abc import Sequence

import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lightning_interp.plots.style import COLORS, finish

_MARKERS = "osDv^P*X"


def shades(values: Sequence[float]) -> dict[float, tuple[float, ...]]:
    """One colour per level of noise; the end of the map that is too pale for lines is left out."""
    count = max(1, len(values) - 1)
    return {value: colormaps["viridis"](0.88 * i / count) for i, value in enumerate(values)}


def ranked(rows: Sequence[dict], by: str) -> pd.DataFrame:
    """The cells ``K=...`` of some rows as a table with the columns ``by``, ``x`` (the rank) and ``y``."""
    points = [(row[by], int(cell[2:]), y) for row in rows for cell, y in row.items() if cell.startswith("K=")]
    return pd.DataFrame(points, columns=[by, "x", "y"])


def lines(axis: Axes, points: pd.DataFrame, by: str, *, shaded: bool = True) -> None:
    """One line per value of ``by``: the mean of ``y`` at each ``x``, in a band from the lowest to the highest.

    Args:
        axis: where to.
        points: columns ``by``, ``x`` and ``y``.
        by: what the lines differ in.
        shaded: colours for an ordered ``by``; else those for names.
    """
    values = list(dict.fromkeys(points[by]))
    colors = shades(values) if shaded else dict(zip(values, COLORS, strict=False))
    for value, marker in zip(values, _MARKERS * 2, strict=False):
        groups = points[points[by] == value].groupby("x", sort=False)["y"]
        mean, low, high = groups.mean(), groups.min(), groups.max()
        label = f"{by} = {value:g}" if shaded else str(value)
        axis.plot(mean.index, mean, marker=marker, markersize=4, color=colors[value], label=label)
        axis.fill_between(mean.index, low, high, color=colors[value], alpha=0.1, linewidth=0)


def accuracies(axis: Axes, title: str, *, x: str = "rank K") -> None:
    """Finish an axis of accuracy against rank: by octaves, since networks differ most at low ranks."""
    finish(axis, title=title, x=x, y="accuracy")
    width = int(max(line.get_xdata().max() for line in axis.lines))
    ticks = [0, *(2**i for i in range(width.bit_length()) if 2**i < 0.6 * width), width]
    axis.set_xscale("symlog", base=2, linthresh=1)
    axis.set_xticks(ticks, [str(k) for k in ticks], fontsize=8)
    axis.minorticks_off()
    axis.set(xlim=(-0.2, 1.15 * width), ylim=(-0.03, 1.03))


def legend(figure: Figure, axis: Axes) -> None:
    """One legend for the whole figure, at its right."""
    figure.legend(*axis.get_legend_handles_labels(), loc="outside right center", frameon=False)
