"""The image-score benchmark: planted scores with known answers, and all its parts on a handful of pictures."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from benchmarks import _image_score_time, image_score, tables
from benchmarks._image_score_quality import ORACLE, quality, rankings
from benchmarks._image_score_runs import Setting, accuracies, read, student, teacher
from lightning_interp.functional.selection import RANKINGS, ImageScores
from tests.data import image_folder

TINY = Setting(width=2, labeled=12, pool=15, test=9, epochs=2)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    image_folder.write(folder, n=9, size=(32, 32))
    return folder


@pytest.fixture(scope="module")
def data(root):
    return read(TINY, root)


def planted(n=200):
    """Two classes; the first half of the images of each is right; softmax is sure of every second image."""
    labels = torch.arange(n) % 2
    truth = torch.where(torch.arange(n) < n // 2, labels, 1 - labels)
    sure = torch.where(torch.arange(n) // 2 % 2 == 0, 0.97, 0.8)
    other = 1 - sure
    probabilities = torch.stack([torch.where(labels == 0, sure, other), torch.where(labels == 0, other, sure)], 1)
    return ImageScores(torch.zeros(n), labels, probabilities), truth


class TestQuality:
    def test_a_perfect_ranking(self):
        pool, truth = planted()
        row = quality(-torch.arange(200.0), pool, truth, share=0.3)
        assert row["precision 5%"] == row["precision 50%"] == row["global 50%"] == 1
        assert row["AUROC"] == row["AUROC of p < 0.95"] == 1
        assert row["AURC"] == pytest.approx(sum(max(0, k - 50) / k for k in range(1, 101)) / 100)
        assert row["global balance"] == 1
        assert row["Spearman"] > 0.8

    def test_a_reversed_ranking(self):
        pool, truth = planted()
        row = quality(torch.arange(200.0), pool, truth, share=0.3)
        assert row["precision 30%"] == row["global 30%"] == row["AUROC"] == row["precision of p < 0.95"] == 0
        assert row["Spearman"] < -0.8

    def test_what_is_chosen_outside_the_softmax_choice(self):
        pool, truth = planted()
        sure = pool.probabilities.amax(1) >= 0.95
        unsure_right_first = (~sure).float() + (truth == pool.labels).float() / 2
        row = quality(unsure_right_first, pool, truth, share=0.25)
        assert row["overlap with softmax"] == 0
        assert row["precision outside overlap"] == row["precision of p < 0.95"] == 1
        same = quality(pool.probabilities.amax(1), pool, truth, share=0.25)
        assert same["overlap with softmax"] == 1
        assert same["precision outside overlap"] != same["precision outside overlap"]  # nothing is outside

    def test_one_class_alone_is_out_of_balance(self):
        pool, truth = planted()
        row = quality(-pool.labels.float(), pool, truth, share=0.3)
        assert row["global balance"] == 0
        assert row["precision 30%"] == 1  # ties go to the first, and those are right


class TestRuns:
    def test_the_parts_are_disjoint_and_mixed(self, data):
        images = torch.cat([data.labeled.images, data.pool.images]).flatten(1)
        assert len(images.unique(dim=0)) == TINY.labeled + TINY.pool
        assert data.labeled.labels.bincount().tolist() == [4, 4, 4]
        assert data.pool.labels.tolist() != data.pool.labels.sort().values.tolist()
        assert len(data.test.labels) == TINY.test

    def test_pool_labels_belong_to_their_images(self, data):
        red = data.pool.images[:, 0, 0, 0]  # grows with the class
        order = data.pool.labels.argsort(stable=True)
        assert (red[order].diff() >= 0).all()

    def test_a_teacher_is_trained_once_and_seeds_differ(self, data, tmp_path):
        first, again = teacher(TINY, data, tmp_path), teacher(TINY, data, tmp_path)
        other = teacher(replace(TINY, seed=1), data, tmp_path)
        assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
        assert not torch.equal(next(first.parameters()), next(other.parameters()))

    def test_training_leaves_the_global_generator_alone(self, data, tmp_path):
        state = torch.get_rng_state()
        teacher(TINY, data, tmp_path)
        assert torch.equal(state, torch.get_rng_state())

    def test_a_student_without_images_is_its_teacher(self, data, tmp_path):
        net, none = teacher(TINY, data, tmp_path), torch.zeros(0, dtype=torch.long)
        assert student(TINY, data, none, none, tmp_path) == accuracies(net, data.test, 3)

    def test_a_student_is_kept_by_what_it_was_given(self, data, tmp_path):
        teacher(TINY, data, tmp_path)
        rows = torch.arange(5)
        for labels in (data.pool.labels[:5], data.pool.labels[:5], 2 - data.pool.labels[:5]):
            student(TINY, data, rows, labels, tmp_path)
        assert len(list(tmp_path.rglob("student_*.json"))) == 2

    def test_training_separates_three_colours(self, data, tmp_path):
        net = teacher(replace(TINY, width=4, epochs=40, lr=1e-2, dropout=0.0), data, tmp_path)
        assert sum(accuracies(net, data.labeled, 3)) / 3 == pytest.approx(1)
        assert sum(accuracies(net, data.test, 3)) / 3 > 0.6

    @pytest.mark.parametrize("network", ["vgg16", "resnet18"])
    def test_the_papers_networks_have_norm_and_dropout(self, network):
        with torch.device("meta"):
            kinds = {type(module) for module in replace(TINY, network=network).untrained(10).modules()}
        assert {nn.Dropout, nn.BatchNorm2d} <= kinds


def test_every_ranking_and_reading_scores_the_same_labels(data, tmp_path):
    net = teacher(TINY, data, tmp_path)
    pool, scores = rankings(net, data, seed=0)
    assert set(RANKINGS) < set(scores)
    assert len(scores) == len(RANKINGS) + 1 + 6
    assert all(len(values) == len(pool) == TINY.pool for values in scores.values())
    right = pool.labels == data.pool.labels
    assert (scores[ORACLE] >= 1).tolist() == right.tolist()
    assert not torch.equal(scores["image_score"], scores["image_score, count"])


@pytest.fixture
def tiny(monkeypatch, root, tmp_path):
    preset = image_score.Preset(TINY, seeds=(0, 1), boosted=(0, 2), batch_sizes=(2,), repeats=1)
    monkeypatch.setitem(image_score.PRESETS, "cpu", preset)
    monkeypatch.setattr(_image_score_time, "N_BATCHES", 6)
    monkeypatch.setattr("sys.argv", ["image_score.py"])
    return ["--root", str(root), "--cache", str(tmp_path / "cache"), "--out", str(tmp_path)]


def test_selection_writes_tables_and_figures(tiny, tmp_path):
    image_score.main(tiny)
    rows = {row["ranking"]: row for row in json.loads((tmp_path / "image_score.json").read_text())["rows"]}
    students = json.loads((tmp_path / "image_score_students.json").read_text())["rows"]
    assert {"none", "all", ORACLE, *RANKINGS, "image_score, l2"} <= set(rows)
    assert [row["chosen by"] for row in students] == ["none", *RANKINGS, ORACLE, "all"]
    assert students[0]["minus none"] == 0
    assert students[-1]["images"] == TINY.pool
    assert rows["none"]["student accuracy"] == students[0]["accuracy"]
    assert rows[ORACLE]["precision 30%"] >= max(row.get("precision 30%", 0) for row in rows.values())
    assert len(json.loads((tmp_path / "image_score_seeds.json").read_text())["rows"]) == 2 * 14
    assert "NaN" not in "".join(path.read_text() for path in tmp_path.glob("*.json"))
    lines = {line["ranking"]: line for line in tables.image_score(list(rows.values()))}
    assert list(lines) == [*(name.replace("_", " ") for name in RANKINGS), ORACLE, "none", "all"]
    assert lines["softmax"]["shared with softmax"] == "100.0"
    assert set(lines["none"]) == {"ranking", "student"}
    for name in ("image_score", "image_score_intervals"):
        assert (tmp_path / f"{name}.png").stat().st_size > 5000


@pytest.mark.filterwarnings("ignore:.*chose no image:lightning_interp.exceptions.MeasurementWarning")
def test_retraining_writes_the_tables_of_the_paper(tiny, tmp_path):
    image_score.main([*tiny, "--part", "retraining"])
    rows = json.loads((tmp_path / "image_score_retraining_cnn.json").read_text())["rows"]
    assert [row["class"] for row in rows] == ["ant", "cow"]
    assert all(0 < row["p_value"] <= 1 and 0 <= row["softmax"] <= 1 for row in rows)
    assembled = json.loads((tmp_path / "image_score_assembly_cnn.json").read_text())["rows"]
    assert [row["epoch"] for row in assembled] == [1, 2]
    assert (tmp_path / "image_score_retraining_cnn.png").stat().st_size > 5000
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("last.safetensors")}
    image_score.main([*tiny, "--part", "retraining"])
    assert len(stamps) == 2 + 2 * 2
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())


def test_time_is_measured_for_every_reading(tiny, tmp_path, monkeypatch):
    networks = {
        "small": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10)), 32, False),
        "pooled": (
            lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            40,
            True,
        ),
    }
    monkeypatch.setattr(_image_score_time, "NETWORKS", networks)
    image_score.main([*tiny, "--part", "time"])
    rows = json.loads((tmp_path / "image_score_time.json").read_text())["rows"]
    assert [row["network"] for row in rows] == ["small"] * 7 + ["pooled"] * 6
    assert all(row["times forward"] > 0 and 0 < row["units in a mask"] <= 1 for row in rows)
    state = {(row["network"], row["reading"]): row["state, MB"] for row in rows}
    assert state["small", "overlap (default)"] == pytest.approx(8 * 10 * (4 * 30 * 30 + 10) / 1e6)
    assert state["pooled", "overlap (default)"] == pytest.approx(8 * 4 * 4 / 1e6)
    lines = tables.image_score_time(rows)
    assert [(line["network"], line["batch"]) for line in lines] == [("small", 2), ("pooled", 2)]
    assert "overlap" not in lines[0]["slowest reading"]
