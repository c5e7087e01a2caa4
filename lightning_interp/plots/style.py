"""One look for all figures: a colour-blind-safe palette and figures that need no display."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["COLORS", "axes_grid", "finish"]

# Okabe and Ito's palette without its yellow, which is too pale for lines on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")


def axes_grid(rows: int = 1, columns: int = 1, *, width: float = 5.0, height: float = 3.4) -> tuple[Figure, list[Axes]]:
    """A figure outside pyplot's registry, so that nothing leaks over a long run, and its axes row by row."""
    figure = Figure(figsize=(width * columns, height * rows), dpi=110, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, [axis for row in axes for axis in row]


def finish(axis: Axes, *, title: str, x: str, y: str) -> None:
    """Title, axis labels, a light grid and no box."""
    axis.set(title=title, xlabel=x, ylabel=y)
    axis.grid(alpha=0.3)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
