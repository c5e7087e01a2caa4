import math

import pytest
import torch

from lightning_interp.functional.compression import CompressionCounts, CompressionCurve, compression_auc


def curve(residual=False):
    correct = torch.tensor([[1, 0, 0], [2, 2, 0], [4, 3, 0], [5, 4, 0]], dtype=torch.float64)  # ranks 0, 1, 4, full
    errors = torch.tensor([[4.0, 1.0]], dtype=torch.float64)
    counts = CompressionCounts(correct, torch.tensor([5.0, 5.0, 0.0], dtype=torch.float64), errors, errors * 4)
    return CompressionCurve((1, 4), 8, ("conv",), "nmf", residual, counts)


def test_numbers_derive_from_counts():
    c = curve()
    assert c.accuracy.tolist() == pytest.approx([0.4, 0.7])
    assert (c.zero_accuracy, c.full_accuracy) == pytest.approx((0.1, 0.9))
    area = (0.1 + 0.4) / 2 * 1 + (0.4 + 0.7) / 2 * 3 + (0.7 + 0.9) / 2 * 4
    assert c.auc == pytest.approx(area / 8)
    assert c.relative_auc == pytest.approx(area / 8 / 0.9)
    assert c.relative_error.tolist() == [[0.5, 0.5]]
    assert c.raw_error.tolist() == [[2.0, 1.0]]


def test_classes_have_curves_of_their_own_and_empty_ones_are_nan():
    c = curve()
    expected = compression_auc([1, 4], torch.tensor([0.4, 0.8]), width=8, start=0.2, end=1.0)
    assert float(c.class_auc[0]) == pytest.approx(float(expected))
    assert math.isnan(c.class_auc[2])
    assert c.class_accuracy[:, 1].tolist() == pytest.approx([0.4, 0.6])


def test_the_residual_runs_from_everything_to_nothing():
    table = curve(residual=True).to_dataframe()
    assert table["k"].tolist() == [0, 1, 4, 8]
    assert table["accuracy"].tolist() == pytest.approx([0.9, 0.4, 0.7, 0.1])


def test_nothing_correct_gives_a_nan_ratio():
    empty = CompressionCounts.zeros(1, 2, 3)
    assert math.isnan(CompressionCurve((1, 4), 8, ("conv",), "nmf", False, empty).relative_auc)


def test_counts_add_and_curves_survive_a_file(tmp_path):
    c = curve()
    twice = c.counts + c.counts
    assert torch.equal(twice.correct, 2 * c.counts.correct)
    c.save(tmp_path / "curve.safetensors")
    again = CompressionCurve.load(tmp_path / "curve.safetensors")
    assert (again.ks, again.width, again.layers, again.method, again.residual) == (c.ks, 8, ("conv",), "nmf", False)
    assert torch.equal(again.counts.correct, c.counts.correct)
    assert again.auc == c.auc
