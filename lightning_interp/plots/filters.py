"""First-layer filters side by side."""

from matplotlib.figure import Figure
from torch import Tensor

from lightning_interp._checks import check_int, message
from lightning_interp.plots.pictures import on_grey
from lightning_interp.plots.style import COLORS, axes_grid

__all__ = ["plot_filters"]

_CELL = 0.42  # inches
_FILLED = 0.92  # of a cell


def plot_filters(weight: Tensor, *, n_columns: int = 16, dead: Tensor | None = None) -> Figure:
    """A mosaic of filters, row by row from unit 0 on, each on its own scale around grey.

    Args:
        weight: Weights of a convolution, ``(O, I, h, w)``: colours for three input channels, else the mean over them
            in grey.
        n_columns: Filters in a row.
        dead: Filters to cross out, bool ``(O,)``.

    Returns:
        The figure.

    Raises:
        ValueError: There is no filter, or ``dead`` is not about the same ones.

    Example:
        >>> import torch
        >>> figure = plot_filters(torch.randn(6, 3, 5, 5), n_columns=4, dead=torch.arange(6) == 1)
        >>> len(figure.axes[0].images), len(figure.axes[0].lines)
        (6, 2)

    Reference:
        Survey, figure 9; Zeiler & Fergus, ECCV 2014, figure 5.
    """
    check_int(n_columns, "n_columns", "plot_filters")
    if weight.ndim != 4 or not len(weight):
        raise ValueError(message("weight", "plot_filters", "weights (O, I, h, w) of at least one filter", weight))
    if dead is not None and dead.shape != weight.shape[:1]:
        raise ValueError(message("dead", "plot_filters", f"a mask of {len(weight)} filters", dead))
    columns = min(n_columns, len(weight))
    rows = -(-len(weight) // columns)
    tall = weight.shape[2] / weight.shape[3]
    figure, (axis,) = axes_grid(width=max(_CELL * columns, 2.2) + 0.5, height=_CELL * tall * rows + 0.4)
    for i, one in enumerate(weight):
        left, top = i % columns, -(i // columns) * tall
        right, bottom = left + _FILLED, top - _FILLED * tall
        axis.imshow(on_grey(one).permute(1, 2, 0).numpy(), extent=(left, right, bottom, top), interpolation="nearest")
        if i % columns == 0:
            axis.text(left - 0.15, (top + bottom) / 2, str(i), ha="right", va="center", fontsize=8)
        if dead is not None and dead[i]:
            for ends in ((bottom, top), (top, bottom)):
                axis.plot([left, right], ends, color=COLORS[1], linewidth=1.5)
    axis.set(xlim=(-0.1, columns), ylim=(-rows * tall, 0.05), aspect="equal")
    axis.set_axis_off()
    n_dead = 0 if dead is None else int(dead.sum())
    axis.set_title(f"{len(weight)} filters" + (f", {n_dead} dead (crossed out)" if n_dead else ""), fontsize=10)
    return figure
