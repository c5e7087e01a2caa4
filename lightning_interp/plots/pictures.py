"""Pictures in a grid, each under its title."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from lightning_interp._checks import check_int, message
from lightning_interp.plots.image_strip import displayable
from lightning_interp.plots.style import axes_grid

__all__ = ["on_grey", "plot_pictures", "save_png"]

_CELL = 1.3  # inches


def plot_pictures(
    images: Tensor | Sequence[Tensor],
    titles: Sequence[str] = (),
    *,
    rows: Sequence[str] = (),
    n_columns: int | None = None,
) -> Figure:
    """Images side by side.

    Args:
        images: ``(N, C, H, W)`` or a list of ``(C, H, W)`` of any sizes, in [0, 1]; others are stretched to their own
            range.
        titles: Above each image; they may have several lines.
        rows: Names of the rows, on their left.
        n_columns: Images in a row; as many as make the rows that are named, else eight at most.

    Returns:
        The figure.

    Raises:
        ValueError: There is no image, or the number of titles or rows does not fit.

    Example:
        >>> import torch
        >>> figure = plot_pictures(torch.rand(4, 3, 8, 8), list("abcd"), rows=["above", "below"])
        >>> [axis.get_title() for axis in figure.axes[:2]], figure.axes[2].texts[0].get_text()
        (['a', 'b'], 'below')
    """
    if not len(images) or (titles and len(titles) != len(images)):
        raise ValueError(
            message("titles", "plot_pictures", f"one for each of {len(images)} images, at least one", titles)
        )
    columns = n_columns or (-(-len(images) // len(rows)) if rows else min(8, len(images)))
    check_int(columns, "n_columns", "plot_pictures")
    n_rows = -(-len(images) // columns)
    if rows and len(rows) != n_rows:
        raise ValueError(message("rows", "plot_pictures", f"a name for each of {n_rows} rows", rows))
    lines = [
        max((t.count("\n") + 1 for t in titles[r * columns : (r + 1) * columns] if t), default=0) for r in range(n_rows)
    ]
    letters = max((len(line) for title in titles for line in title.split("\n")), default=0)
    width = max(_CELL, 0.07 * letters + 0.1)
    figure, axes = axes_grid(n_rows, columns, width=width, height=_CELL + 0.15 * sum(lines) / n_rows)
    for axis in axes:
        axis.set_axis_off()
    for i, image in enumerate(images):
        axes[i].imshow(displayable(image), interpolation="nearest")
        if titles:
            axes[i].set_title(titles[i], fontsize=8)
    for row, name in enumerate(rows):
        _name(axes[row * columns], name)
    return figure


def on_grey(signed: Tensor, *, clipped: float = 0.0) -> Tensor:
    """Signed numbers as a picture: 0 is mid-grey, the largest number of either sign is at an end.

    Args:
        signed: ``(C, h, w)``: three channels are colours; of others the mean is shown in grey.
        clipped: Share of the numbers other than 0, the largest, that need not fit into the scale.

    Returns:
        ``(3, h, w)`` in [0, 1].

    Example:
        >>> import torch
        >>> on_grey(torch.tensor([[[-2.0, 0.0, 1.0]]]))[0].tolist()
        [[0.0, 0.5, 0.75]]
    """
    shown = signed.detach().float().cpu()
    if len(shown) != 3:
        shown = shown.mean(0, keepdim=True).expand(3, -1, -1)
    sizes = shown[shown != 0].abs()
    scale = float(sizes.kthvalue(max(1, round(len(sizes) * (1 - clipped)))).values) if len(sizes) else 1.0
    return (shown / (2 * scale) + 0.5).clamp(0, 1)


def save_png(picture: Tensor, path: str | Path) -> None:
    """Write a picture, pixel by pixel.

    Args:
        picture: ``(C, H, W)`` in [0, 1]; others are stretched to their own range, and channels that are no three
            colours averaged.
        path: The file.
    """
    Image.fromarray(np.round(255 * displayable(picture)).astype(np.uint8)).save(path)


def _name(axis: Axes, name: str) -> None:
    axis.text(-0.1, 0.5, name, rotation=90, ha="right", va="center", transform=axis.transAxes, fontsize=8)
