"""Figures of inverse sets: samples level by level, the nearest real images, how they were found, all in motion."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from lightning_interp._checks import check_int, check_number, message
from lightning_interp.functional.inverse_set.result import TRACE, InverseSet
from lightning_interp.plots.image_strip import displayable
from lightning_interp.plots.style import COLORS, axes_grid, finish

__all__ = ["plot_inverse_nearest", "plot_inverse_set", "plot_inverse_trace", "save_inverse_animation"]

_CELL = 0.85  # inches of a picture
_LINE = 0.16  # of a picture's side, a line of text
_GAP = 0.06
_LETTER = 0.075  # inches


def plot_inverse_set(
    sets: InverseSet | Sequence[InverseSet], *, n_columns: int = 10, titles: Sequence[str] | None = None
) -> Figure:
    r"""A row of samples for each set, early ones on the left; its intervals beside them, activations below.

    Args:
        sets: One or several, such as of one neuron at several levels.
        n_columns: Samples in a row, evenly over the whole set and from all seeds.
        titles: Names of the rows; those of the neurons by default.

    Returns:
        The figure.

    Raises:
        ValueError: There is no set, one is empty, or titles are not one for each.

    Example:
        >>> from lightning_interp.functional.synthesis import PixelSpace
        >>> value, rows = torch.tensor([[1.0], [1.5], [2.0]]), torch.rand(3, 8)
        >>> tensors = (rows, value, rows, torch.arange(3), torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 3.0]]))
        >>> found = InverseSet(("conv:3",), torch.rand(3, 3, 8, 8), *tensors, torch.rand(9, 6), PixelSpace())
        >>> [text.get_text() for text in plot_inverse_set(found).axes[0].texts]
        ['conv:3\n[1.0, 2.0]', '1.0', '1.5', '2.0']

    Reference:
        Hada and Carreira-Perpinan, figures 1, 3 and 4.
    """
    check_int(n_columns, "n_columns", "plot_inverse_set")
    chosen = _checked(sets, titles, "plot_inverse_set")
    names = _names(chosen, titles)
    picked = [_picked(found.seeds, n_columns) for found in chosen]
    pictures = [found.pixels[places] for found, places in zip(chosen, picked, strict=True)]
    captions = [_captions(found, places) for found, places in zip(chosen, picked, strict=True)]
    return _grid(names, pictures, captions)


def plot_inverse_nearest(
    found: InverseSet, nearest: Tensor, distances: Tensor, *, typical: float | None = None, n_columns: int = 10
) -> Figure:
    """Samples above the nearest image of a dataset to each, from the nearest pair to the farthest: are they copies?

    Args:
        found: The samples.
        nearest: For each sample the nearest image, ``(n, C, H, W)`` in [0, 1].
        distances: Between the two, ``(n,)``, such as from
            :func:`~lightning_interp.functional.inverse_set.diversity.nearest_images`.
        typical: What this distance is for real images, such as those held out.
        n_columns: Pairs shown, evenly over their distances and from all seeds.

    Returns:
        The figure.

    Raises:
        ValueError: There is no sample, or not one image and distance for each.

    Reference:
        Hada and Carreira-Perpinan, section 4, claims images that were never seen.
    """
    check_int(n_columns, "n_columns", "plot_inverse_nearest")
    _checked(found, None, "plot_inverse_nearest")
    for name, values in {"nearest": nearest, "distances": distances}.items():
        if len(values) != len(found):
            raise ValueError(message(name, "plot_inverse_nearest", f"one for each of {len(found)} samples", values))
    order = distances.argsort(stable=True).cpu()
    places = order[_picked(found.seeds[order], n_columns)]
    captions = [f"{float(distance):.3g}" for distance in distances[places]]
    usual = "" if typical is None else f"\n(real images: {typical:.3g})"
    names = [f"samples\ndistance to the nearest{usual}", "nearest image"]
    return _grid(names, [found.pixels[places], nearest.cpu()[places]], [captions, [""] * len(places)])


def plot_inverse_trace(found: InverseSet) -> Figure:
    """What each neuron says to the samples, in order, and how the solver got there.

    Args:
        found: The samples.

    Returns:
        The figure: for each neuron its activations and, shaded, the interval; then the mean violation and how many
        codes are inside at each gradient step, the search for seeds shaded.

    Reference:
        Hada and Carreira-Perpinan, section 3.4.
    """
    p = len(found.names)
    figure, axes = axes_grid(1, p + 2, width=3.6, height=3.0)
    for i, name in enumerate(found.names):
        low, high = found.intervals[i].tolist()
        axes[i].axhspan(low, high, color=COLORS[4], alpha=0.3, linewidth=0, label="interval")
        axes[i].plot(found.activations[:, i], ".", color=COLORS[0], markersize=3, label="samples")
        axes[i].set_ylim(low - 0.15 * (high - low), high + 0.3 * (high - low))
        finish(axes[i], title="Activations", x="sample", y=name)
        axes[i].legend(loc="upper center", ncols=2, fontsize=8, frameon=False)
    n_seeds, _ = found.n_steps
    for axis, name, title in zip(axes[p:], ("violation", "n_feasible"), ("Violation", "Codes inside"), strict=True):
        axis.axvspan(-0.5, n_seeds - 0.5, color=COLORS[5], alpha=0.2, linewidth=0, label="search for seeds")
        axis.plot(found.trace[:, TRACE.index(name)], color=COLORS[0], linewidth=1.2)
        y = "mean, in widths of the interval" if name == "violation" else "codes"
        finish(axis, title=title, x="gradient step", y=y)
        axis.set_ylim(bottom=0)
    axes[p].legend(fontsize=8, frameon=False)
    return figure


def save_inverse_animation(
    sets: InverseSet | Sequence[InverseSet],
    path: str | Path,
    *,
    n_columns: int = 10,
    titles: Sequence[str] | None = None,
    side: int = 64,
    fps: float = 10,
) -> None:
    """Write a GIF that goes through all samples, again and again: a row for each set, walks side by side.

    A picture moves as the walk of its seed does; a row whose samples are finished stays.

    Args:
        sets: One or several.
        path: The file.
        n_columns: Pictures in a row: the more, the fewer frames.
        titles: Names of the rows; those of the neurons by default.
        side: Pixels of the longer side of a picture. Smaller pictures are enlarged by a whole number, larger ones are
            shrunk: this and the number of samples bound the size of the file.
        fps: Frames in a second.

    Raises:
        ValueError: As for :func:`plot_inverse_set`, or a number is out of range.
    """
    owner = "save_inverse_animation"
    check_int(n_columns, "n_columns", owner)
    check_int(side, "side", owner, low=8)
    check_number(fps, "fps", owner, low=0.1, high=50)
    chosen = _checked(sets, titles, owner)
    rows = list(zip(chosen, _names(chosen, titles), (_lanes(found, n_columns) for found in chosen), strict=True))
    frames = [_frame(rows, i, side) for i in range(max(len(lanes[0]) for _, _, lanes in rows))]
    palette = _palette(frames)
    first, *rest = (frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
    first.save(path, format="GIF", save_all=True, append_images=rest, duration=round(1000 / fps), loop=0)


def _checked(sets: InverseSet | Sequence[InverseSet], titles: Sequence[str] | None, owner: str) -> list[InverseSet]:
    chosen = [sets] if isinstance(sets, InverseSet) else list(sets)
    if not chosen or not all(map(len, chosen)):
        raise ValueError(
            message("sets", owner, "one set at least, each with a sample", [len(found) for found in chosen])
        )
    if titles is not None and len(titles) != len(chosen):
        raise ValueError(message("titles", owner, f"one for each of {len(chosen)} sets", list(titles)))
    return chosen


def _evenly(n: int, n_columns: int) -> Tensor:
    return torch.linspace(0, n - 1, min(n, n_columns)).round().long()


def _picked(seeds: Tensor, n_columns: int) -> list[int]:
    """Of each of as many stretches a sample, of a seed that was shown least: one walk would show the same again."""
    picked: list[int] = []
    shown: Counter[int] = Counter()
    for stretch in torch.arange(len(seeds)).tensor_split(min(len(seeds), n_columns)):
        picked.append(min(stretch.tolist(), key=lambda i: shown[int(seeds[i])]))
        shown[int(seeds[picked[-1]])] += 1
    return picked


def _names(sets: Sequence[InverseSet], titles: Sequence[str] | None) -> list[str]:
    """What stands beside each row: a title, and the interval of each neuron."""
    names = []
    for i, found in enumerate(sets):
        levels = [f"[{', '.join(_written(end, interval) for end in interval)}]" for interval in found.intervals]
        if len(levels) == 1:
            lines = [found.names[0] if titles is None else titles[i], *levels]
        else:
            lines = [f"{name} {level}" for name, level in zip(found.names, levels, strict=True)]
            lines = lines if titles is None else [titles[i], *lines]
        names.append("\n".join(lines))
    return names


def _captions(found: InverseSet, places: Tensor | list[int]) -> list[str]:
    """The activations of some samples, a line for each neuron."""
    return ["\n".join(map(_written, values, found.intervals)) for values in found.activations[places]]


def _written(value: Tensor, interval: Tensor) -> str:
    """So many digits that places in the interval can be told apart."""
    low, high = interval.tolist()
    return f"{float(value):.{max(0, math.ceil(-math.log10(high - low)) + 1)}f}"


def _grid(names: Sequence[str], pictures: Sequence[Tensor], captions: Sequence[Sequence[str]]) -> Figure:
    """Rows of pictures, their names on the left and a caption below each."""
    lines = [max(caption.count("\n") + bool(caption) for caption in row) for row in captions]
    heights = [1 + _GAP + _LINE * n for n in lines]
    columns = max(map(len, pictures))
    margin = 0.15 + _LETTER * max(len(line) for name in names for line in name.split("\n")) / _CELL
    figure, (axis,) = axes_grid(width=_CELL * (columns + margin) + 0.2, height=_CELL * sum(heights) + 0.2)
    top = 0.0
    for name, row, texts, height in zip(names, pictures, captions, heights, strict=True):
        axis.text(-0.12, top - 0.48, name, ha="right", va="center", fontsize=8, parse_math=False)
        for j, (picture, text) in enumerate(zip(row, texts, strict=True)):
            _draw(axis, picture, left=j, top=top)
            if text:
                axis.text(j + 0.48, top - 0.98, text, ha="center", va="top", fontsize=7)
        top -= height
    axis.set(xlim=(-margin, columns), ylim=(top, 0), aspect="equal")
    axis.set_axis_off()
    return figure


def _draw(axis: Axes, picture: Tensor, *, left: float, top: float) -> None:
    height, width = 0.96 * np.array(picture.shape[1:]) / max(picture.shape[1:])
    left += (0.96 - width) / 2
    extent = (left, left + width, top - height, top)
    axis.imshow(displayable(picture), extent=extent, interpolation="nearest")


def _lanes(found: InverseSet, n_columns: int) -> tuple[Tensor, ...]:
    """Samples seed by seed, so that neighbours are a step apart, dealt to columns in stretches of one length."""
    order: Tensor = found.seeds.argsort(stable=True)
    return order.tensor_split(min(len(found), n_columns))


def _frame(rows: Sequence[tuple[InverseSet, str, tuple[Tensor, ...]]], i: int, side: int) -> Image.Image:
    """All rows at one moment."""
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")), 11)
    left = 10 + round(max(font.getlength(line) for _, name, _ in rows for line in name.split("\n")))
    heights = [side + 6 + 14 * max(len(found.names), name.count("\n") + 1 - side // 14) for found, name, _ in rows]
    columns = max(len(lanes) for _, _, lanes in rows)
    canvas = Image.new("RGB", (left + columns * (side + 4), sum(heights)), "white")
    draw, top = ImageDraw.Draw(canvas), 2
    for (found, name, lanes), height in zip(rows, heights, strict=True):
        draw.multiline_text((4, top + side // 2), name, "black", font, anchor="lm")
        places = torch.stack([lane[min(i, len(lane) - 1)] for lane in lanes])
        for j, (picture, text) in enumerate(zip(found.pixels[places], _captions(found, places), strict=True)):
            middle = left + j * (side + 4) + side // 2
            thumbnail = _thumbnail(picture, side)
            canvas.paste(thumbnail, (middle - thumbnail.width // 2, top))
            draw.multiline_text((middle, top + side + 1), text, "black", font, anchor="ma", align="center")
        top += height
    return canvas


def _thumbnail(picture: Tensor, side: int) -> Image.Image:
    image = Image.fromarray(np.round(255 * displayable(picture)).astype(np.uint8))
    longer = max(image.size)
    if longer > side:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        return image
    return image.resize((side // longer * image.width, side // longer * image.height), Image.Resampling.NEAREST)


def _palette(frames: Sequence[Image.Image]) -> Image.Image:
    """One for all frames, lest still parts flicker: cluster means of pixels spread over places and time."""
    some = [frames[i].resize((64, 32), Image.Resampling.NEAREST) for i in _evenly(len(frames), 8).tolist()]
    pixels = np.concatenate([np.asarray(frame) for frame in some])
    palette = Image.fromarray(pixels).quantize(255, Image.Quantize.MEDIANCUT, kmeans=1)
    colors = np.array([255, 255, 255, *(palette.getpalette() or [])[: 3 * 255]]).reshape(-1, 3)
    colors[(colors > 247).all(1)] = 255  # paper stays white: Pillow looks colours up by their first six bits
    palette.putpalette(colors.flatten().tolist())
    return palette
