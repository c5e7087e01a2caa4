"""Area of training images against test error over a grid of hyper-parameters (thesis, figure 3.9).

    python -m benchmarks.memorization.hyperparameters --preset cpu|gpu|paper

Networks over a grid of batch sizes, weight decays and optimisers, on true labels; Pearson's correlation of the test
error with each area, with an interval from 2000 bootstrap draws of networks. Thesis, 96 networks: NMF -0.82, PCA -0.64,
random ablation -0.61. The full-rank accuracy of the same training images is the trivial predictor.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.memorization._networks import Case, measure, trained
from benchmarks.memorization._study import Study, arguments, publish, without_nan
from lightning_interp.plots.style import COLORS, axes_grid, finish

METHODS = {"nmf": "NMF", "pca": "PCA", "random_ablation": "RA"}
GRIDS: dict[str, dict[str, tuple[Any, ...]]] = {
    "cpu": {"batch_size": (25, 100), "weight_decay": (0.0, 1e-3), "optimizer": ("adam", "sgd")},
    "gpu": {"batch_size": (50, 200), "weight_decay": (0.0, 1e-4, 1e-3), "optimizer": ("adam", "sgd")},
    "paper": {
        "batch_size": (25, 50, 100, 200),
        "weight_decay": (0.0, 1e-5, 1e-4, 1e-3),
        "optimizer": ("adam", "sgd"),
    },
}
PREDICTORS = [f"{name} {kind}" for kind in ("AuC", "relative AuC") for name in METHODS.values()]


def networks(study: Study) -> Iterator[Case]:
    """One network per cell of the grid and seed; three seeds at most, 96 networks in the paper preset."""
    grid = GRIDS[study.preset]
    for seed, *values in product(study.size.seeds[:3], *grid.values()):
        yield trained(study, seed=seed, **dict(zip(grid, values, strict=True)))


def row(study: Study, case: Case) -> dict[str, Any]:
    """What one network was trained with, its areas and its errors."""
    curves = {name: measure(study, case, method=method) for method, name in METHODS.items()}
    chosen = case.setting
    return {
        "batch size": chosen.batch_size,
        "weight decay": chosen.weight_decay,
        "optimizer": chosen.optimizer,
        "seed": chosen.seed,
        "epochs": case.scores["epochs"],
        "train accuracy": case.scores["train accuracy"],
        "test error": 1 - case.scores["test accuracy"],
        "full-rank accuracy": curves["NMF"].full_accuracy,
        **{f"{name} AuC": curve.auc for name, curve in curves.items()},
        **{f"{name} relative AuC": curve.relative_auc for name, curve in curves.items()},
    }


def correlations(found: list[dict[str, Any]], *, networks: str) -> list[dict[str, Any]]:
    """Pearson's correlation of every predictor with the test error; empty where the predictor does not vary."""
    error = np.array([line["test error"] for line in found])
    lines = []
    for name in [*PREDICTORS, "full-rank accuracy"]:
        values = np.array([line[name] for line in found])
        low, high = interval(values, error)
        r = {"Pearson r": float(pearson(values, error)), "95 % from": low, "95 % to": high}
        lines.append({"predictor": name, "networks": networks, "n": len(found), **r})
    return without_nan(lines)


def pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's correlation along the last axis; NaN where one side does not vary."""
    varies = (np.ptp(x, axis=-1) > 0) & (np.ptp(y, axis=-1) > 0)
    x, y = (z - z.mean(-1, keepdims=True) for z in (x, y))
    norm = np.sqrt((x**2).sum(-1) * (y**2).sum(-1))
    return np.where(varies, (x * y).sum(-1) / np.where(varies, norm, 1), np.nan)


def interval(x: np.ndarray, y: np.ndarray, *, draws: int = 2000, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap over networks; draws in which one side does not vary are left out."""
    rows = np.random.default_rng(seed).integers(len(x), size=(draws, len(x)))
    found = pearson(x[rows], y[rows])
    known = found[~np.isnan(found)]
    low, high = np.percentile(known, [2.5, 97.5]) if len(known) else (np.nan, np.nan)
    return float(low), float(high)


def draw(found: list[dict[str, Any]], table: list[dict[str, Any]]) -> Figure:
    """Area against test error, one panel per method, optimisers apart."""
    figure, axes = axes_grid(1, 3, width=4.2)
    for axis, name in zip(axes, METHODS.values(), strict=True):
        for optimizer, marker, color in (("adam", "o", COLORS[0]), ("sgd", "s", COLORS[1])):
            own = [line for line in found if line["optimizer"] == optimizer]
            errors, areas = ([line[key] for line in own] for key in ("test error", f"{name} AuC"))
            axis.scatter(errors, areas, marker=marker, color=color, label=optimizer.upper())
        r = next(line.get("Pearson r", float("nan")) for line in table if line["predictor"] == f"{name} AuC")
        finish(axis, title=f"single-class {name}: r = {r:.2f}", x="test error", y="AuC")
    axes[0].legend(fontsize=8)
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    study = arguments(__doc__, argv)
    found = [row(study, case) for case in networks(study)]
    fitted = [line for line in found if line["train accuracy"] >= 0.99]
    table = correlations(found, networks="all")
    if len(fitted) > 2:
        table += correlations(fitted, networks="train accuracy >= 0.99")
    notes = (
        "The intervals draw networks as if they were independent; those of one seed share images and start. A"
        f" predictor that does not vary has no correlation. {study.size.text}"
    )
    publish(study, "hyperparameters_networks", found, notes=notes)
    publish(study, "hyperparameters", table, draw(found, table), notes=notes)


if __name__ == "__main__":
    main()
