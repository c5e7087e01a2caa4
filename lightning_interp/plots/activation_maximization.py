"""Figures of activation maximisation: what was found, how it rose, and first-layer filters beside their patterns."""

from matplotlib.figure import Figure

from lightning_interp._checks import check_int
from lightning_interp.functional.synthesis import FilterPatterns, Maximization
from lightning_interp.plots.pictures import on_grey, plot_pictures
from lightning_interp.plots.style import COLORS, axes_grid, finish

__all__ = ["plot_ascent", "plot_filter_patterns", "plot_maximization"]


def plot_maximization(found: Maximization, *, n_columns: int | None = None) -> Figure:
    """The images that were found, each with its objective and what it reached.

    Args:
        found: The result of a maximisation.
        n_columns: Images in a row.

    Returns:
        The figure.

    Example:
        >>> import torch
        >>> from lightning_interp.functional.synthesis import PixelSpace
        >>> images, scores = torch.rand(2, 3, 8, 8), torch.tensor([1.5, 20.0])
        >>> found = Maximization(("conv:3", "class 1"), images, scores, scores[None], "steps", PixelSpace())
        >>> [axis.get_title().splitlines() for axis in plot_maximization(found).axes]
        [['conv:3', '1.5'], ['class 1', '20']]

    Reference:
        Survey, figures 5 and 6.
    """
    titles = [f"{name}\n{_short(value)}" for name, value in zip(found.names, found.activations.tolist(), strict=True)]
    return plot_pictures(found.pixels, titles, n_columns=n_columns)


def plot_ascent(found: Maximization) -> Figure:
    """The objective of each image against the step.

    Args:
        found: The result of a maximisation.

    Returns:
        The figure.

    Example:
        >>> import torch
        >>> from lightning_interp.functional.synthesis import PixelSpace
        >>> trace = torch.arange(10.0)[:, None]
        >>> found = Maximization(("conv:3",), torch.rand(1, 3, 8, 8), trace[-1], trace, "steps", PixelSpace())
        >>> plot_ascent(found).axes[0].get_ylabel()
        'objective'
    """
    figure, (axis,) = axes_grid(width=6.0)
    for i, (name, values) in enumerate(zip(found.names, found.trace.T.tolist(), strict=True)):
        style = ("-", "--", ":", "-.")[i // len(COLORS) % 4]
        axis.plot(values, style, color=COLORS[i % len(COLORS)], linewidth=1.2, label=name)
    finish(axis, title="Activation maximisation", x="step", y="objective")
    if len(found.names) <= 28:
        axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=7, frameon=False)
    return figure


def plot_filter_patterns(found: FilterPatterns, *, n_units: int = 8) -> Figure:
    """First-layer filters above the patterns that maximise their units, each on its own symmetric scale.

    Args:
        found: Filters and patterns.
        n_units: Units to show, from the first on.

    Returns:
        The figure.

    Example:
        >>> import torch
        >>> filters = torch.randn(4, 3, 5, 5)
        >>> figure = plot_filter_patterns(FilterPatterns("conv", filters, filters, torch.ones(4)))
        >>> figure.axes[0].get_title().splitlines()
        ['unit 0', 'cosine 1.000']

    Reference:
        Survey, figure 4.
    """
    shown = min(check_int(n_units, "n_units", "plot_filter_patterns"), len(found.filters))
    titles = [f"unit {i}\ncosine {float(found.cosines[i]):.3f}" for i in range(shown)]
    pictures = [*map(on_grey, found.filters[:shown]), *map(on_grey, found.patterns[:shown])]
    rows = [f"filters of\n{found.layer}", "maximise\nthe units"]
    return plot_pictures(pictures, [*titles, *[""] * shown], rows=rows)


def _short(value: float) -> str:
    """Three digits, but no powers of ten for thousands."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
