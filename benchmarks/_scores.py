"""Scores of stopping methods over recorded runs: regret, stop error, paired differences, correlations."""

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks._replay import Method, Run, regret

# What a signal computes anew; these read features and scores only, and pay for the forward pass as well.
_SHARE_FORWARD = {
    "train_loss", "label_wave", "head_evidence", "gwa", "gwa_mean", "neuron_divergence", "intrinsic_dimension",
    "class_structure", "parallel_heads", "head_gradient", "head_coherence", "effective_rank", "within_class_collapse",
}  # fmt: skip
_SECONDS_OF = {
    "relative_nmf_auc": "nmf_auc", "low_rank_share": "nmf_auc", "relative_pca_auc": "pca_auc",
    "last_layer_auc": "last_layer", "relative_last_layer_auc": "last_layer",
}  # fmt: skip


def summary(method: Method, runs: Sequence[Run]) -> dict[str, Any]:
    """One line of the table, in points of test accuracy and in epochs."""
    decisions = [method.decide(run) for run in runs]
    errors = [decision.best - best_loss(run) for decision, run in zip(decisions, runs, strict=True)]
    regrets = pd.Series([100 * regret(method, run) for run in runs])
    row: dict[str, Any] = {"method": method.name, "set": method.mode, "regret": regrets.mean()}
    row |= {f"regret {label}": part.mean() for label, part in regrets.groupby([run.label for run in runs])}
    row |= {"worst regret": regrets.max(), "stop error": fmean(errors), "|stop error|": fmean(map(abs, errors))}
    row |= {"triggered": fmean(decision.triggered for decision in decisions)}
    saved = [1 - (d.stopped + 1) / len(run.rows) for d, run in zip(decisions, runs, strict=True)]
    return row | {"epochs saved": fmean(saved), "cost": fmean(cost(method.signal, run) for run in runs)}


def best_loss(run: Run) -> int:
    """Index of the smallest test loss, as measured."""
    return int(run.rows["test_loss"].argmin())


def cost(signal: str, run: Run) -> float:
    """Seconds of measuring as a share of the seconds of training, one check per epoch."""
    columns = [f"{_SECONDS_OF.get(signal, signal)}_seconds"]
    columns += ["train_accuracy_seconds"] if signal in _SHARE_FORWARD else []
    known = [column for column in columns if column in run.rows]
    return float(run.rows[known].to_numpy().sum() / run.rows["train_seconds"].sum()) if known else 0.0


def affordable(method: Method, runs: Sequence[Run], budgets: Sequence[float]) -> dict[str, Any]:
    """Mean regret when checks are spaced so that they cost at most a share of the training time."""
    means = {f"{budget:.0%}": fmean(_spaced_regret(method, run, budget) for run in runs) for budget in budgets}
    return {"method": method.name, "set": method.mode, "cost": fmean(cost(method.signal, run) for run in runs), **means}


def _spaced_regret(method: Method, run: Run, budget: float) -> float:
    every = max(1, math.ceil(cost(method.signal, run) / budget))
    rows = run.rows.iloc[every - 1 :: every]
    last, best = len(run.rows) - 1, int(run.rows["test_accuracy_a"].argmax())
    found = method.decide(replace(run, rows=rows.reset_index(drop=True))) if len(rows) else None
    kept = rows.index[found.best] if found is not None and found.triggered else last
    return 100 * float(run.rows["test_accuracy_b"][best] - run.rows["test_accuracy_b"][kept])


def paired(method: Method, reference: Method, runs: Sequence[Run]) -> dict[str, float]:
    """Regret of ``method`` minus that of ``reference``, run by run: mean, bootstrap interval, sign-flip p-value."""
    differences = np.array([100 * (regret(method, run) - regret(reference, run)) for run in runs])
    mean = float(differences.mean())
    if len(runs) < 2 or not differences.any():
        return {"minus ours": mean, "low": mean, "high": mean, "p": 1.0}
    rng = np.random.default_rng(0)
    interval = stats.bootstrap((differences,), np.mean, n_resamples=5000, method="percentile", rng=rng)
    test = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=5000, rng=rng)
    low, high = interval.confidence_interval
    return {"minus ours": mean, "low": float(low), "high": float(high), "p": float(test.pvalue)}


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number (Holm's step-down)."""
    order = np.argsort(p_values)
    stepped = np.maximum.accumulate(np.array(p_values)[order] * np.arange(len(order), 0, -1))
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted.tolist()


def friedman(methods: Sequence[Method], runs: Sequence[Run]) -> float:
    """p-value of "all methods rank alike" over the runs."""
    columns = [[regret(method, run) for run in runs] for method in methods]
    return float(stats.friedmanchisquare(*columns).pvalue)


def correlations(signal: str, runs: Sequence[Run], sign: float) -> dict[str, Any]:
    """How a signal moves with test accuracy and with the gap within runs; ``sign`` is -1 where low is good."""
    rows: dict[str, list[float]] = {}
    for run in runs:
        table = pd.DataFrame({"x": sign * run.rows[signal], "accuracy": run.rows["test_accuracy"]}).assign(
            gap=run.rows["test_loss"] - run.rows["train_loss"],
            epoch=run.rows["epoch"],
            train=run.rows["train_accuracy"],
        )
        table = table[np.isfinite(table["x"])]
        steps = table.diff().dropna()
        found = {
            "Kendall with test accuracy": _safe(stats.kendalltau, table["x"], table["accuracy"]),
            "Kendall with gap": _safe(stats.kendalltau, table["x"], table["gap"]),
            "Pearson of changes": _safe(stats.pearsonr, steps["x"], steps["accuracy"]),
            "partial, given epoch and train accuracy": _partial(table),
        }
        for name, value in found.items():
            rows.setdefault(name, []).append(value)
    known = {name: [value for value in values if np.isfinite(value)] for name, values in rows.items()}
    return {"signal": signal, **{name: fmean(values) for name, values in known.items() if values}}


def _partial(table: pd.DataFrame) -> float:
    """Correlation with test accuracy of what epoch and train accuracy do not explain linearly."""
    known = np.column_stack([np.ones(len(table)), table["epoch"], table["train"]])
    left = [
        column - known @ np.linalg.lstsq(known, column, rcond=None)[0] for column in (table["x"], table["accuracy"])
    ]
    return _safe(stats.pearsonr, *left)


def _safe(statistic: Any, x: Any, y: Any) -> float:
    if len(x) < 3 or np.ptp(x) < 1e-9 or np.ptp(y) < 1e-9:
        return float("nan")
    return float(statistic(x, y).statistic)
