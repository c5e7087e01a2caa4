"""Test loss and area over training, and where each would have stopped (thesis, figure 3.10).

    python -m benchmarks.memorization.early_stopping_runs --preset cpu|gpu|paper

As in the thesis the smoothing is centred and looks at the finished run; ``benchmarks.early_stopping`` judges rules that
only see the past. Checks come once per epoch, twice in the thesis. The relative AuC is this project's own.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from benchmarks._trajectories import Setting, train, trajectory
from benchmarks.memorization._networks import measure_images, sample, stack
from benchmarks.memorization._study import Size, Study, arguments, publish
from lightning_interp.plots.style import COLORS, axes_grid, finish

PRESETS = {
    "cpu": Size(16, None, 4000, 4000, epochs=16, lr=1e-3, noise=(0.0, 0.4), seeds=(100, 101), steps=4, max_iter=12),
    "gpu": Size(64, None, 20000, 10000, epochs=20, noise=(0.0,), seeds=(0, 1, 2, 3), steps=4, max_iter=12),
    "paper": Size(64, None, 50000, 10000, epochs=20, noise=(0.0,), steps=8),
}
RADIUS = 2  # epochs
SIGNALS = ("NMF AuC", "RA AuC", "relative NMF AuC")
STYLES = {  # colour, marker
    "test loss": (COLORS[0], "o"),
    "NMF AuC": (COLORS[2], "s"),
    "RA AuC": (COLORS[5], "D"),
    "relative NMF AuC": (COLORS[3], "^"),
}


def curves(study: Study, seed: int, noise: float) -> pd.DataFrame:
    """One run: loss and accuracies after every epoch, and the areas of its training images."""
    size = study.size
    common = {"width": size.width, "train_size": size.train_size, "test_size": size.test_size, "lr": size.lr}
    setting = Setting(seed=seed, noise=noise, epochs=size.epochs, **common)
    train(setting, study.root, study.cache)
    dataset = setting.data(study.root).train_dataset
    images, labels = stack(dataset, study.device, sample(dataset, size.per_class, seed=seed))
    rows = []
    for scores, net in trajectory(setting, study.cache):
        nmf, ra = (
            measure_images(study, net.to(study.device), images, labels, method=m) for m in ("nmf", "random_ablation")
        )
        areas = dict(zip(SIGNALS, (nmf.auc, ra.auc, nmf.relative_auc), strict=True))
        known = {name.replace("_", " "): scores[name] for name in ("test_loss", "test_accuracy", "train_accuracy")}
        rows.append({"p": noise, "seed": seed, "epoch": scores["epoch"], **known, **areas})
        print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def smooth(values: Sequence[float], radius: int = RADIUS) -> list[float]:
    """Mean of each value and up to ``radius`` neighbours on both sides."""
    spans = (values[max(0, i - radius) : i + radius + 1] for i in range(len(values)))
    return [sum(span) / len(span) for span in spans]


def first_maximum(values: Sequence[float]) -> int:
    """Position of the first local maximum; the last position when the values never fall."""
    return next((i for i in range(len(values) - 1) if values[i + 1] < values[i]), len(values) - 1)


def stops(run: pd.DataFrame) -> list[dict[str, Any]]:
    """Where the test loss is smallest, where each signal would have stopped, and the end."""
    chosen = {"smallest test loss": int(run["test loss"].argmin())}
    chosen |= {f"first maximum of the {name}": first_maximum(smooth(run[name].tolist())) for name in SIGNALS}
    chosen["last epoch"] = len(run) - 1
    columns = ["p", "seed", "epoch", "test loss", "test accuracy"]
    rows = [{"rule": rule, **run.iloc[i][columns].to_dict()} for rule, i in chosen.items()]
    return [{**row, "regret": float(run["test accuracy"].max()) - row["test accuracy"]} for row in rows]


def draw(runs: list[pd.DataFrame], found: list[dict[str, Any]]) -> Figure:
    """Two runs, and for all runs the stopping points against the smallest test loss."""
    figure, axes = axes_grid(1, 3, width=4.8, height=3.8)
    for axis, run in zip(axes[:2], runs, strict=False):
        handles = _run(axis, run)
    for axis in axes[len(runs) : 2]:
        axis.set_visible(False)
    best = {(row["p"], row["seed"]): row["epoch"] for row in found if row["rule"] == "smallest test loss"}
    for i, name in enumerate(SIGNALS):
        own = [row for row in found if row["rule"].endswith(f"of the {name}")]
        color, marker = STYLES[name]
        x = [best[row["p"], row["seed"]] + 0.25 * (i - 1) for row in own]  # beside each other, not on top
        axes[2].scatter(x, [row["epoch"] for row in own], color=color, marker=marker)
    axes[2].plot([0, len(runs[0])], [0, len(runs[0])], color="grey", linestyle="--", linewidth=1)
    finish(axes[2], title=f"all {len(runs)} runs", x="epoch of the smallest test loss", y="epoch of the first maximum")
    figure.legend(handles=handles, loc="outside lower center", ncols=len(STYLES), frameon=False)
    return figure


def _run(axis: Axes, run: pd.DataFrame) -> list[Line2D]:
    """Test loss on the left scale, smoothed areas on the right one, dashed lines where each would stop."""
    right, drawn = axis.twinx(), []
    for name, (color, marker) in STYLES.items():
        values = run[name].tolist() if name == "test loss" else smooth(run[name].tolist())
        where = int(run[name].argmin()) if name == "test loss" else first_maximum(values)
        target = axis if name == "test loss" else right
        drawn += target.plot(run["epoch"], values, color=color, marker=marker, markersize=4, label=name)
        axis.axvline(run["epoch"].iloc[where], color=color, linestyle="--", linewidth=1.2)
    finish(axis, title=f"p = {run['p'].iloc[0]:g}, seed {run['seed'].iloc[0]}", x="epoch (dashed: stop)", y="test loss")
    right.set_ylabel(f"AuC, smoothed over ±{RADIUS} epochs")
    right.spines["top"].set_visible(False)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return drawn


def main(argv: Sequence[str] | None = None) -> None:
    study = arguments(__doc__, argv, data=("cifar10",), presets=PRESETS, cache="data_cache/trajectories")
    size = study.size
    runs = [curves(study, seed, noise) for noise in size.noise for seed in size.seeds]
    found = [row for run in runs for row in stops(run)]
    notes = (
        f"{size.train_size} training and {size.test_size} test images, network of table 3.1 at width {size.width},"
        f" AdamW {size.lr:g} with decay 5e-4, batches of 100, {size.epochs} epochs, one run per seed; a check per epoch"
        f" on {size.per_class} training images per class, last block. Regret: best test accuracy minus this one."
    )
    publish(study, "early_stopping_runs_curves", pd.concat(runs).to_dict("records"), notes=notes)
    publish(study, "early_stopping_runs", found, draw(runs, found), notes=notes)


if __name__ == "__main__":
    main()
