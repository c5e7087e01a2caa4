"""The memorization benchmarks run end to end on a handful of pictures, and their pieces compute what they say."""

import json
import sys
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.memorization import timing
from benchmarks.memorization._figures import ranked, shades
from benchmarks.memorization._networks import ranks, sample, trained
from benchmarks.memorization._study import PRESETS, arguments, average
from benchmarks.memorization.early_stopping_runs import first_maximum, smooth
from benchmarks.memorization.hyperparameters import correlations, interval, networks, pearson
from lightning_interp.functional import nmf
from tests.data import image_folder

SIZES = {"width": 2, "train-size": 9, "test-size": 6, "epochs": 1, "per-class": 3, "steps": 2, "max-iter": 2}
TINY = [word for name, value in SIZES.items() for word in (f"--{name}", str(value))]
SCRIPTS = {  # name: seeds, levels of noise, rows of the table
    "noise_grid": ([0, 1], [0, 1], 4 * 2),
    "multi_class": ([0], [0, 1], 2 * 2),
    "ablate_directions": ([0], [0, 1], 3 * 2),
    "layer_by_layer": ([0], [0.5], 4 + 11),
    "reconstruction_errors": ([0], [0.5], 11),
    "hyperparameters": ([0], [0], 7),
    "per_class": ([0, 1], [0], 2 + 1),
    "early_stopping_runs": ([0, 1], [0], 2 * 5),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Pictures, and a cache that the scripts share as they do outside the tests."""
    root = tmp_path_factory.mktemp("pictures")
    image_folder.write(root, n=4, size=(32, 32))
    return ["--root", str(root), "--cache", str(tmp_path_factory.mktemp("networks"))]


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_writes_its_table_and_its_figure(name, folders, tmp_path, monkeypatch):
    seeds, noise, n_rows = SCRIPTS[name]
    options = ["--seeds", *map(str, seeds), "--noise", *map(str, noise), "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", [f"{name}.py"])
    import_module(f"benchmarks.memorization.{name}").main([*TINY, *folders, *options])
    result = json.loads((tmp_path / f"memorization_{name}.json").read_text())
    assert len(result["rows"]) == n_rows
    assert result["seeds"] == seeds
    assert "NaN" not in (tmp_path / f"memorization_{name}.json").read_text()
    assert (tmp_path / f"memorization_{name}.md").exists()
    assert (tmp_path / f"memorization_{name}.png").stat().st_size > 5000


def test_timing_writes_a_row_per_rank_and_one_for_the_sweep(tmp_path, monkeypatch):
    monkeypatch.setattr(timing, "ROWS", {"ImageNet": 40, "CIFAR-10": 30})
    monkeypatch.setattr(timing, "COLUMNS", 24)
    monkeypatch.setattr(timing, "RANKS", (1, 8))
    timing.main(["--out", str(tmp_path)])
    rows = json.loads((tmp_path / "memorization_timing.json").read_text())["rows"]
    assert [row["K"] for row in rows[:5]] == [1, 6, 8, 12, 18]
    assert len(rows) == 2 * 2 * 5 + 1
    assert all(row["seconds"] > 0 for row in rows)


def test_a_network_is_trained_once_and_then_read(folders, tmp_path):
    study = arguments("", [*TINY, *folders[:2], "--cache", str(tmp_path)])
    first = trained(study, noise=1.0, seed=3)
    (weights,) = tmp_path.rglob("net")
    stamp = weights.stat().st_mtime_ns
    again = trained(study, noise=1.0, seed=3)
    assert weights.stat().st_mtime_ns == stamp
    assert all(torch.equal(a, b) for a, b in zip(first.net.parameters(), again.net.parameters(), strict=True))
    assert first.scores == again.scores
    other = trained(study, noise=1.0, seed=4)
    assert not torch.equal(next(first.net.parameters()), next(other.net.parameters()))


def test_training_ends_early_when_all_images_are_fitted(folders, tmp_path):
    study = arguments("", [*TINY, *folders[:2], "--cache", str(tmp_path), "--epochs", "90", "--lr", "0.01"])
    scores = trained(study, network="mlp", width=8).scores
    assert scores["train accuracy"] == 1.0
    assert 1 < scores["epochs"] < 90


def test_arguments_override_the_preset():
    study = arguments("", ["--preset", "paper", "--noise", "0", "0.5", "--width", "8"])
    assert study.size.noise == (0.0, 0.5)
    assert study.size.width == 8
    assert study.size.seeds == PRESETS["paper"].seeds
    assert study.root.parts == ("data_cache", "cifar10")


def test_the_paper_preset_is_that_of_the_thesis(monkeypatch):
    from benchmarks.memorization import hyperparameters

    size = PRESETS["paper"]
    assert (size.width, size.train_size, size.per_class) == (64, None, 50)
    assert len(size.noise) * len(size.seeds) == 60
    monkeypatch.setattr(hyperparameters, "trained", lambda study, **choices: tuple(choices.values()))
    assert len(set(networks(arguments("", ["--preset", "paper"])))) == 96


def test_ranks_hold_powers_of_two_then_even_steps():
    assert ranks(64, 4) == [1, 2, 4, 8, 16, 32, 48]
    assert ranks(512, 25)[:8] == [1, 2, 4, 8, 16, 20, 40, 61]
    assert ranks(2, 8) == [1]


def test_sample_draws_given_labels_evenly_and_mixes_them():
    dataset = type("Labels", (), {"targets": [0] * 30 + [1] * 50 + [2] * 40})
    labels = torch.tensor(dataset.targets)[sample(dataset, 10, seed=0)]
    assert labels.bincount().tolist() == [10, 10, 10]
    assert labels.tolist() != labels.sort().values.tolist()


def test_average_is_over_seeds_and_keeps_the_order():
    rows = [{"p": p, "seed": s, "AuC": p + s, "K=1": 0.5} for p in (1.0, 0.2) for s in (0, 1)]
    found = average(rows, ["p"])
    assert [row["p"] for row in found] == [1.0, 0.2]
    assert found[0] == {"p": 1.0, "networks": 2, "AuC": 1.5, "AuC sd": pytest.approx(0.5**0.5), "K=1": 0.5}
    assert "AuC sd" not in average(rows[:1], ["p"])[0]


def test_ranked_reads_the_points_of_a_curve():
    points = ranked([{"p": 0.2, "K=0": 0.1, "K=16": 0.9, "AuC": 0.7}], "p")
    pd.testing.assert_frame_equal(points, pd.DataFrame({"p": [0.2, 0.2], "x": [0, 16], "y": [0.1, 0.9]}))


def test_shades_grow_paler():
    brightness = [sum(color[:3]) for color in shades([0.0, 0.4, 1.0]).values()]
    assert brightness == sorted(brightness)


def test_first_maximum_of_smoothed_values():
    assert smooth([0.0, 3.0, 6.0, 3.0], radius=1) == [1.5, 3.0, 4.0, 4.5]
    assert first_maximum([1, 2, 3, 2, 9]) == 2
    assert first_maximum([1, 2, 2, 3]) == 3
    assert first_maximum([5]) == 0


def test_correlations_find_the_planted_one_and_leave_out_what_does_not_vary():
    errors = np.random.default_rng(1).random(40)
    names = [f"{m} {kind}" for kind in ("AuC", "relative AuC") for m in ("NMF", "PCA", "RA")]
    rows = [{"test error": e, "full-rank accuracy": 1.0, **dict.fromkeys(names, -2 * e)} for e in errors]
    table = {row["predictor"]: row for row in correlations(rows, networks="all")}
    assert table["NMF AuC"]["Pearson r"] == pytest.approx(-1)
    assert "Pearson r" not in table["full-rank accuracy"]


def test_interval_covers_the_correlation():
    generator = np.random.default_rng(0)
    x = generator.normal(size=200)
    y = 0.6 * x + 0.8 * generator.normal(size=200)
    low, high = interval(x, y)
    assert low < pearson(x, y) < high
    assert 0.05 < high - low < 0.35


def test_timed_matrices_are_sparse_and_can_be_factorised():
    a = timing.activations(2000, device=torch.device("cpu"))
    assert float((a > 0).float().mean()) == pytest.approx(0.2, abs=0.03)
    assert float(nmf(a[:200], 2).error) < 1
