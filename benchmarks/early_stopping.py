"""Does it stop at the right time? Every validation-free rule on the same recorded runs, against hold-out and oracle.

    python -m benchmarks.early_stopping --preset cpu

Four stages, each picking up where an interrupted one ended:

- ``train``: every run to its last epoch, weights of every epoch kept; hold-out runs train on 90 % of the images.
- ``measure``: every signal on the same training images, at every epoch.
- ``freeze``: rules tuned on the calibration seeds alone, written to ``results/early_stopping_frozen.json``.
- ``test``: the frozen rules replayed on the test seeds; tables and figures.

The tested rules are those of the frozen file, so it can be committed before the test seeds are looked at.
"""

import argparse
import json
import os
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd
import torch

from benchmarks import _early_stopping_figures as figures
from benchmarks._replay import COMMON, OURS, Method, Run, by_callback, by_rule, fixed, held_out, read_runs, regret, tune
from benchmarks._results import RESULTS, write_results
from benchmarks._scores import affordable, correlations, friedman, holm, paired, summary
from benchmarks._signals import measure
from benchmarks._trajectories import Setting, train
from lightning_interp.callbacks import NMFEarlyStopping
from lightning_interp.functional.generalization import SIGNALS, Replay, Rule


@dataclass(frozen=True)
class Preset:
    """Which runs: networks (with their learning rates), noise levels, and seeds for calibration and for the test."""

    base: Setting
    networks: tuple[dict[str, Any], ...]
    noise: tuple[tuple[float, ...], ...]  # of each network
    calibration: tuple[int, ...] = (100, 101)
    test: tuple[int, ...] = (0, 1, 2)

    def settings(self, seeds: Iterable[int]) -> list[Setting]:
        """The runs with these seeds."""
        pairs = [(net, p) for net, noise in zip(self.networks, self.noise, strict=True) for p in noise]
        return [replace(self.base, seed=seed, noise=p, **net) for seed in seeds for net, p in pairs]


# With batch norm and the plain network's learning rate the training images are memorised within three epochs.
_CPU_NETWORKS = ({"batch_norm": False, "lr": 1e-3}, {"batch_norm": True, "lr": 1e-4})
PRESETS = {
    "cpu": Preset(Setting(), _CPU_NETWORKS, ((0.0, 0.2, 0.4), (0.0, 0.4))),
    "gpu": Preset(
        Setting(width=64, train_size=25_000, test_size=10_000, epochs=40),
        ({"batch_norm": False, "lr": 7e-4}, {"batch_norm": True, "lr": 1e-4}),
        ((0.0, 0.2, 0.4), (0.0, 0.2, 0.4)),
    ),
    "paper": Preset(
        Setting(width=64, train_size=50_000, test_size=10_000, epochs=100, weight_decay=0.0, lr=7e-4),
        ({"batch_norm": False},),
        ((0.0, 0.2, 0.4, 0.6, 0.8, 1.0),),
    ),
}
# The candidates for the default of NMFEarlyStopping.
_SIGNALS = ("relative_nmf_auc", "relative_last_layer_auc", "nmf_auc", "last_layer_auc")
_CRITERIA = {"first_maximum": (2, 3, 5), "below_one": (1, 2, 3), "half_excess": (1, 2, 3)}
_DELTAS = {"first_maximum": (0.0,), "below_one": (0.0, 0.02, 0.04, 0.06), "half_excess": (0.0, 0.02, 0.04, 0.06)}
CANDIDATES = [
    {"signal": signal, "criterion": criterion, "smoothing": smoothing, "patience": patience, "min_delta": delta}
    for signal in _SIGNALS
    for criterion in _CRITERIA
    for smoothing in (1, 3, 5)
    for patience in _CRITERIA[criterion]
    for delta in _DELTAS[criterion]
    if criterion == "first_maximum" or signal.startswith("relative")
]
NOTES = (
    "CIFAR-10 pictures (JPEG); label noise: uniform redraw, true class included. Regret: points of test accuracy below "
    "the best epoch of the full run, which is chosen on one half of the test images and scored on the other. All "
    "signals look at the same 1000 training images, 100 of each given class. Seconds were measured beside other jobs."
)
BUDGETS = (0.01, 0.05, 0.25)  # shares of the training time
THESIS = {"signal": "nmf_auc", "criterion": "first_maximum", "smoothing": 3, "patience": 3}
MEASURED = tuple(name for name in SIGNALS if not name.startswith("held_out"))


def default_rule() -> Method:
    """What ``NMFEarlyStopping()`` does."""
    stopper = NMFEarlyStopping()
    signal = {"relative": "relative_nmf_auc", "plain": "nmf_auc"}[stopper.signal]
    names = ("criterion", "smoothing", "patience", "min_delta", "min_epochs")
    return by_callback("NMFEarlyStopping()", "ours", signal, **{name: getattr(stopper, name) for name in names})


def in_processes(work: Callable[..., Any], settings: list[Setting], workers: int, *arguments: Any) -> None:
    """``work(setting, *arguments)`` for all settings, ``workers`` at a time."""
    threads = max(1, (os.cpu_count() or 1) // workers)
    with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (threads,)) as pool:
        for done in [pool.submit(work, setting, *arguments) for setting in settings]:
            print(done.result(), flush=True)


def freeze(runs: list[Run]) -> list[dict[str, Any]]:
    """Every signal's setting of least mean regret on the calibration runs, and the best epoch to stop at blindly."""
    rows = []
    for signal in (*MEASURED, *OURS):
        rule = tune(signal, runs)
        score = fmean(100 * regret(by_rule(signal, "tuned", signal, rule), run) for run in runs)
        rows.append({"method": signal, "rule": asdict(rule), "calibration regret": score})
    for options in CANDIDATES:
        score = fmean(100 * regret(by_callback("", "", **options), run) for run in runs)
        rows.append({"method": "candidate", "rule": options, "calibration regret": score})
    epochs = range(1, len(runs[0].rows) + 1)
    scores = {n: fmean(100 * regret(at_epoch(n), run) for run in runs) for n in epochs}
    best = min(scores, key=lambda n: scores[n])
    return [*rows, {"method": "fixed epoch", "rule": {"epoch": best}, "calibration regret": scores[best]}]


def at_epoch(epoch: int) -> Method:
    """Stop after a fixed epoch."""
    return Method(f"epoch {epoch}", "tuned", lambda run: fixed(epoch, len(run.rows)))


def controls() -> list[Method]:
    """What needs no signal, or more than a training run has."""
    known = Method(
        "train accuracy >= 1 - p (p known)",
        "native",
        lambda run: Rule("above", 1, 1, threshold=1 - run.setting.noise - 1e-9).replay(
            run.rows["train_accuracy"].tolist()
        ),
        "train_accuracy",
    )
    last = Method("last epoch", "control", lambda run: Replay(len(run.rows) - 1, len(run.rows) - 1, False))
    oracle = Method("oracle (best epoch on clean test images)", "control", _oracle)
    return [oracle, last, known]


def _oracle(run: Run) -> Replay:
    best = int(run.rows["test_accuracy_a"].argmax())
    return Replay(best, best, True)


def methods(frozen: list[dict[str, Any]], ours: Method) -> list[Method]:
    """Everything that is tested, ours first."""
    tuned = {row["method"]: row["rule"] for row in frozen if row["method"] != "candidate"}
    found = [ours, by_callback("NMF AuC, rule of the thesis", "native", **THESIS)]
    for name in ("loss", "accuracy"):
        rule = SIGNALS[f"held_out_{name}"].rule
        found.append(held_out(f"hold-out {name}, 10 % noisy labels", "native", f"val_{name}", rule))
        found.append(
            held_out(f"hold-out {name}, 10 % noisy labels", "common", f"val_{name}", Rule(rule.kind, **COMMON))
        )
    found += [*controls(), at_epoch(tuned["fixed epoch"]["epoch"])]
    for signal in (*MEASURED, *OURS):
        known = SIGNALS.get(signal)
        if known is not None and known.rule.kind != "never":
            found.append(by_rule(signal, "native", signal, known.rule))
        kind = known.best if known is not None else "maximum"
        found.append(by_rule(signal, "common", signal, Rule(kind, **COMMON)))
        found.append(by_rule(signal, "tuned", signal, Rule(**tuned[signal])))
    return found


def test(runs: list[Run], frozen: list[dict[str, Any]], ours: Method) -> tuple[list[dict[str, Any]], float]:
    """The table, best first within ours, and Friedman's p-value over all methods."""
    tested = [m for m in methods(frozen, ours) if not m.twin or all(run.held_out is not None for run in runs)]
    rows = [{**summary(method, runs), **paired(method, ours, runs)} for method in tested]
    adjusted = holm([row.pop("p") for row in rows[1:]])
    rows[0].pop("p")
    for row, p in zip(rows[1:], adjusted, strict=True):
        row["p (Holm)"] = p
    return [rows[0], *sorted(rows[1:], key=lambda row: row["regret"])], friedman(tested, runs)


def shown(frozen: list[dict[str, Any]], ours: Method, runs: list[Run]) -> list[Method]:
    """The methods in the figure of all runs."""
    wanted = [(ours.name, "ours"), ("NMF AuC, rule of the thesis", "native"), ("label_wave", "tuned")]
    wanted += [("hold-out loss, 10 % noisy labels", "native")] * all(run.held_out is not None for run in runs)
    by_name = {(method.name, method.mode): method for method in methods(frozen, ours)}
    return [by_name[key] for key in wanted]


def write_curves(runs: list[Run]) -> None:
    """Every run's numbers, one line per epoch; what is a list stays in the folder of the run."""
    tables = [run.rows.select_dtypes("number").assign(run=run.setting.name) for run in runs]
    pd.concat(tables).to_csv(RESULTS / "early_stopping_curves.csv", index=False, float_format="%.5g")


def report(args: argparse.Namespace, preset: Preset) -> None:
    """Freeze on the calibration runs, or test the frozen rules on the others."""
    shape = asdict(preset.base)
    notes = f"Preset {args.preset}: {shape}, networks {preset.networks}, noise {preset.noise}. {NOTES}"
    if args.stage == "freeze":
        runs = read_runs(preset.settings(preset.calibration), args.folder)
        write_results("early_stopping_frozen", freeze(runs), seeds=list(preset.calibration), notes=_named(notes, runs))
        return
    frozen = json.loads((RESULTS / "early_stopping_frozen.json").read_text())["rows"]
    runs = read_runs(preset.settings(preset.test), args.folder)
    seeds = sorted({run.setting.seed for run in runs})
    ours = default_rule()
    rows, p = test(runs, frozen, ours)
    notes = _named(notes, runs)
    write_results("early_stopping", rows, seeds=seeds, notes=f"{notes} Friedman over all methods: p = {p:.2g}.")
    cheap = [affordable(m, runs, BUDGETS) for m in methods(frozen, ours) if m.mode in ("ours", "tuned") and not m.twin]
    write_results(
        "early_stopping_budgets", cheap, seeds=seeds, notes=f"Checks spaced to cost at most this share. {notes}"
    )
    related = [correlations(name, runs, -1.0 if _low_is_good(name) else 1.0) for name in ("epoch", *MEASURED, *OURS)]
    write_results("early_stopping_correlations", related, seeds=seeds, notes=notes)
    write_curves(runs + read_runs(preset.settings(preset.calibration), args.folder))
    figures.runs(runs, shown(frozen, ours, runs)).savefig(RESULTS / "early_stopping_runs.png", dpi=80)
    figures.regrets(rows).savefig(RESULTS / "early_stopping_regret.png", dpi=80)


def _low_is_good(name: str) -> bool:
    return name in SIGNALS and SIGNALS[name].best == "minimum"


def _named(notes: str, runs: list[Run]) -> str:
    return f"{notes} {len(runs)} runs: " + "; ".join(f"{run.label}, seed {run.setting.seed}" for run in runs) + "."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="cpu")
    parser.add_argument("--stage", choices=("train", "measure", "freeze", "test"), nargs="+", default=None)
    parser.add_argument("--root", type=Path, default=Path("data_cache/cifar10"), help="train/<class>, test/<class>")
    parser.add_argument("--folder", type=Path, default=Path("data_cache/trajectories"), help="where weights are kept")
    parser.add_argument("--workers", type=int, default=1 if torch.cuda.is_available() else os.cpu_count() or 1)
    args = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*does not have many workers")
    preset, stages = PRESETS[args.preset], args.stage or ["train", "measure", "freeze", "test"]
    settings = preset.settings((*preset.calibration, *preset.test))
    twins = [replace(setting, val_share=0.1) for setting in preset.settings(preset.test)]
    for args.stage in stages:
        if args.stage == "train":
            in_processes(train, settings + twins, args.workers, args.root, args.folder)
        elif args.stage == "measure":
            in_processes(measure, settings, args.workers, args.root, args.folder)
        else:
            report(args, preset)


if __name__ == "__main__":
    main()
