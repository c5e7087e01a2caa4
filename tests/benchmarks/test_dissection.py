"""The dissection benchmark, in small."""

import json

import pytest
import torch

from benchmarks import dissection
from benchmarks.tables import TABLES


@pytest.fixture
def small(monkeypatch):
    """One network, few pictures, no other processes."""
    name = "CIFAR10CNN(width=64)"
    build = dissection.partial(dissection.CIFAR10CNN, width=4)
    monkeypatch.setattr(dissection, "NETWORKS", {name: (build, 32, 32)})
    torch.manual_seed(0)


def run(monkeypatch, tmp_path, part):
    options = ["--part", part, "--images", "24", "--repeats", "1", "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["dissection", *options])
    dissection.main()
    return json.loads(next(tmp_path.glob("dissection*.json")).read_text())["rows"]


def test_exact_levels_find_what_brute_force_finds(small, monkeypatch, tmp_path):
    rows = run(monkeypatch, tmp_path, "exactness")
    exact = [row for row in rows if row["levels"] == "exact"]
    assert exact
    assert all(row["concepts detected"] == row["by brute force"] for row in exact)
    assert all(row["largest error of a level"] == 0 for row in exact)


def test_time_is_a_ratio_to_two_plain_passes(small, monkeypatch, tmp_path):
    rows = run(monkeypatch, tmp_path, "time")
    shown = TABLES["dissection"](rows)
    assert len(shown) == len({row["network"] for row in rows})
    assert all(row["times two passes"] > 0 for row in rows)
