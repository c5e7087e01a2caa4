"""Figures of dissections: how many concepts are detected, and by which units."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias, Union

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from lightning_interp._checks import message
from lightning_interp.functional.dissection import NetworkDissection
from lightning_interp.functional.dissection.regions import UnitRegions
from lightning_interp.plots.image_strip import displayable
from lightning_interp.plots.style import COLORS, axes_grid, finish

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["plot_detector_comparison", "plot_detector_history", "plot_detectors", "plot_unit_grid"]

_Run: TypeAlias = Union[NetworkDissection, "pd.DataFrame"]

_CELL = 0.85  # inches of a picture in the grid
_DIMMED = 0.35
_OTHER_COLUMNS = ("epoch", "step", "seconds", "total")


def plot_detectors(dissection: NetworkDissection) -> Figure:
    """Number of different concepts that units detect, by category: a group of bars per layer, and one for all layers.

    Args:
        dissection: The result of a dissection.

    Returns:
        The figure.

    Example:
        >>> import torch
        >>> from lightning_interp.functional.dissection import Concepts, LayerDissection, TopImages
        >>> layer = LayerDissection(torch.ones(2), torch.tensor([[0.2], [0.0]]), TopImages.zeros(2, 1))
        >>> concepts = Concepts.of({"color": ["unlabelled", "red"]})
        >>> plot_detectors(NetworkDissection(concepts, {"conv": layer}, 0.04)).axes[0].get_ylabel()
        'different concepts detected'

    Reference:
        Bau et al., CVPR 2017, figure 7; survey, figure 17.
    """
    table = dissection.unique_detectors().drop(columns="total")
    groups = {str(name): row.to_dict() for name, row in table.iterrows()}
    if len(groups) > 1:
        groups["all layers"] = {name: float(count) for name, count in dissection.detected_concepts().items()}
    n_units = sum(len(layer.levels) for layer in dissection.layers.values())
    figure, (axis,) = axes_grid(width=max(6.0, 2.5 + 0.16 * len(groups) * len(table.columns)), height=3.8)
    _grouped_bars(axis, groups)
    title = f"Detectors among {n_units} units (IoU > {dissection.iou_threshold:g})"
    finish(axis, title=title, x="", y="different concepts detected")
    return figure


def plot_unit_grid(regions: Sequence[UnitRegions]) -> Figure:
    r"""One row per unit: what it fits best, and its best images, dimmed where the unit is below its level.

    Args:
        regions: Units, as :func:`lightning_interp.functional.dissection.regions.unit_regions` gives them. Images
            outside [0, 1] (normalised ones) are stretched to their own range.

    Returns:
        The figure.

    Raises:
        ValueError: If there is no unit.

    Example:
        >>> import torch
        >>> unit = UnitRegions("conv", 3, "red", "color", 0.25, (torch.rand(3, 8, 8),), (torch.ones(8, 8).bool(),))
        >>> plot_unit_grid([unit]).axes[0].texts[0].get_text()
        'red (color)\nIoU 0.25\nconv, unit 3'

    Reference:
        Bau et al., CVPR 2017, figure 4; survey, figure 16.
    """
    if not regions:
        raise ValueError(message("regions", "plot_unit_grid", "at least one unit", "none"))
    names = [f"{r.concept} ({r.category})\nIoU {r.iou:.2f}\n{r.layer}, unit {r.unit}" for r in regions]
    columns = max(1, *(len(each.images) for each in regions))
    margin = 0.065 * max(len(line) for name in names for line in name.split("\n")) / _CELL
    figure, (axis,) = axes_grid(width=_CELL * (columns + margin) + 0.2, height=_CELL * len(regions) + 0.2)
    for i, (each, name) in enumerate(zip(regions, names, strict=True)):
        axis.text(-0.08, -i - 0.5, name, ha="right", va="center", fontsize=8)
        for j, (image, mask) in enumerate(zip(each.images, each.masks, strict=True)):
            _draw_region(axis, image, mask, left=j, top=-i)
    axis.set(xlim=(-margin, columns), ylim=(-len(regions), 0), aspect="equal")
    axis.set_axis_off()
    return figure


def plot_detector_history(history: "pd.DataFrame") -> Figure:
    """Number of different concepts detected over the epochs: a line per category, and the total.

    Args:
        history: Column ``epoch`` and one per category, and optionally ``total``.

    Returns:
        The figure.

    Example:
        >>> import pandas as pd
        >>> len(plot_detector_history(pd.DataFrame({"epoch": [5, 10], "color": [1, 2], "part": [0, 3]})).axes[0].lines)
        2
    """
    figure, (axis,) = axes_grid(width=6.5, height=3.8)
    for i, name in enumerate(_categories(history)):
        marker = "osdv^P*"[i % 7]
        axis.plot(history["epoch"], history[name], marker + "-", color=_color(i), markersize=4, label=name)
    if "total" in history:
        axis.plot(history["epoch"], history["total"], "--", color="black", label="total")
    axis.set_ylim(bottom=0)
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_locator(MaxNLocator(nbins=8, integer=True))
    finish(axis, title="Detectors over the training", x="epoch", y="different concepts detected")
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, frameon=False)
    return figure


def plot_detector_comparison(runs: "Mapping[str, _Run]") -> Figure:
    """Different concepts detected under several training conditions: by category, and, of histories, over the epochs.

    Args:
        runs: Name of the condition -> its dissection, or the history of its training as in
            :func:`plot_detector_history`, the last row of which makes the bars.

    Returns:
        The figure.

    Raises:
        ValueError: If there is no run.

    Example:
        >>> import pandas as pd
        >>> history = pd.DataFrame({"epoch": [5, 10], "color": [1, 2], "total": [1, 2]})
        >>> len(plot_detector_comparison({"plain": history, "batch norm": history}).axes)
        2

    Reference:
        Bau et al., CVPR 2017, figure 9; survey, figure 17.
    """
    if not runs:
        raise ValueError(message("runs", "plot_detector_comparison", "at least one run", "none"))
    histories = {name: run for name, run in runs.items() if not isinstance(run, NetworkDissection)}
    figure, axes = axes_grid(columns=1 + bool(histories), width=5.6, height=3.8)
    _grouped_bars(axes[0], {name: _last(run) for name, run in runs.items()})
    finish(axes[0], title="At the end" if histories else "Detectors", x="", y="different concepts detected")
    for i, (name, run) in enumerate(histories.items()):
        total = run[_categories(run)].sum(axis=1)
        axes[1].plot(run["epoch"], total, "osdv^P*"[i % 7] + "-", color=_color(i), markersize=4, label=name)
    if histories:
        finish(axes[1], title="All categories over the training", x="epoch", y="different concepts detected")
        axes[1].set_ylim(bottom=0)
        axes[1].xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        axes[1].legend(fontsize=8)
    return figure


def _last(run: _Run) -> dict[str, float]:
    if isinstance(run, NetworkDissection):
        return {name: float(count) for name, count in run.detected_concepts().items()}
    return {name: float(run[name].iloc[-1]) for name in _categories(run)}


def _categories(history: "pd.DataFrame") -> list[str]:
    """Columns that count a category in all layers: those of single layers have a slash."""
    return [name for name in history if name not in _OTHER_COLUMNS and "/" not in name]


def _color(i: int) -> str:
    return COLORS[i % len(COLORS)]


def _grouped_bars(axis: Axes, groups: Mapping[str, Mapping[str, float]]) -> None:
    """A group of bars per name, a colour per category; every bar says its number, also one of no height."""
    categories = list(dict.fromkeys(name for counts in groups.values() for name in counts))
    width = 0.84 / len(categories)
    for i, category in enumerate(categories):
        x = np.arange(len(groups)) + (i - (len(categories) - 1) / 2) * width
        heights = [counts.get(category, 0.0) for counts in groups.values()]
        bars = axis.bar(x, heights, width, color=_color(i), hatch="//" if i >= len(COLORS) else None, label=category)
        axis.bar_label(bars, fmt="%d", fontsize=6 if len(groups) * len(categories) > 30 else 8)
    longest = max(len(name) for name in groups)
    crowded = longest * len(groups) > 45
    axis.set_xticks(
        range(len(groups)), list(groups), rotation=30 if crowded else 0, ha="right" if crowded else "center"
    )
    axis.tick_params(axis="x", labelsize=8)
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    axis.margins(y=0.12)
    axis.set_ylim(bottom=0)
    axis.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.28 if crowded else -0.1), ncols=4, fontsize=8, frameon=False
    )


def _draw_region(axis: Axes, image: Tensor, mask: Tensor, *, left: float, top: float) -> None:
    """An image in a square of side 1, dimmed outside of the mask, whose border is drawn."""
    inside = mask.numpy()
    pixels = displayable(image) * np.where(inside, 1.0, _DIMMED)[:, :, None]
    height, width = 0.96 * np.array(inside.shape) / max(inside.shape)
    axis.imshow(pixels, extent=(left, left + width, top - height, top), interpolation="nearest")
    if not inside.any():
        return
    framed = np.pad(inside, 1).astype(float)  # regions that touch the edge are closed there
    step = width / inside.shape[1]
    x = left + (np.arange(framed.shape[1]) - 0.5) * step
    y = top - (np.arange(framed.shape[0]) - 0.5) * step
    axis.contour(x, y, framed, levels=[0.5], colors=COLORS[5], linewidths=0.8)
