"""Rankings as pictures: a query, what was found for it, and what they have in common."""

from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from torch import Tensor

from lightning_interp._checks import check_int, message
from lightning_interp.functional.localization import Heatmaps
from lightning_interp.plots.heatmap import overlay
from lightning_interp.plots.image_strip import displayable
from lightning_interp.plots.style import COLORS, axes_grid

__all__ = ["plot_ranking", "plot_ranking_factors"]

_WIDTH, _HEIGHT = 1.5, 1.2  # inches that a picture has at most
_GAP, _CAPTION = 0.14, 0.4  # inches
_LETTERS = 22  # that fit under a picture
_MISSING = torch.full((3, 2, 3), 0.85)
_QUERY, _BOX, _GREY = COLORS[5], COLORS[4], "#6E6E6E"
# Frames are told apart by the mark in the caption too, and green and red also by how dark they are.
_MARKS = {True: ("✓", COLORS[2], "relevant"), False: ("✗", "#B2182B", "not relevant"), None: ("?", _GREY, "not judged")}


def plot_ranking(
    query: Tensor,
    results: Sequence[Tensor | None],
    *,
    relevant: Sequence[bool | None] | None = None,
    scores: Tensor | Sequence[float] | None = None,
    titles: Sequence[str] | None = None,
    query_title: str = "",
    query_box: Tensor | Sequence[float] | None = None,
    boxes: Tensor | Sequence[Sequence[float]] | None = None,
    n_columns: int = 5,
) -> Figure:
    """A query in an orange frame, and the pictures found for it, best first, in green, red or grey ones.

    Args:
        query: ``(3, H, W)`` in [0, 1], of any size.
        results: Likewise, each of its own size; None for one that is not there, which is left grey.
        relevant: Which of them are right; None for junk and what nobody has judged. Frames are grey without it.
        scores: Of the results, ``(N,)``, for the captions.
        titles: Of the results; long ones, such as paths of files, lose their middle.
        query_title: Of the query.
        query_box: What is meant in the query: left, top, right and bottom in its pixels.
        boxes: Of the results, each in pixels of its picture, ``(N, 4)``; -1 for none.
        n_columns: Results in a row.

    Returns:
        The figure.

    Raises:
        ValueError: There is no result, one is no picture, or something else is not there once for each.

    Example:
        >>> figure = plot_ranking(torch.rand(3, 8, 9), [torch.rand(3, 6, 5), None], relevant=[True, False])
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['1  ✓', 'missing', '2  ✗', 'query']

    Reference:
        Thesis, figures 5.9 and 5.10.
    """
    owner = "plot_ranking"
    check_int(n_columns, "n_columns", owner)
    _check(owner, [query, *results], relevant=relevant, scores=scores, titles=titles, boxes=boxes)
    captions = _captions(relevant, scores, titles, len(results))
    rows = [list(range(i, min(i + n_columns, len(results)))) for i in range(0, len(results), n_columns)]
    heights = [_height([results[i] for i in row] + ([query] if not row[0] else [])) for row in rows]
    legend = _legend(relevant, boxed=boxes is not None)
    figure, axis = _canvas(1 + len(rows[0]), heights, legend, n_captions=len(rows))
    bottom = 0.0
    for row, height in zip(rows, heights, strict=True):
        bottom -= height
        for column, i in enumerate(row, 1):
            place, color = _place(bottom, column), _color(relevant, i)
            _draw(axis, results[i], place, frame=color, box=None if boxes is None else boxes[i])
            _caption(axis, captions[i], place, color=color if relevant is not None else "black")
        bottom -= _CAPTION + _GAP
    query_place = _place(-heights[0], 0)
    _draw(axis, query, query_place, frame=_QUERY, box=query_box, box_color=_QUERY)
    _caption(axis, _under("query", query_title), query_place)
    return figure


def plot_ranking_factors(
    query: Tensor,
    results: Sequence[Tensor | None],
    heatmaps: Heatmaps,
    *,
    relevant: Sequence[bool | None] | None = None,
    scores: Tensor | Sequence[float] | None = None,
    titles: Sequence[str] | None = None,
    query_title: str = "",
    names: Sequence[str] | None = None,
    n_results: int = 6,
) -> Figure:
    """What query and results have in common: a row for each factor, in its colour, below the pictures.

    Args:
        query: As in :func:`plot_ranking`, as is all that is not named here.
        results: See there.
        heatmaps: Factors of the query and, in their order, of the results that are there, found together.
        relevant: See there.
        scores: See there.
        titles: See there.
        query_title: See there.
        names: Of the factors; their numbers by default.
        n_results: Results to show, from the best on.

    Returns:
        The figure.

    Raises:
        ValueError: As for :func:`plot_ranking`, or the heatmaps are of fewer pictures, or signed.

    Example:
        >>> from torch import nn
        >>> from lightning_interp.functional.localization import nmf_heatmaps
        >>> net, images = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()), torch.rand(4, 3, 8, 8)
        >>> figure = plot_ranking_factors(images[0], images[1:], nmf_heatmaps(net, images, k=2))
        >>> len(figure.axes[0].images), figure.axes[0].texts[-1].get_text()
        (12, 'factor 1')

    Reference:
        Thesis, figure 5.9, with factors that are found together rather than matched.
    """
    owner = "plot_ranking_factors"
    check_int(n_results, "n_results", owner)
    pictures = [query, *results]
    _check(owner, pictures, relevant=relevant, scores=scores, titles=titles)
    labels = _factor_names(heatmaps, names, sum(picture is not None for picture in pictures))
    shown = pictures[: 1 + n_results]
    captions = [_under("query", query_title), *_captions(relevant, scores, titles, len(results))]
    height = _height(shown)
    legend = _legend(relevant, boxed=False)
    figure, axis = _canvas(len(shown), [height] * (1 + heatmaps.k), legend, n_captions=1)
    there = iter(range(len(heatmaps.cells)))
    for i, picture in enumerate(shown):
        color, place = _color(relevant, i - 1) if i else _QUERY, _place(-height, i)
        _draw(axis, picture, place, frame=color)
        _caption(axis, captions[i], place, color=color if i and relevant is not None else "black")
        if picture is None:
            continue
        maps = heatmaps.maps_of(next(there), size=(picture.shape[1], picture.shape[2]))
        for j, number in enumerate(heatmaps.colors):
            _draw(axis, overlay(picture, maps[j : j + 1], [number]), _place(_factor_row(height, j), i))
    for j, label in enumerate(labels):
        middle = _factor_row(height, j) + height / 2
        axis.text(-0.05, middle, label, rotation=90, ha="right", va="center", fontsize=8)
    return figure


def _check(owner: str, pictures: Sequence[Tensor | None], **others: Any) -> None:
    n = len(pictures) - 1
    if not n:
        raise ValueError(message("results", owner, "at least one picture", "none"))
    for i, picture in enumerate(pictures):
        if picture is not None and (picture.ndim != 3 or not picture.numel()):
            raise ValueError(message("results" if i else "query", owner, "pictures (3, H, W)", picture))
    for name, values in others.items():
        if values is not None and len(values) != n:
            raise ValueError(message(name, owner, f"one for each of {n} results", values))


def _factor_names(heatmaps: Heatmaps, names: Sequence[str] | None, n_pictures: int) -> list[str]:
    owner = "plot_ranking_factors"
    if len(heatmaps.cells) != n_pictures or heatmaps.method != "nmf":
        must = f"NMF heatmaps of the query and the results that are there, {n_pictures}"
        raise ValueError(message("heatmaps", owner, must, f"{heatmaps.method} of {len(heatmaps.cells)}"))
    labels = list(names) if names is not None else [f"factor {j}" for j in range(heatmaps.k)]
    if len(labels) != heatmaps.k:
        raise ValueError(message("names", owner, f"a name for each of {heatmaps.k} factors", names))
    return labels


def _canvas(columns: int, heights: Sequence[float], legend: list[Patch], *, n_captions: int) -> tuple[Figure, Axes]:
    """One axis in inches, downwards from 0."""
    width, height = columns * (_WIDTH + _GAP) - _GAP, sum(heights) + len(heights) * _GAP + n_captions * _CAPTION
    figure, (axis,) = axes_grid(width=width + 0.4, height=height + (0.4 if legend else 0.15))
    if legend:
        figure.legend(handles=legend, loc="outside lower center", ncols=len(legend), fontsize=8, frameon=False)
    axis.set_axis_off()
    axis.set(xlim=(-0.05, width + 0.05), ylim=(-height, 0.05), aspect="equal")
    return figure, axis


def _size(picture: Tensor | None) -> tuple[float, float]:
    """Width and height in inches."""
    height, width = _MISSING.shape[1:] if picture is None else picture.shape[1:]
    scale = min(_WIDTH / width, _HEIGHT / height)
    return scale * width, scale * height


def _height(pictures: Sequence[Tensor | None]) -> float:
    return max(_size(picture)[1] for picture in pictures)


def _draw(
    axis: Axes,
    picture: Tensor | None,
    place: tuple[float, float],
    *,
    frame: str | None = None,
    box: Tensor | Sequence[float] | None = None,
    box_color: str = _BOX,
) -> None:
    """A picture that stands on ``place``, the middle of its lower edge."""
    (x, y), (width, height) = place, _size(picture)
    left, top = x - width / 2, y + height
    pixels = displayable(_MISSING if picture is None else picture)
    axis.imshow(pixels, extent=(left, left + width, y, top), interpolation="antialiased")
    if picture is None:
        axis.text(x, y + height / 2, "missing", ha="center", va="center", fontsize=8, color="#444444")
    if frame is not None:
        axis.add_patch(Rectangle((left, y), width, height, fill=False, edgecolor=frame, linewidth=3.5))
    x0, y0, x1, y1 = (height / pixels.shape[0] * float(edge) for edge in (box if box is not None else (-1,) * 4))
    if x1 > x0:
        for color, line in (("black", 3.2), (box_color, 1.6)):  # a dark seam, so that it is seen on any picture
            axis.add_patch(
                Rectangle((left + x0, top - y1), x1 - x0, y1 - y0, fill=False, edgecolor=color, linewidth=line)
            )


def _place(bottom: float, column: int) -> tuple[float, float]:
    return column * (_WIDTH + _GAP) + _WIDTH / 2, bottom


def _factor_row(height: float, number: int) -> float:
    """Its lower edge, below the row of pictures."""
    return -(height + _CAPTION + _GAP) - number * (height + _GAP) - height


def _captions(
    relevant: Sequence[bool | None] | None,
    scores: Tensor | Sequence[float] | None,
    titles: Sequence[str] | None,
    n: int,
) -> list[str]:
    found = []
    for i in range(n):
        mark = [] if relevant is None else [_mark(relevant, i)[0]]
        score = [] if scores is None else [f"{float(scores[i]):.3f}"]
        found.append(_under("  ".join([str(i + 1), *mark, *score]), "" if titles is None else titles[i]))
    return found


def _under(line: str, title: str) -> str:
    """A second line, the title, where there is one; its end tells files apart, its begin folders."""
    if len(title) > _LETTERS:
        title = f"{title[: _LETTERS // 3]}…{title[-(_LETTERS - _LETTERS // 3 - 1) :]}"
    return f"{line}\n{title}" if title else line


def _caption(axis: Axes, text: str, place: tuple[float, float], *, color: str = "black") -> None:
    # A file may be called "$5 and $6.jpg".
    style: dict[str, Any] = {"ha": "center", "va": "top", "fontsize": 8, "linespacing": 1.3, "parse_math": False}
    axis.text(place[0], place[1] - 0.07, text, color=color, **style)


def _mark(relevant: Sequence[bool | None], i: int) -> tuple[str, str, str]:
    judged = relevant[i]
    return _MARKS[None if judged is None else bool(judged)]


def _color(relevant: Sequence[bool | None] | None, i: int) -> str:
    return _GREY if relevant is None else _mark(relevant, i)[1]


def _legend(relevant: Sequence[bool | None] | None, *, boxed: bool) -> list[Patch]:
    """What frames and boxes mean that are there."""
    used = {_mark(relevant, i) for i in range(len(relevant))} if relevant is not None else set()
    found = [(color, f"{mark} {label}") for mark, color, label in _MARKS.values() if (mark, color, label) in used]
    found += [(_BOX, "found box")] if boxed else []
    return [Patch(facecolor="none", edgecolor=color, linewidth=2, label=label) for color, label in found]
