"""The early stopping benchmark: planted runs with known answers, and one tiny run through all its stages."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmarks import _results, early_stopping
from benchmarks._replay import Run, by_callback, by_rule, fixed, held_out, regret, tune
from benchmarks._scores import affordable, correlations, cost, holm, paired, summary
from benchmarks._trajectories import Setting
from lightning_interp.functional.generalization import Replay, Rule
from tests.data import image_folder

PEAK = [0.2, 0.3, 0.4, 0.5, 0.45, 0.4, 0.35, 0.3, 0.3, 0.3]  # test accuracy: best after epoch 4
RATIO = [1.0, 1.1, 1.2, 1.1, 0.9, 0.8, 0.8, 0.7, 0.7, 0.7]


def planted_run(seed=0, noise=0.4, **columns):
    n = len(PEAK)
    rows = {
        "epoch": range(1, n + 1),
        "test_accuracy": PEAK,
        "test_accuracy_a": PEAK,
        "test_accuracy_b": PEAK,
        "test_loss": [2 - a for a in PEAK],
        "train_accuracy": np.linspace(0.2, 1, n),
        "train_loss": np.linspace(2, 0, n),
        "train_seconds": [10.0] * n,
        "train_accuracy_seconds": [1.0] * n,
        "nmf_auc_seconds": [2.0] * n,
        "nmf_auc": np.linspace(0.1, 0.9, n),
        "relative_nmf_auc": RATIO,
        **columns,
    }
    return Run(Setting(noise=noise, seed=seed), pd.DataFrame(rows))


class TestReplay:
    def test_regret_is_the_accuracy_lost_against_the_best_epoch(self):
        run = planted_run()
        last = by_rule("", "", "nmf_auc", Rule("maximum"))  # rises to the end
        assert regret(last, run) == pytest.approx(0.2)
        assert regret(by_rule("", "", "relative_nmf_auc", Rule("maximum", 1, 3)), run) == pytest.approx(0.1)

    def test_the_best_epoch_is_chosen_on_the_other_half(self):
        run = planted_run(test_accuracy_a=[0.9, *PEAK[1:]])
        assert regret(by_rule("", "", "nmf_auc", Rule("never")), run) == pytest.approx(0.2 - 0.3)

    def test_the_callbacks_own_rule(self):
        options = {"signal": "relative_nmf_auc", "criterion": "below_one", "smoothing": 1, "patience": 3}
        assert by_callback("", "", **options).decide(planted_run()) == Replay(stopped=6, best=3, triggered=True)

    def test_a_hold_out_run_is_scored_by_its_own_test_accuracy(self):
        twin = pd.DataFrame({"val_loss": [3, 2, 1, 2, 3, 4, 5, 6, 7, 8], "test_accuracy_b": [0.45] * 10})
        method = held_out("", "", "val_loss", Rule("minimum", 1, 5))
        run = replace(planted_run(), held_out=twin)
        assert method.decide(run).best == 2
        assert regret(method, run) == pytest.approx(0.05)

    def test_tuning_finds_the_setting_that_returns_the_peak(self):
        signal = [0, 1, 2, 3, 2, 1, 0, 4, 5, 6]  # patience 5 would run on to the end
        runs = [planted_run(gwa=signal), planted_run(1, gwa=signal)]
        rule = tune("gwa", runs)
        assert (rule.kind, rule.smoothing, rule.patience) == ("maximum", 1, 3)
        assert fixed(4, 10) == Replay(3, 3, True)


class TestScores:
    def test_summary_of_a_rule_that_never_stops(self):
        row = summary(by_rule("x", "native", "nmf_auc", Rule("never")), [planted_run(), planted_run(1, noise=0.0)])
        assert row["regret"] == pytest.approx(20)
        assert row["regret plain, p = 0.4"] == pytest.approx(20)
        assert (row["triggered"], row["epochs saved"], row["stop error"]) == (0, 0, 6)

    def test_cost_counts_what_a_signal_shares(self):
        run = planted_run(gwa_seconds=[0.5] * 10)
        assert cost("nmf_auc", run) == cost("relative_nmf_auc", run) == pytest.approx(0.2)
        assert cost("gwa", run) == pytest.approx(0.15)  # its own and the forward pass
        assert cost("", run) == 0

    def test_a_budget_spaces_the_checks(self):
        method = by_rule("", "", "relative_nmf_auc", Rule("maximum", 1, 1))  # a check costs a fifth of an epoch
        run = planted_run(relative_nmf_auc=[1.0, 0.9, 1.2, 1.3, 0.9, 0.8, 0.8, 0.7, 0.7, 0.7])
        row = affordable(method, [run], (0.01, 0.1, 0.2))
        assert row["20%"] == pytest.approx(30)  # every epoch: stops at the second, returns the first
        assert row["10%"] == pytest.approx(0)  # epochs 2, 4, 6: returns the fourth
        assert row["1%"] == pytest.approx(20)  # no check can be paid for: trains to the end

    def test_paired_differences(self):
        runs = [planted_run(seed) for seed in range(6)]
        best = by_rule("", "", "relative_nmf_auc", Rule("maximum", 1, 3))  # returns epoch 3, the run ends at epoch 10
        last = by_rule("", "", "nmf_auc", Rule("never"))
        found = paired(last, best, runs)
        assert found["minus ours"] == found["low"] == found["high"] == pytest.approx(10)
        assert found["p"] < 0.1
        assert paired(best, best, runs)["p"] == 1.0

    def test_holm_by_hand(self):
        assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])

    def test_correlations_of_a_perfect_and_a_reversed_signal(self):
        runs = [planted_run(gwa=PEAK, label_wave=[-a for a in PEAK])]
        for name, sign in (("gwa", 1.0), ("label_wave", -1.0)):
            row = correlations(name, runs, sign)
            assert row["Kendall with test accuracy"] == pytest.approx(1)
            assert row["Pearson of changes"] == pytest.approx(1)
            assert row["partial, given epoch and train accuracy"] == pytest.approx(1)


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    root = tmp_path / "pictures"
    image_folder.write(root, n=12, size=(32, 32))
    base = Setting(width=4, train_size=30, test_size=9, epochs=4)
    preset = early_stopping.Preset(base, ({"batch_norm": False},), ((0.4,),), calibration=(5,), test=(6, 7, 8))
    monkeypatch.setitem(early_stopping.PRESETS, "cpu", preset)
    for module in (early_stopping, _results):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    return ["early_stopping", "--root", str(root), "--folder", str(tmp_path / "runs"), "--workers", "1"]


@pytest.mark.slow
def test_all_stages_on_generated_pictures(tiny, monkeypatch, tmp_path):
    monkeypatch.setattr(
        early_stopping, "in_processes", lambda work, settings, _, *rest: [work(s, *rest) for s in settings]
    )
    monkeypatch.setattr("sys.argv", tiny)
    early_stopping.main()
    results = tmp_path / "results"
    rows = json.loads((results / "early_stopping.json").read_text())["rows"]
    by_name = {(row["method"], row["set"]): row for row in rows}
    assert rows[0]["set"] == "ours"
    assert by_name["oracle (best epoch on clean test images)", "control"]["regret"] == 0
    assert {mode for _, mode in by_name} == {"ours", "native", "common", "tuned", "control"}
    assert ("hold-out loss, 10 % noisy labels", "native") in by_name
    curves = pd.read_csv(results / "early_stopping_curves.csv")
    assert len(curves) == 16
    assert {"run", "epoch", "test_accuracy", "nmf_auc"} <= set(curves)
    assert len(json.loads((results / "early_stopping_correlations.json").read_text())["rows"]) > 25
    assert (results / "early_stopping_runs.png").stat().st_size > 10_000
    assert (results / "early_stopping_regret.png").stat().st_size > 10_000
