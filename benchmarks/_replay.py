"""Replay stopping rules on recorded runs: what each would have returned, and what that cost in test accuracy."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import pandas as pd

from benchmarks._trajectories import Setting
from lightning_interp.functional import decide_stop, uninformative_checks
from lightning_interp.functional.generalization import SIGNALS, Replay, Rule

SMOOTHING, PATIENCE, MIN_CHECKS = (1, 3, 5), (3, 5), (3, 6)  # the twelve settings every signal may be tuned over
COMMON = {"smoothing": 3, "patience": 5, "min_checks": 3}
# signals beside SIGNALS: other readings of the compression curves, all of them the higher the better
OURS = ("last_layer_auc", "relative_last_layer_auc", "low_rank_share")


@dataclass(frozen=True)
class Run:
    """One recorded run: a row per epoch, and those of its twin that held a tenth of its images out, if there is one."""

    setting: Setting
    rows: pd.DataFrame
    held_out: pd.DataFrame | None = None

    @property
    def label(self) -> str:
        """Network and noise, the condition of the run."""
        return f"{'batch norm' if self.setting.batch_norm else 'plain'}, p = {self.setting.noise:g}"


Decide = Callable[[Run], Replay]


@dataclass(frozen=True)
class Method:
    """A way to stop: a name, the way it was set (native, common, tuned, control), and what it does with a run."""

    name: str
    mode: str
    decide: Decide
    signal: str = ""  # whose seconds it costs
    twin: bool = False  # whether it is scored on the run that holds images out


def read_runs(settings: Iterable[Setting], folder: Path) -> list[Run]:
    """All measured runs among ``settings``."""
    runs = []
    for setting in settings:
        path = folder / setting.name / "signals.jsonl"
        if path.exists():
            twin = folder / replace(setting, val_share=0.1).name
            held_out = pd.DataFrame(_lines(twin / "scores.jsonl")) if (twin / "done").exists() else None
            runs.append(Run(setting, _with_readings(pd.DataFrame(_lines(path))), held_out))
    return runs


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _with_readings(rows: pd.DataFrame) -> pd.DataFrame:
    low = rows["nmf_accuracies"].map(lambda values: fmean(values[:4]))  # K = 1, 2, 4, 8
    return rows.assign(low_rank_share=low / rows["train_accuracy"])


def tuning_grid(signal: str) -> list[Rule]:
    """The twelve settings of a signal, in its direction."""
    kind = SIGNALS[signal].best if signal in SIGNALS else "maximum"
    return [Rule(kind, smoothing=w, patience=n, min_checks=m) for w, n, m in product(SMOOTHING, PATIENCE, MIN_CHECKS)]


def by_rule(name: str, mode: str, signal: str, rule: Rule) -> Method:
    """A method that reads one signal by one rule."""
    return Method(name, mode, lambda run: rule.replay(run.rows[signal].tolist()), signal)


def by_callback(name: str, mode: str, signal: str, **options: Any) -> Method:
    """A method as ``NMFEarlyStopping`` decides, uninformative first checks left out."""
    min_epochs = options.pop("min_epochs", 3)

    def decide(run: Run) -> Replay:
        values, accuracy = run.rows[signal].fillna(0.0).tolist(), run.rows["train_accuracy"].tolist()
        for n in range(min_epochs, len(values) + 1):
            skip = uninformative_checks(accuracy[:n], chance=0.1, n_images=1000)
            decision = decide_stop(values[:n], skip=skip, **options)
            if decision.stop and decision.best is not None:
                return Replay(n - 1, decision.best, True)
        return Replay(len(values) - 1, len(values) - 1, False)

    return Method(name, mode, decide, signal)


def held_out(name: str, mode: str, column: str, rule: Rule) -> Method:
    """A method that reads the images its twin run holds out."""

    def decide(run: Run) -> Replay:
        assert run.held_out is not None
        return rule.replay(run.held_out[column].tolist())

    return Method(name, mode, decide, "held_out", twin=True)


def fixed(epoch: int, n_epochs: int) -> Replay:
    """Stop after a given epoch."""
    return Replay(epoch - 1, epoch - 1, epoch < n_epochs)


def regret(method: Method, run: Run, accuracy: str = "test_accuracy_b") -> float:
    """Test accuracy lost against the best epoch of the full run, chosen on the other half of the test images."""
    rows = run.held_out if method.twin and run.held_out is not None else run.rows
    best = int(run.rows["test_accuracy_a"].argmax())
    return float(run.rows[accuracy][best] - rows[accuracy][method.decide(run).best])


def tune(signal: str, runs: list[Run]) -> Rule:
    """The setting of least mean regret; the first of equals."""
    return min(tuning_grid(signal), key=lambda rule: fmean(regret(by_rule("", "", signal, rule), run) for run in runs))
