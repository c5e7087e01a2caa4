"""Heatmaps of factors over their images: one colour per factor, the same for the same concept."""

from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from lightning_interp._checks import check_int, message
from lightning_interp.functional.localization import Heatmaps
from lightning_interp.plots.image_strip import displayable
from lightning_interp.plots.style import COLORS, axes_grid

__all__ = ["overlay", "plot_factor_maps", "plot_heatmap_sweep", "plot_heatmaps"]

_CELL = 1.6  # inches
_MORE = ("#F0E442", "#882255", "#44AA99", "#999933", "#661100", "#88CCEE", "#AA4499", "#117733")
_PALETTE = (*COLORS[:6], *_MORE)


def plot_heatmaps(
    heatmaps: Heatmaps,
    pictures: Tensor | Sequence[Tensor],
    *,
    names: Sequence[str] | None = None,
    importance: Tensor | None = None,
    n_images: int = 6,
) -> Figure:
    """Images above their overlays, with a legend of the factors.

    Args:
        heatmaps: Factors of the images.
        pictures: The images for showing, ``(N, C, H, W)`` in [0, 1], of the size of the heatmaps.
        names: Of the factors; their numbers by default.
        importance: What each factor is worth to the prediction of each image, ``(N, k)``; its mean is in the legend.
        n_images: Images to show, from the first on.

    Returns:
        The figure.

    Raises:
        ValueError: Pictures or names do not fit the heatmaps.

    Example:
        >>> from torch import nn
        >>> from lightning_interp.functional.localization import nmf_heatmaps
        >>> net, images = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()), torch.rand(4, 3, 8, 8)
        >>> figure = plot_heatmaps(nmf_heatmaps(net, images, k=2), images)
        >>> [text.get_text() for text in figure.legends[0].get_texts()]
        ['factor 0', 'factor 1']

    Reference:
        Thesis, figure 4.1.
    """
    shown = _shown(heatmaps, pictures, n_images)
    figure, axes = _grid(2, shown, names_below=1)
    for i in range(len(shown)):
        _draw(axes[i], shown[i])
        _draw(axes[len(shown) + i], overlay(shown[i], heatmaps.maps_of(i), heatmaps.colors))
    _legend(figure, heatmaps.colors, _labels(heatmaps, names, importance))
    return figure


def plot_heatmap_sweep(sweep: Sequence[Heatmaps], pictures: Tensor | Sequence[Tensor], *, n_images: int = 6) -> Figure:
    """A row of overlays per number of factors; a concept keeps its colour.

    Args:
        sweep: As :func:`lightning_interp.functional.localization.heatmap_sweep` gives it.
        pictures: The images for showing, as in :func:`plot_heatmaps`.
        n_images: Images to show, from the first on.

    Returns:
        The figure.

    Raises:
        ValueError: There is no result, or the pictures do not fit.

    Example:
        >>> from torch import nn
        >>> from lightning_interp.functional.localization import heatmap_sweep
        >>> net, images = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()), torch.rand(2, 3, 8, 8)
        >>> figure = plot_heatmap_sweep(heatmap_sweep(net, images, [1, 2]), images)
        >>> [axis.texts[0].get_text() for axis in figure.axes if axis.texts]
        ['k = 1', 'k = 2']

    Reference:
        Thesis, figures 4.6 to 4.9.
    """
    if not sweep:
        raise ValueError(message("sweep", "plot_heatmap_sweep", "at least one result", "none"))
    shown = _shown(sweep[0], pictures, n_images)
    figure, axes = _grid(len(sweep), shown, names_below=0.6)
    for row, heatmaps in enumerate(sweep):
        for i, picture in enumerate(shown):
            _draw(axes[row * len(shown) + i], overlay(picture, heatmaps.maps_of(i), heatmaps.colors))
        _name(axes[row * len(shown)], f"k = {heatmaps.k}")
    colors = sorted({color for heatmaps in sweep for color in heatmaps.colors})
    _legend(figure, colors, [f"concept {color}" for color in colors])
    return figure


def plot_factor_maps(heatmaps: Heatmaps, pictures: Tensor | Sequence[Tensor], *, n_images: int = 6) -> Figure:
    """A row per factor, in its own colours: for signed maps (PCA), which cannot be laid over each other.

    Args:
        heatmaps: Factors of the images.
        pictures: The images for showing, as in :func:`plot_heatmaps`.
        n_images: Images to show, from the first on.

    Returns:
        The figure.

    Example:
        >>> from torch import nn
        >>> from lightning_interp.functional.localization import nmf_heatmaps
        >>> net, images = nn.Conv2d(3, 8, 3, padding=1), torch.rand(2, 3, 8, 8)
        >>> len(plot_factor_maps(nmf_heatmaps(net, images, k=3, layer="<output>", method="pca"), images).axes)
        8

    Reference:
        Thesis, figures 4.2 to 4.5.
    """
    shown = _shown(heatmaps, pictures, n_images)
    figure, axes = _grid(1 + heatmaps.k, shown)
    signed = heatmaps.method == "pca"
    for i, picture in enumerate(shown):
        _draw(axes[i], picture)
        for j, each in enumerate(heatmaps.maps_of(i)):
            axis = axes[(1 + j) * len(shown) + i]
            axis.imshow(
                each.cpu().numpy(), cmap="PuOr" if signed else "viridis", vmin=-1.0 if signed else 0.0, vmax=1.0
            )
            if i == 0:
                _name(axis, f"factor {j}")
    return figure


def overlay(picture: Tensor, maps: Tensor, colors: Sequence[int]) -> Tensor:
    """A picture under its maps: where a factor is strong, its colour covers the picture, paled to grey.

    Args:
        picture: ``(C, H, W)`` in [0, 1].
        maps: ``(k, H, W)`` in [0, 1].
        colors: Colour numbers of the factors.

    Returns:
        ``(3, H, W)`` in [0, 1].

    Example:
        >>> painted = overlay(torch.zeros(3, 1, 2), torch.tensor([[[1.0, 0.0]]]), [1])
        >>> [round(value, 2) for value in painted[:, 0, 0].tolist()], painted[:, 0, 1].tolist()
        ([0.72, 0.34, 0.05], [0.25, 0.25, 0.25])
    """
    ground = torch.from_numpy(displayable(picture)).permute(2, 0, 1).float().mean(0, keepdim=True)
    ground = (0.25 + 0.7 * ground).expand(3, -1, -1)  # paled, so that all colours stand out from it
    strength, strongest = maps.detach().float().cpu().clamp(0, 1).max(0)
    paint = torch.tensor([to_rgb(_color(number)) for number in colors])[strongest].permute(2, 0, 1)
    cover = (strength**0.7 * 0.8).expand(3, -1, -1)
    return torch.lerp(ground, paint, cover)


def _color(number: int) -> str:
    return _PALETTE[number % len(_PALETTE)]


def _shown(heatmaps: Heatmaps, pictures: Tensor | Sequence[Tensor], n_images: int) -> list[Tensor]:
    count = min(check_int(n_images, "n_images", "plot_heatmaps"), len(heatmaps.cells))
    shown = list(pictures[:count])
    if len(shown) < count or any(tuple(each.shape[1:]) != heatmaps.image_size for each in shown):
        must = f"{len(heatmaps.cells)} pictures (C, H, W) of the size of the heatmaps, {heatmaps.image_size}"
        raise ValueError(message("pictures", "plot_heatmaps", must, shown[0] if shown else "none"))
    return shown


def _labels(heatmaps: Heatmaps, names: Sequence[str] | None, importance: Tensor | None) -> list[str]:
    labels = list(names) if names is not None else [f"factor {j}" for j in range(heatmaps.k)]
    if len(labels) != heatmaps.k:
        raise ValueError(message("names", "plot_heatmaps", f"a name for each of {heatmaps.k} factors", names))
    if importance is None:
        return labels
    worth = importance.float().mean(0).tolist()
    return [f"{label} (class score {-each:+.2g} without)" for label, each in zip(labels, worth, strict=True)]


def _grid(rows: int, shown: Sequence[Tensor], *, names_below: float = 0.0) -> tuple[Figure, list[Axes]]:
    tall = shown[0].shape[1] / shown[0].shape[2]
    height = _CELL * tall + names_below / rows
    figure, axes = axes_grid(rows, len(shown), width=_CELL, height=height)
    for axis in axes:
        axis.set_axis_off()
    return figure, axes


def _draw(axis: Axes, picture: Tensor) -> Any:
    return axis.imshow(displayable(picture), interpolation="nearest")


def _name(axis: Axes, name: str) -> None:
    axis.text(-0.06, 0.5, name, rotation=90, ha="right", va="center", transform=axis.transAxes, fontsize=9)


def _legend(figure: Figure, colors: Sequence[int], labels: Sequence[str]) -> None:
    patches = [Patch(color=_color(number), label=label) for number, label in zip(colors, labels, strict=True)]
    width = figure.get_figwidth()
    longest = max(len(label) for label in labels)
    columns = max(1, min(len(labels), int(width / (0.09 * longest + 0.6))))
    figure.legend(handles=patches, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)
