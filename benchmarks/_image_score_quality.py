"""How well each ranking orders the same pseudo-labels of a pool."""

from typing import Any

import torch
from scipy import stats
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from benchmarks._image_score_runs import Data
from lightning_interp.functional.selection import (
    RANKINGS,
    ImageScores,
    class_predictions,
    class_statistics,
    image_scores,
    interval_accuracy,
    score_images,
    select_top,
    selection_balance,
    selection_overlap,
)

SHARES = (0.05, 0.1, 0.2, 0.3, 0.5)
SURE = 0.95  # the threshold of FixMatch: what is above it, softmax finds
READINGS: dict[str, dict[str, Any]] = {
    "count": {"overlap": False},
    "per_image": {"threshold": "per_image"},
    "l1": {"norm": "l1"},
    "l2": {"norm": "l2"},
    "spatial mean": {"spatial": "mean"},
    "spatial max": {"spatial": "max"},
}
ORACLE = "right ones first"


def rankings(net: nn.Module, data: Data, *, seed: int) -> tuple[ImageScores, dict[str, Tensor]]:
    """The pseudo-labels of the pool, and by name the numbers that each ranking and reading gives its images.

    Monte Carlo dropout scores the label of its mean probabilities, which may differ from the pseudo-label.
    """
    pool = class_predictions(net, data.pool.images)
    found = {}
    plain = class_statistics(net, data.labeled.images, labels=data.labeled.labels, n_classes=len(data.classes))
    for name in RANKINGS:
        statistics = plain if name == "image_score" else None
        found[name] = score_images(net, data.pool.images, name, statistics=statistics, seed=seed).scores
    found[ORACLE] = (pool.labels == data.pool.labels).float() + found["random"]
    for name, options in READINGS.items():
        found[f"image_score, {name}"] = reading(net, data, data.pool.images, **options).scores
    return pool, found


def reading(net: nn.Module, data: Data, images: Tensor, *, spatial: Any = "none", **options: Any) -> ImageScores:
    """Image scores under one reading, with statistics of the labelled images."""
    statistics = class_statistics(
        net, data.labeled.images, labels=data.labeled.labels, n_classes=len(data.classes), spatial=spatial
    )
    return image_scores(net, images, statistics, **options)


def quality(scores: Tensor, pool: ImageScores, truth: Tensor, *, share: float) -> dict[str, float]:
    """One row of the table; ``share`` is that of the columns about one choice."""
    labels, n_classes = pool.labels, pool.probabilities.shape[1]
    right, one = labels == truth, torch.zeros_like(labels)
    confidence = pool.probabilities.amax(1)
    unsure = confidence < SURE
    row = {f"precision {q:.0%}": _mean(right[select_top(scores, labels, q)]) for q in SHARES}
    row |= {f"global {q:.0%}": _mean(right[select_top(scores, one, q)]) for q in SHARES}
    counts = torch.bincount(labels[select_top(scores, one, share)], minlength=n_classes)
    chosen, rival = select_top(scores, labels, share), select_top(confidence, labels, share)
    alone = chosen[~torch.isin(chosen, rival)]
    hard = select_top(scores[unsure], labels[unsure], share)
    return row | {
        "global balance": float(selection_balance(counts)),
        "overlap with softmax": selection_overlap(chosen, rival),
        "precision outside overlap": _mean(right[alone]),
        f"precision of p < {SURE}": _mean(right[unsure][hard]),
        "AURC": _per_class(_aurc, scores, labels, right),
        "AUROC": _per_class(_auroc, scores, labels, right),
        f"AUROC of p < {SURE}": _per_class(_auroc, scores[unsure], labels[unsure], right[unsure]),
        "Spearman": _spearman(scores, right),
    }


def _per_class(statistic: Any, scores: Tensor, labels: Tensor, right: Tensor) -> float:
    """Mean of a statistic over the predicted classes where it is defined, weighted by their images."""
    parts = [(labels == c).nonzero().flatten() for c in labels.unique()]
    pairs = [(statistic(scores[rows], right[rows]), len(rows)) for rows in parts]
    known = [(value, n) for value, n in pairs if value == value]
    return sum(value * n for value, n in known) / sum(n for _, n in known) if known else float("nan")


def _aurc(scores: Tensor, right: Tensor) -> float:
    """Area under the risk-coverage curve: the mean error of the best-scored images, over all shares kept."""
    wrong = (~right[scores.argsort(descending=True, stable=True)]).double()
    return float((wrong.cumsum(0) / torch.arange(1, len(wrong) + 1)).mean())


def _auroc(scores: Tensor, right: Tensor) -> float:
    """Probability that a right label is scored above a wrong one; NaN where there is one kind only."""
    return float(roc_auc_score(right, scores)) if right.any() and not right.all() else float("nan")


def _spearman(scores: Tensor, right: Tensor) -> float:
    """Rank correlation of score and accuracy over ten bins of equally many images; NaN where accuracy is constant."""
    score, accuracy, _ = interval_accuracy(scores, right)
    varies = len(accuracy.unique()) > 1 and len(score.unique()) > 1
    return float(stats.spearmanr(score, accuracy).statistic) if varies else float("nan")


def _mean(right: Tensor) -> float:
    return float(right.float().mean())
