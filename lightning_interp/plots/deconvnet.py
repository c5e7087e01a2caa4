"""Figures of projections: what in the images excites units, and how that came about in training."""

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lightning_interp._checks import message
from lightning_interp.functional.synthesis.deconvnet import Projections
from lightning_interp.plots.image_strip import displayable
from lightning_interp.plots.pictures import on_grey
from lightning_interp.plots.style import axes_grid

__all__ = ["plot_projection_evolution", "plot_projections"]

_CELL = 0.8  # inches of a picture
_ROW = 1.25  # height of a row with its caption, in cells
_PAIR = 2.15  # width of an image and its projection
_MARGIN = 1.0  # for the names of the rows
_CLIPPED = 0.005  # of a projection: a few single pixels would leave the rest grey
_NAMES = {"deconvnet": "DeconvNet", "guided": "Guided backpropagation", "gradient": "Gradient"}


def plot_projections(projections: Projections, *, pictures: Tensor | None = None, crop: bool = True) -> Figure:
    """A row per unit: each image next to its projection, with the activation below.

    Projections are drawn around mid-grey, each on its own scale, which clips the largest half percent of the values.

    Args:
        projections: From :func:`lightning_interp.functional.synthesis.deconvnet.deconvnet`.
        pictures: The images in [0, 1], ``(N, C, H, W)``, if the network's are normalised; by default these, stretched
            to their own range where they leave [0, 1].
        crop: Cut both to the receptive field.

    Returns:
        The figure.

    Raises:
        ValueError: The pictures do not fit the images.

    Example:
        >>> import torch
        >>> from lightning_interp.functional.synthesis.deconvnet import deconvnet
        >>> found = deconvnet(torch.nn.Conv2d(3, 4, 3), torch.rand(2, 3, 8, 8), "<output>", [0, 3])
        >>> len(plot_projections(found).axes[0].images)
        8

    Reference:
        Zeiler & Fergus, ECCV 2014, figure 2; survey, figure 8.
    """
    shown = _checked(projections, pictures, "plot_projections")
    n_units, n_images = projections.activations.shape
    figure, axis = _canvas(projections, n_rows=n_units, width=_PAIR * n_images, head=0.05)
    for row, unit in enumerate(projections.units):
        _label(axis, f"unit {unit}", row)
        for i, picture in enumerate(shown):
            _draw(axis, _cut(displayable(picture), projections, row, i, crop), _PAIR * i, row)
            _draw(axis, _projection(projections, row, i, crop), _PAIR * i + 1, row)
            _caption(axis, float(projections.activations[row, i]), _PAIR * i + 1, row)
    return figure


def plot_projection_evolution(
    projections_by_epoch: Mapping[float, Projections], *, pictures: Tensor | None = None, crop: bool = True
) -> Figure:
    """A row per unit and image: the image, and its projection at each epoch, with the activation below.

    Args:
        projections_by_epoch: Of the same units and images, by epoch.
        pictures: The images in [0, 1], as in :func:`plot_projections`.
        crop: Cut projections to the receptive field, that of the epoch.

    Returns:
        The figure.

    Raises:
        ValueError: There is no epoch, epochs are about different units, or the pictures do not fit the images.

    Example:
        >>> import torch
        >>> from lightning_interp.functional.synthesis.deconvnet import deconvnet
        >>> found = deconvnet(torch.nn.Conv2d(3, 4, 3), torch.rand(2, 3, 8, 8), "<output>", [0, 3])
        >>> len(plot_projection_evolution({1: found, 5: found}).axes[0].images)
        12

    Reference:
        Zeiler & Fergus, ECCV 2014, figure 4; survey, figure 10.
    """
    owner = "plot_projection_evolution"
    epochs = sorted(projections_by_epoch)
    if len({(p.layer, p.units, len(p.images)) for p in projections_by_epoch.values()}) != 1:
        must = "projections of the same units and images at one epoch at least"
        raise ValueError(message("projections_by_epoch", owner, must, projections_by_epoch))
    first = projections_by_epoch[epochs[0]]
    shown = _checked(first, pictures, owner)
    figure, axis = _canvas(first, n_rows=first.activations.numel(), width=len(epochs) + 1.2, head=0.3)
    for column, epoch in enumerate(epochs):
        axis.text(column + 1.7, 0.05, f"epoch {epoch:g}", ha="center", va="bottom", fontsize=8)
    for row in range(first.activations.numel()):
        unit, i = divmod(row, len(shown))
        _label(axis, f"unit {first.units[unit]}\nimage {i}", row)
        _draw(axis, displayable(shown[i]), 0, row)
        for column, epoch in enumerate(epochs):
            one = projections_by_epoch[epoch]
            _draw(axis, _projection(one, unit, i, crop), column + 1.2, row)
            _caption(axis, float(one.activations[unit, i]), column + 1.7, row)
    return figure


def _checked(projections: Projections, pictures: Tensor | None, owner: str) -> Tensor:
    shape = tuple(projections.images.shape)
    if pictures is not None and (pictures.ndim != 4 or (len(pictures), *pictures.shape[2:]) != (shape[0], *shape[2:])):
        must = f"as many and as large as the images, ({shape[0]}, C, {shape[2]}, {shape[3]})"
        raise ValueError(message("pictures", owner, must, pictures))
    return projections.images if pictures is None else pictures


def _canvas(projections: Projections, *, n_rows: int, width: float, head: float) -> tuple[Figure, Axes]:
    figure, (axis,) = axes_grid(width=_CELL * (width + _MARGIN), height=_CELL * (_ROW * n_rows + head) + 0.3)
    axis.set(xlim=(-_MARGIN, width), ylim=(-_ROW * n_rows, head), aspect="equal")
    axis.set_axis_off()
    axis.set_title(f"{_NAMES[projections.method]}, layer {projections.layer}", fontsize=10)
    return figure, axis


def _projection(projections: Projections, row: int, image: int, crop: bool) -> Any:
    return _cut(
        on_grey(projections.maps[row, image], clipped=_CLIPPED).permute(1, 2, 0).numpy(), projections, row, image, crop
    )


def _cut(picture: Any, projections: Projections, row: int, image: int, crop: bool) -> Any:
    """Pixels ``(H, W, 3)`` within the field, scaled as they were."""
    top, left, bottom, right = projections.fields[row, image].tolist()
    return picture[top:bottom, left:right] if crop else picture


def _draw(axis: Axes, picture: Any, left: float, row: int) -> None:
    """In the middle of a cell, as large as fits; a field without pixels leaves it empty."""
    height, width = picture.shape[:2]
    if height and width:
        x, y = left + 0.5, -_ROW * row - 0.5
        half_height, half_width = (0.48 * side / max(height, width) for side in (height, width))
        extent = (x - half_width, x + half_width, y - half_height, y + half_height)
        axis.imshow(picture, extent=extent, interpolation="nearest")


def _label(axis: Axes, name: str, row: int) -> None:
    axis.text(-0.1, -_ROW * row - 0.5, name, ha="right", va="center", fontsize=8)


def _caption(axis: Axes, activation: float, x: float, row: int) -> None:
    text = "silent" if not activation else f"{activation:.0f}" if abs(activation) >= 100 else f"{activation:.3g}"
    axis.text(x, -_ROW * row - 1.0, text, ha="center", va="top", fontsize=7)
