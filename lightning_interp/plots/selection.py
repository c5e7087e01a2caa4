"""Figures of image scores and of what choosing by them does to a training."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from lightning_interp._checks import check_int, message
from lightning_interp.plots.style import COLORS, axes_grid, finish

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["plot_ranking_precision", "plot_score_histogram", "plot_score_intervals", "plot_selection_history"]

_COLUMNS = 4
_TAIL = 0.01  # share of the lowest scores that may not stretch an axis


def plot_score_intervals(
    scores: Tensor | Mapping[str, Tensor],
    correct: Tensor | Mapping[str, Tensor],
    *,
    cuts: Sequence[float] | None = None,
    n_intervals: int = 10,
) -> Figure:
    """Accuracy, and share of the images, in each interval of the score; several groups as bars side by side.

    Args:
        scores: ``(n,)`` of one group of images, or of several by name (``"train"``, ``"test"``); NaN is left out.
        correct: Whether each image is labelled correctly, ``(n,)``, by the same names.
        cuts: Where intervals meet, increasing: one less than there are intervals, the outer ones being open. By
            default round numbers from the lowest hundredth of the scores to their maximum.
        n_intervals: About how many intervals the default makes.

    Returns:
        The figure.

    Raises:
        ValueError: If a group has no images, groups or lengths differ, or ``cuts`` do not increase.

    Example:
        >>> scores, correct = torch.linspace(-4, 0, 100), torch.arange(100) > 30
        >>> left, right = plot_score_intervals(scores, correct, cuts=[-2]).axes
        >>> [f"{bar.get_height():.2f}" for bar in left.patches]
        ['0.38', '1.00']

    Reference:
        Image score, figures 2-4.
    """
    groups = _groups(scores, correct, "plot_score_intervals")
    check_int(n_intervals, "n_intervals", "plot_score_intervals", low=2)
    if cuts is not None and (not cuts or list(cuts) != sorted(set(cuts))):
        raise ValueError(message("cuts", "plot_score_intervals", "increasing numbers, at least one", cuts))
    meets = list(cuts) if cuts is not None else _round_cuts(torch.cat([s for s, _ in groups.values()]), n_intervals)
    figure, (left, right) = axes_grid(columns=2)
    width = 0.8 / len(groups)
    for g, (name, (score, right_ones)) in enumerate(groups.items()):
        interval = torch.bucketize(score, torch.tensor(meets, dtype=score.dtype))
        total = torch.bincount(interval, minlength=len(meets) + 1)
        hits = torch.bincount(interval, weights=right_ones.double(), minlength=len(meets) + 1)
        x = np.arange(len(meets) + 1) + (g - (len(groups) - 1) / 2) * width
        left.bar(x, (hits / total).numpy(), width, color=COLORS[g % len(COLORS)], label=name)
        right.bar(x, (total / total.sum()).numpy(), width, color=COLORS[g % len(COLORS)], label=name)
        for position in x[(total == 0).numpy()]:  # no bar would read as an accuracy of 0
            left.text(position, 0.01, "none", rotation=90, ha="center", va="bottom", fontsize=7, color="grey")
    left.set_ylim(0, 1.02)
    for axis, title, y in ((left, "Accuracy by score", "accuracy"), (right, "Images by score", "share of images")):
        axis.set_xlim(-0.6, len(meets) + 0.6)
        axis.set_xticks(range(len(meets) + 1), _interval_names(meets), rotation=35, ha="right", fontsize=8)
        finish(axis, title=title, x="score", y=y)
    if len(groups) > 1:
        _legend_below(figure, left)
    return figure


def plot_score_histogram(scores: Tensor, correct: Tensor | None = None, *, bins: int = 40) -> Figure:
    """How many images have which score; where the truth is known, those labelled correctly below the others.

    Args:
        scores: ``(n,)``; NaN is left out. The lowest hundredth is counted in the first bar: it would stretch the axis.
        correct: Whether each image is labelled correctly, ``(n,)``.
        bins: Number of bars.

    Returns:
        The figure.

    Raises:
        ValueError: If there are no images, or lengths differ.

    Example:
        >>> plot_score_histogram(torch.randn(100), torch.arange(100) < 70).axes[0].get_title()
        'Scores, n = 100, 70 % labelled correctly'
    """
    check_int(bins, "bins", "plot_score_histogram")
    known = torch.ones(len(scores)) if correct is None else correct
    score, right = _groups(scores, known, "plot_score_histogram")[""]
    low = float(score.quantile(_TAIL))
    clipped = score.clamp(min=low).numpy()
    parts = [(clipped, "all")] if correct is None else [(clipped[right], "correct"), (clipped[~right], "wrong")]
    figure, (axis,) = axes_grid(width=6.0)
    edges = np.histogram_bin_edges(clipped, bins).tolist()
    values, names = zip(*parts, strict=True)
    axis.hist(values, edges, stacked=True, color=COLORS[: len(parts)], label=names)
    share = "" if correct is None else f", {100 * float(right.float().mean()):.0f} % labelled correctly"
    tail = f"score ({int((score < low).sum())} lower ones in the first bar)" if (score < low).any() else "score"
    finish(axis, title=f"Scores, n = {len(score)}{share}", x=tail, y="images")
    if correct is not None:
        axis.legend(fontsize=8)
    return figure


def plot_selection_history(history: "pd.DataFrame", *, retraining: float | None = None) -> Figure:
    """Accuracy over the epochs for several kinds of training: one panel per column, one line per kind.

    Args:
        history: Columns ``epoch``, ``training`` (its kind: baseline, softmax, image score), and one per accuracy to
            show: of all images, of single classes.
        retraining: Epoch from which pseudo-labelled images take part. Panels then show the range of accuracies from
            half-way to it on: the first epochs would hide the differences.

    Returns:
        The figure.

    Raises:
        ValueError: If ``history`` lacks ``epoch`` or ``training``, or has no other column.

    Example:
        >>> import pandas as pd
        >>> rows = {"epoch": [1, 2, 1, 2], "training": ["a", "a", "b", "b"], "accuracy": [0.4, 0.5, 0.4, 0.6]}
        >>> len(plot_selection_history(pd.DataFrame(rows), retraining=1).axes[0].lines)
        3

    Reference:
        Image score, figure 5.
    """
    names = [name for name in history if name not in ("epoch", "training")]
    if len(names) != history.shape[1] - 2 or not names:
        must = "a table with the columns epoch, training and at least one accuracy"
        raise ValueError(message("history", "plot_selection_history", must, list(history)))
    columns = min(_COLUMNS, len(names))
    single = len(names) == 1
    figure, axes = axes_grid(
        -(-len(names) // columns), columns, width=6.0 if single else 3.4, height=3.8 if single else 2.5
    )
    for axis, name in zip(axes, names, strict=False):
        _kinds(axis, history, name)
        if retraining is not None:
            axis.axvline(retraining, color="black", linestyle=":", label="retraining starts")
            late = history.loc[history["epoch"] >= retraining / 2, name].dropna()
            if len(late):  # a class without test images has no accuracy
                axis.set_ylim(late.min() - 0.01, late.max() + 0.01)
        axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        finish(axis, title=str(name), x="epoch", y="accuracy" if axis is axes[0] else "")
    for axis in axes[len(names) :]:
        figure.delaxes(axis)
    _legend_below(figure, axes[0])
    return figure


def plot_ranking_precision(table: "pd.DataFrame") -> Figure:
    """Share of correct labels among the images kept, against the share kept: one line per ranking.

    Args:
        table: Columns ``ranking``, ``share`` and ``precision``. Where a ranking has several rows for a share (seeds),
            the line is their mean and a bar goes from the lowest to the highest.

    Returns:
        The figure.

    Raises:
        ValueError: If a column is missing.

    Example:
        >>> import pandas as pd
        >>> rows = {"ranking": ["softmax"] * 2, "share": [0.1, 0.5], "precision": [0.9, 0.8]}
        >>> plot_ranking_precision(pd.DataFrame(rows)).axes[0].get_xlabel()
        'share of the images kept, best scored first'
    """
    if missing := {"ranking", "share", "precision"} - set(table):
        must = "a table with the columns ranking, share and precision"
        raise ValueError(message("table", "plot_ranking_precision", must, f"one without {', '.join(sorted(missing))}"))
    figure, (axis,) = axes_grid(width=7.0, height=3.8)
    for i, (name, rows) in enumerate(table.groupby("ranking", sort=False)):
        per_share = rows.groupby("share")["precision"].agg(["mean", "min", "max"])
        spread = [per_share["mean"] - per_share["min"], per_share["max"] - per_share["mean"]]
        axis.errorbar(
            per_share.index,
            per_share["mean"],
            spread,
            color=COLORS[i % len(COLORS)],
            marker="osdv^P*"[i % 7],
            markersize=4,
            capsize=2,
            label=str(name).replace("_", " "),
        )
    shares = sorted(table["share"].unique())
    axis.set_xticks(shares, [f"{100 * share:.3g} %" for share in shares])
    finish(axis, title="Precision of the chosen labels", x="share of the images kept, best scored first", y="precision")
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, frameon=False)
    return figure


def _groups(
    scores: Tensor | Mapping[str, Tensor], correct: Tensor | Mapping[str, Tensor], owner: str
) -> dict[str, tuple[Tensor, Tensor]]:
    """Scores and correctness by group, without images that have no score; one nameless group when tensors came."""
    named = scores if isinstance(scores, Mapping) else {"": scores}
    right = correct if isinstance(correct, Mapping) else {"": correct}
    if not named or set(named) != set(right):
        raise ValueError(message("correct", owner, f"by the same names as the scores, {list(named)}", list(right)))
    groups = {}
    for name, score in named.items():
        if right[name].shape != score.shape:
            raise ValueError(message("correct", owner, f"of shape {tuple(score.shape)}, like the scores", right[name]))
        known = score.isfinite()
        if score.ndim != 1 or not known.any():
            raise ValueError(message("scores", owner, "of shape (n,), with at least one that is not NaN", score))
        groups[name] = (score[known].detach().cpu().float(), right[name][known].cpu().bool())
    return groups


def _round_cuts(scores: Tensor, n_intervals: int) -> list[float]:
    low, high = float(scores.quantile(_TAIL)), float(scores.max())
    ticks = MaxNLocator(n_intervals, steps=[1, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10]).tick_values(low, high)
    return [float(tick) + 0.0 for tick in ticks if low < tick < high] or [low]  # + 0.0 makes -0.0 a plain 0


def _interval_names(cuts: Sequence[float]) -> list[str]:
    inner = [f"({a:.4g}, {b:.4g}]" for a, b in pairwise(cuts)]
    return [f"≤ {cuts[0]:.4g}", *inner, f"> {cuts[-1]:.4g}"]


def _kinds(axis: Axes, history: "pd.DataFrame", column: str) -> None:
    for i, (kind, rows) in enumerate(history.groupby("training", sort=False)):
        axis.plot(
            rows["epoch"],
            rows[column],
            ".-",
            markersize=3,
            color=COLORS[i % len(COLORS)],
            linewidth=1.3,
            label=str(kind),
        )


def _legend_below(figure: Figure, axis: Axes) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=8, frameon=False)
