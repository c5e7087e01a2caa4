"""Figures of inverted features: what a network still knows about an image, layer by layer."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lightning_interp._checks import check_int, message
from lightning_interp.functional.synthesis.perturbation import PerturbationErrors
from lightning_interp.plots.image_strip import displayable
from lightning_interp.plots.style import COLORS, axes_grid, finish

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["plot_inversion_errors", "plot_reconstructions"]

_CELL = 0.85  # inches of a picture
_CAPTION = 0.2  # of a picture's side


def plot_reconstructions(
    images: Tensor,
    reconstructions: Mapping[str, Tensor],
    *,
    errors: Mapping[str, Tensor] | None = None,
    pictures: Callable[[Tensor], Tensor] | None = None,
    n_columns: int = 8,
) -> Figure:
    """The images in the first row, and a row of reconstructions for each layer, perturbation or method.

    Args:
        images: ``(N, C, H, W)``. Where one is not in [0, 1] (normalised ones), it and its reconstructions are stretched
            alike, such that the image fills the range.
        reconstructions: Name of the row -> images ``(N, C, H, W)``.
        errors: Name of a row -> its errors ``(N,)``, written below the pictures.
        pictures: Turns images as the network takes them into pictures in [0, 1], both ``(N, C, H, W)``: undoes a
            normalisation, for instance.
        n_columns: Images shown, from the first on.

    Returns:
        The figure.

    Raises:
        ValueError: If there is no image, or a row is not about the same images.

    Example:
        >>> import torch
        >>> images = torch.rand(3, 3, 8, 8)
        >>> figure = plot_reconstructions(images, {"conv1": 0.5 * images}, errors={"conv1": torch.ones(3)})
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['image', 'conv1', '1.00', '1.00', '1.00']

    Reference:
        Survey, figures 12 and 13.
    """
    check_int(n_columns, "n_columns", "plot_reconstructions")
    errors = {} if errors is None else errors
    _check(images, reconstructions, errors)
    shown = {"image": images, **reconstructions}
    converted = {
        name: row[:n_columns] if pictures is None else pictures(row[:n_columns]) for name, row in shown.items()
    }
    columns, step = len(converted["image"]), 1 + _CAPTION * bool(errors)
    margin = 0.1 + 0.07 * max(map(len, shown)) / _CELL
    figure, (axis,) = axes_grid(width=_CELL * (columns + margin) + 0.2, height=_CELL * step * len(shown) + 0.2)
    for i, (name, row) in enumerate(converted.items()):
        axis.text(-0.1, -step * i - 0.5, name, ha="right", va="center", fontsize=8)
        for j, picture in enumerate(row):
            _draw(axis, picture, converted["image"][j], left=j, top=-step * i)
            if name in errors:
                caption = f"{float(errors[name][j]):.2f}"
                axis.text(j + 0.48, -step * i - 0.98, caption, ha="center", va="top", fontsize=7)
    axis.set(xlim=(-margin, columns), ylim=(-step * len(shown), 0), aspect="equal")
    axis.set_axis_off()
    return figure


def plot_inversion_errors(errors: "PerturbationErrors | pd.DataFrame") -> Figure:
    """Mean reconstruction error against the layer, a line per perturbation.

    Args:
        errors: Of several layers, or their table; the former adds, dashed, what answering with the mean image achieves.

    Returns:
        The figure.

    Raises:
        ValueError: If the table is empty.

    Example:
        >>> import pandas as pd
        >>> table = pd.DataFrame({"none": [0.1, 0.4], "dropout": [0.3, 0.5]}, index=["conv1", "conv2"])
        >>> [line.get_label() for line in plot_inversion_errors(table).axes[0].lines]
        ['none', 'dropout']

    Reference:
        Dosovitskiy and Brox, CVPR 2016; survey, section 5.3.2.
    """
    table = errors.to_dataframe() if isinstance(errors, PerturbationErrors) else errors
    if table.empty:
        raise ValueError(message("errors", "plot_inversion_errors", "of at least one layer and perturbation", table))
    names = [str(name) for name in table.index]
    figure, (axis,) = axes_grid(width=max(5.5, 2.5 + 0.8 * len(names)), height=3.8)
    for i, kind in enumerate(table.columns):
        # Ever smaller, so that lines on top of each other are all seen: a drop of zeros changes nothing.
        style, size = "osdv^P*"[i % 7] + "-", max(4, 10 - 2 * i)
        axis.plot(range(len(names)), table[kind], style, color=COLORS[i % len(COLORS)], markersize=size, label=kind)
    if isinstance(errors, PerturbationErrors):
        axis.axhline(float(errors.baseline.mean()), color="grey", linestyle="--", label="mean image")
    crowded = max(map(len, names)) * len(names) > 45
    axis.set_xticks(range(len(names)), names, rotation=30 if crowded else 0, ha="right" if crowded else "center")
    axis.margins(x=0.08)
    axis.set_ylim(bottom=0)
    finish(axis, title="Images reconstructed from features", x="layer", y="error / distance between images")
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, frameon=False)
    return figure


def _check(images: Tensor, reconstructions: Mapping[str, Tensor], errors: Mapping[str, Tensor]) -> None:
    owner = "plot_reconstructions"
    if images.ndim != 4 or len(images) == 0:
        raise ValueError(message("images", owner, "at least one image, of shape (N, C, H, W)", images))
    for name, row in reconstructions.items():
        if row.shape != images.shape:
            must = f"of the shape of the images, {tuple(images.shape)}, in row {name!r}"
            raise ValueError(message("reconstructions", owner, must, row))
    for name, values in errors.items():
        if name not in reconstructions or values.shape != (len(images),):
            must = f"one number per image for rows among {list(reconstructions)}; row {name!r} is not"
            raise ValueError(message("errors", owner, must, values))


def _draw(axis: Axes, picture: Tensor, original: Tensor, *, left: float, top: float) -> None:
    """A picture in a square of side 1, on the scale of its original."""
    low, high = float(original.min()), float(original.max())
    if low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    scaled = (picture.detach().float().cpu() - low) / max(high - low, 1e-12)
    height, width = 0.96 * np.array(picture.shape[1:]) / max(picture.shape[1:])
    extent = (left, left + width, top - height, top)
    axis.imshow(displayable(scaled.clamp(0, 1)), extent=extent, interpolation="nearest")
