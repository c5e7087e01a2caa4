"""Images side by side, the best scored above the worst, with what a unit sees in them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lightning_interp._checks import check_int, message
from lightning_interp.plots.style import COLORS, axes_grid

__all__ = ["displayable", "plot_image_strip"]

_NAME_LENGTH = 13  # letters that fit under a picture


def plot_image_strip(
    images: Tensor | Sequence[Tensor],
    scores: Tensor,
    labels: Tensor,
    *,
    truth: Tensor | None = None,
    classes: Sequence[str] | None = None,
    features: Tensor | Sequence[Tensor] | None = None,
    n_columns: int = 8,
    unit: str = "unit",
) -> Figure:
    r"""Best scored images from the best on, worst scored images from the worst on, each with score and label.

    Every image is shown once: fewer than ``2 * n_columns`` are shared between the two rows, and images whose score is
    NaN are left out. Captions of wrong labels are orange and say what the image is. Images outside [0, 1] (normalised
    ones) are stretched to their own range.

    Args:
        images: ``(n, C, H, W)``, or a list of images of different sizes; colour or grey, uint8 or float. Of other
            numbers of channels the mean is shown.
        scores: ``(n,)``, higher is better.
        labels: Label given to each image, ``(n,)``.
        truth: Its true label, ``(n,)``, where known.
        classes: Names of the labels; their numbers by default.
        features: Feature map of one unit for each image, ``(n, h, w)`` or a list: drawn below the images, on one scale.
        n_columns: Images per row.
        unit: Name of that unit.

    Returns:
        The figure.

    Raises:
        ValueError: If there is no image, or the arguments are not about the same images.

    Example:
        >>> figure = plot_image_strip(torch.rand(4, 3, 8, 8), torch.arange(4.0), torch.zeros(4).long())
        >>> [axis.get_title() for axis in figure.axes[:2]]
        ['3.00\n0', '2.00\n0']

    Reference:
        Image score, figure 1.
    """
    check_int(n_columns, "n_columns", "plot_image_strip")
    _check(images, scores, labels=labels, truth=truth, features=features)
    order = scores.cpu().argsort(descending=True, stable=True)
    order = order[scores.cpu()[order].isfinite()]
    best = order[: min(n_columns, (len(order) + 1) // 2)]
    worst = order[len(best) :].flip(0)[:n_columns]
    rows = [("best", best), ("worst", worst)][: 1 + (len(worst) > 0)]
    per_row = 1 if features is None else 2
    figure, axes = axes_grid(per_row * len(rows), len(best), width=1.15, height=1.5 if features is None else 1.35)
    for axis in axes:
        axis.set_axis_off()
    for r, (name, chosen) in enumerate(rows):
        row = axes[per_row * r * len(best) :]
        _name_row(row[0], name)
        for axis, i in zip(row, chosen.tolist(), strict=False):
            axis.imshow(displayable(images[i]), interpolation="nearest")
            _caption(axis, scores[i], labels[i], None if truth is None else truth[i], classes)
        if features is not None:
            _name_row(row[len(best)], unit)
            _draw_features(row[len(best) :], features, chosen.tolist())
    return figure


def _check(images: Tensor | Sequence[Tensor], scores: Tensor, **others: Tensor | Sequence[Tensor] | None) -> None:
    owner = "plot_image_strip"
    if len(images) == 0 or any(image.ndim != 3 for image in images):
        raise ValueError(message("images", owner, "at least one image, each of shape (C, H, W)", images))
    for name, value in {"scores": scores, **others}.items():
        if value is None:
            continue
        n_dims = 2 if name == "features" else 0
        if len(value) != len(images) or any(each.ndim != n_dims for each in value):
            kind = "one map (h, w)" if n_dims else "one number"
            raise ValueError(message(name, owner, f"{kind} for each of {len(images)} images", value))
    if not scores.isfinite().any():
        raise ValueError(message("scores", owner, "a number for at least one image, not NaN for all", scores))


def _draw_features(axes: Sequence[Axes], features: Tensor | Sequence[Tensor], chosen: Sequence[int]) -> None:
    """On one scale, so that a unit that is silent on an image looks silent."""
    low, high = min(float(each.min()) for each in features), max(float(each.max()) for each in features)
    for axis, i in zip(axes, chosen, strict=False):
        axis.imshow(features[i].detach().float().cpu().numpy(), cmap="viridis", vmin=low, vmax=high)


def displayable(image: Tensor) -> Any:
    """``(H, W, 3)`` in [0, 1]."""
    pixels = image.detach().cpu().float() / (255 if image.dtype == torch.uint8 else 1)
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0 or high > 1:
        pixels = (pixels - low) / max(high - low, 1e-12)
    if len(pixels) != 3:
        pixels = pixels.mean(0, keepdim=True).expand(3, -1, -1)
    return np.clip(pixels.permute(1, 2, 0).numpy(), 0, 1)


def _name_row(axis: Axes, name: str) -> None:
    axis.text(-0.12, 0.5, name, rotation=90, ha="right", va="center", transform=axis.transAxes, fontsize=9)


def _caption(axis: Axes, score: Tensor, label: Tensor, truth: Tensor | None, classes: Sequence[str] | None) -> None:
    lines = [f"{float(score):.2f}", _name(int(label), classes)]
    wrong = truth is not None and int(truth) != int(label)
    if truth is not None:
        lines.append(f"is {_name(int(truth), classes)}" if wrong else "right")
    axis.set_title("\n".join(lines), fontsize=8, color=COLORS[1] if wrong else "black")


def _name(label: int, classes: Sequence[str] | None) -> str:
    name = str(label) if classes is None else classes[label]
    return name if len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - 1]}…"
