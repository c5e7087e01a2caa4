"""The figures of image scores show the numbers they were given."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from lightning_interp.plots.selection import (
    plot_ranking_precision,
    plot_score_histogram,
    plot_score_intervals,
    plot_selection_history,
)


def heights(axis):
    return [[float(bar.get_height()) for bar in group] for group in axis.containers]


def ticks(axis):
    return [tick.get_text() for tick in axis.get_xticklabels()]


@pytest.fixture
def scored():
    generator = torch.Generator().manual_seed(0)
    scores = -5 * torch.rand(400, generator=generator)
    return scores, torch.rand(400, generator=generator) < (scores / 5).exp()


def test_intervals_hold_accuracy_and_share_of_every_group(scored):
    scores, correct = scored
    groups = {"train": (scores[:300], correct[:300]), "test": (scores[300:], correct[300:])}
    figure = plot_score_intervals(
        {name: s for name, (s, _) in groups.items()}, {name: c for name, (_, c) in groups.items()}, cuts=[-3.0, -1.0]
    )
    left, right = figure.axes
    for g, (s, c) in enumerate(groups.values()):
        inside = [s <= -3, (s > -3) & (s <= -1), s > -1]
        assert heights(left)[g] == pytest.approx([float(c[i].float().mean()) for i in inside])
        assert heights(right)[g] == pytest.approx([float(i.float().mean()) for i in inside])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["train", "test"]
    assert ticks(left) == ["≤ -3", "(-3, -1]", "> -1"]


def test_intervals_are_closed_on_the_right_like_those_of_the_paper():
    _, right = plot_score_intervals(torch.tensor([-1.0, -1.0, 0.0, 0.5]), torch.ones(4), cuts=[-1, 0]).axes
    assert heights(right) == [[0.5, 0.25, 0.25]]


def test_default_intervals_are_round_and_ignore_the_tail(scored):
    scores, correct = scored
    names = ticks(plot_score_intervals(scores, correct).axes[0])
    assert names[0] == "≤ -4.5"
    assert names[-2:] == ["(-1, -0.5]", "> -0.5"]
    scores[:3] = -1000.0
    assert ticks(plot_score_intervals(scores, correct).axes[0]) == names


def test_an_empty_interval_says_so_instead_of_showing_an_accuracy_of_zero():
    left, right = plot_score_intervals(torch.tensor([-3.0, 0.0]), torch.tensor([0, 1]), cuts=[-2, -1]).axes
    assert [text.get_text() for text in left.texts] == ["none"]
    assert left.texts[0].get_position()[0] == 1
    assert math.isnan(heights(left)[0][1])
    assert heights(right) == [[0.5, 0.0, 0.5]]


def test_equal_scores_and_images_without_score_are_no_problem():
    scores, correct = torch.tensor([0.0, 0.0, float("nan")]), torch.tensor([1, 0, 1])
    assert heights(plot_score_intervals(scores, correct).axes[1]) == [[1.0, 0.0]]
    assert plot_score_histogram(scores, correct).axes[0].get_title() == "Scores, n = 2, 50 % labelled correctly"


def test_the_histogram_counts_right_and_wrong_on_top_of_each_other(scored):
    scores, correct = scored
    axis = plot_score_histogram(scores, correct, bins=20).axes[0]
    right, wrong = heights(axis)
    assert (sum(right), sum(wrong)) == (correct.sum(), (~correct).sum())
    assert axis.containers[1][3].get_y() == right[3]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["correct", "wrong"]
    assert axis.get_xlabel() == "score (4 lower ones in the first bar)"


def test_the_histogram_without_truth_is_that_of_numpy(scored):
    scores, _ = scored
    scores = scores.clamp(min=-4)
    axis = plot_score_histogram(scores, bins=8).axes[0]
    assert heights(axis) == [np.histogram(scores.numpy(), 8)[0].tolist()]
    assert axis.get_legend() is None
    assert axis.get_xlabel() == "score"


HISTORY = pd.DataFrame(
    {
        "epoch": [1, 2, 3, 4, 3, 4],
        "training": ["supervised"] * 2 + ["softmax"] * 2 + ["image score"] * 2,
        "accuracy": [0.1, 0.5, 0.6, 0.6, 0.6, 0.7],
        "cat": [0.0, 0.4, 0.5, 0.5, 0.6, 0.8],
    }
)


def test_the_history_has_a_panel_per_accuracy_and_a_line_per_training():
    figure = plot_selection_history(HISTORY, retraining=3)
    assert [axis.get_title() for axis in figure.axes] == ["accuracy", "cat"]
    lines = figure.axes[1].lines
    assert [line.get_ydata().tolist() for line in lines[:3]] == [[0.0, 0.4], [0.5, 0.5], [0.6, 0.8]]
    assert lines[3].get_xdata()[0] == 3
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["supervised", "softmax", "image score", "retraining starts"]


def test_the_history_looks_at_the_epochs_that_matter():
    whole, late = plot_selection_history(HISTORY), plot_selection_history(HISTORY, retraining=3)
    assert whole.axes[0].get_ylim()[0] < 0.1
    assert late.axes[0].get_ylim() == pytest.approx((0.49, 0.71))


def test_a_class_without_test_images_leaves_its_panel_empty():
    history = HISTORY.assign(owl=float("nan"))
    (*_, panel) = plot_selection_history(history, retraining=3).axes
    assert all(np.isnan(line.get_ydata()).all() for line in panel.lines[:3])


def test_many_classes_leave_no_empty_panel():
    history = HISTORY.assign(**{f"class {i}": 0.5 for i in range(5)})
    assert len(plot_selection_history(history).axes) == 7


def test_precision_is_the_mean_over_seeds_with_its_range():
    rows = [
        {"ranking": ranking, "share": share, "precision": base - share + seed / 100}
        for ranking, base in (("image_score", 0.9), ("softmax", 1.0))
        for share in (0.5, 0.1)
        for seed in (-1, 0, 1)
    ]
    axis = plot_ranking_precision(pd.DataFrame(rows)).axes[0]
    line, _, (bars,) = axis.containers[0]
    assert line.get_xydata().tolist() == [pytest.approx([0.1, 0.8]), pytest.approx([0.5, 0.4])]
    assert [segment[:, 1].tolist() for segment in bars.get_segments()] == [
        pytest.approx([0.79, 0.81]),
        pytest.approx([0.39, 0.41]),
    ]
    assert ticks(axis) == ["10 %", "50 %"]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["image score", "softmax"]


@pytest.mark.parametrize(
    ("draw", "text"),
    [
        (lambda: plot_score_intervals({"a": torch.zeros(2)}, {"b": torch.zeros(2)}), r"same names .* \['a'\]. Got"),
        (lambda: plot_score_intervals(torch.zeros(2), torch.zeros(3)), r"`correct` .* must be of shape \(2,\)"),
        (lambda: plot_score_intervals(torch.zeros(0), torch.zeros(0)), "`scores` parameter of `plot_score_intervals`"),
        (lambda: plot_score_intervals(torch.zeros(1), torch.zeros(1), cuts=[1, 0]), "`cuts` .* must be increasing"),
        (lambda: plot_score_intervals(torch.zeros(1), torch.zeros(1), cuts=[]), "`cuts` .* must be increasing"),
        (lambda: plot_score_histogram(torch.zeros(0)), "`scores` parameter of `plot_score_histogram`"),
        (lambda: plot_selection_history(HISTORY[["epoch", "accuracy"]]), "columns epoch, training and at least one"),
        (lambda: plot_selection_history(HISTORY[["epoch", "training"]]), "columns epoch, training and at least one"),
        (lambda: plot_ranking_precision(pd.DataFrame({"ranking": []})), "Got 'one without precision, share'"),
    ],
)
def test_bad_input_is_named(draw, text):
    with pytest.raises(ValueError, match=text):
        draw()
