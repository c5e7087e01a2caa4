"""What is told of a selection of pseudo-labels: numbers, figures, and the selection itself as a table."""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lightning_interp._lightning import Trainer
from lightning_interp.callbacks.logs import log_figure
from lightning_interp.callbacks.pool import PoolDataModule
from lightning_interp.functional.selection import ImageScores, selection_balance, selection_overlap
from lightning_interp.plots import plot_image_strip, plot_score_histogram, plot_score_intervals

__all__ = ["Selection", "log_pool_figures", "selection_values", "write_selection"]

_N_PICTURES = 8  # best, and as many worst


class Selection(NamedTuple):
    """Chosen images: positions in the pool, labels (numbers, or what a detector predicts), scores, and when."""

    indices: Tensor
    labels: Any
    scores: Tensor
    epoch: int


def selection_values(
    selection: Selection, pool: ImageScores, *, truth: Tensor | None, softmax_rows: Tensor | None
) -> dict[str, float]:
    """Size, balance and purity of a selection, as numbers to log.

    Args:
        selection: What was chosen.
        pool: Scores of the whole pool.
        truth: True labels of the pool, where known.
        softmax_rows: What the softmax would choose.
    """
    rows = selection.indices
    values = {"n_chosen": float(len(rows)), "n_skipped": float(pool.scores.isnan().sum())}
    if softmax_rows is not None:
        values["overlap_softmax"] = selection_overlap(rows, softmax_rows)
    if not isinstance(selection.labels, Tensor):
        return values
    counts = torch.bincount(selection.labels, minlength=pool.probabilities.shape[1])
    values |= {f"n_chosen/{c}": float(count) for c, count in enumerate(counts.tolist())}
    values["balance"] = float(selection_balance(counts))
    if truth is not None:
        values["purity"] = float((selection.labels == truth[rows]).float().mean())
        values["pool_accuracy"] = float((pool.labels == truth).float().mean())
    return values


def write_selection(path: Path, selection: Selection) -> None:
    """Add a selection to a CSV file; later rows, of an interrupted run that is done again, are replaced."""
    import pandas as pd  # here, because importing it takes a second

    labels = selection.labels
    given = labels.numpy() if isinstance(labels, Tensor) else [" ".join(map(str, _names(label))) for label in labels]
    columns = {"index": selection.indices.numpy(), "label": given, "score": selection.scores.numpy()}
    table = pd.DataFrame({**columns, "epoch": selection.epoch})
    if path.exists():
        earlier = pd.read_csv(path, dtype={"score": "float32"})  # or the same number gets other digits
        table = pd.concat([earlier[earlier["epoch"] < selection.epoch], table])
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False)


def _names(label: Any) -> list[int]:
    """Classes of the boxes of an image."""
    found: list[int] = label["labels"].tolist()
    return found


def log_pool_figures(
    trainer: Trainer, name: str, data: PoolDataModule, pool: ImageScores, truth: Tensor | None
) -> None:
    """Histogram of the scores, accuracy per score interval where the truth is known, best and worst images."""
    classified = pool.probabilities.shape[1] > 1
    right = pool.labels == truth if truth is not None and classified else None
    log_figure(trainer, f"{name}/histogram", lambda: plot_score_histogram(pool.scores, right))
    if right is not None:
        log_figure(trainer, f"{name}/intervals", lambda: plot_score_intervals(pool.scores, right))
    order = pool.scores.argsort(descending=True, stable=True)
    order = order[~pool.scores[order].isnan()]
    rows = torch.cat([order[:_N_PICTURES], order[_N_PICTURES:][-_N_PICTURES:]])
    classes = getattr(data, "classes", None) if classified else [""]
    log_figure(
        trainer,
        f"{name}/best_and_worst",
        lambda: plot_image_strip(
            [_picture(data, int(row)) for row in rows],
            pool.scores[rows],
            pool.labels[rows],
            truth=truth[rows] if right is not None and truth is not None else None,
            classes=classes or None,
            n_columns=_N_PICTURES,
        ),
    )


def _picture(data: PoolDataModule, row: int) -> Tensor:
    image: Tensor = data.unlabeled_dataset[row][0]
    normalize = getattr(data, "normalize", None)
    return image if normalize is None else normalize.invert(image).clamp(0, 1)
