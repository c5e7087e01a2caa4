import pandas as pd
import pytest
import torch
from matplotlib import pyplot

from lightning_interp.functional.compression import CompressionCounts, CompressionCurve
from lightning_interp.plots import plot_compression_curve, plot_compression_history


@pytest.fixture
def curve():
    correct = torch.tensor([[1.0, 3, 7, 8, 9]]).T
    empty = torch.zeros(2, 3)
    return CompressionCurve(
        (1, 2, 8), 32, ("a", "b"), "nmf", False, CompressionCounts(correct, torch.tensor([10.0]), empty, empty)
    )


def test_the_curve_shows_both_ends_and_the_area(curve):
    figure = plot_compression_curve(curve)
    (axis,) = figure.axes
    points, full = axis.lines
    assert points.get_xydata().tolist() == [
        [0, pytest.approx(0.1)],
        [1, pytest.approx(0.3)],
        [2, pytest.approx(0.7)],
        [8, pytest.approx(0.8)],
        [32, pytest.approx(0.9)],
    ]
    assert full.get_ydata()[0] == pytest.approx(0.9)
    assert f"AuC {curve.auc:.3f}" in axis.get_legend().get_texts()[0].get_text()
    assert axis.get_title() == "NMF compression of a ... b (2 layers)"
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["0", "1", "2", "8", "32"]


def test_several_curves_are_told_apart(curve):
    axis = plot_compression_curve({"epoch 1": curve, "epoch 2": curve}).axes[0]
    assert [text.get_text().split(":")[0] for text in axis.get_legend().get_texts()] == ["epoch 1", "epoch 2"]
    assert axis.lines[0].get_color() != axis.lines[2].get_color()


def test_the_history_marks_best_and_stop():
    history = pd.DataFrame(
        {
            "epoch": [1.0, 2, 3],
            "auc": [0.1, 0.3, 0.2],
            "relative_auc": [1, 1.1, 0.9],
            "full_accuracy": [0.1, 0.3, 0.3],
            "test_accuracy": [0.1, 0.2, 0.2],
            "smoothed": [1, 1.05, 1],
        }
    )
    left, right = plot_compression_history(history, best=2, stopped=3).axes
    labels = [text.get_text() for text in left.get_legend().get_texts()]
    assert labels == [
        "AuC",
        "full-rank accuracy",
        "accuracy on test images",
        "weights kept: epoch 2",
        "stopped after epoch 3",
    ]
    assert "smoothed signal" in [text.get_text() for text in right.get_legend().get_texts()]


def test_figures_stay_out_of_the_registry_of_pyplot(curve):
    plot_compression_curve(curve)
    assert pyplot.get_fignums() == []
