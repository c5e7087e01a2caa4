"""The figure of signals says what it shows."""

import pandas as pd

from lightning_interp.plots import plot_signals

HISTORY = pd.DataFrame({"epoch": [1, 2, 3], "gwa": [0.1, 0.3, 0.2], "label_wave": [1.0, 0.5, 0.6]})
STOPS = pd.DataFrame(
    {"signal": ["gwa", "label_wave"], "stops": [True, False], "stops_after_epoch": [3, 3], "returns_epoch": [2, 3]}
)


def test_one_panel_per_signal_with_its_values():
    figure = plot_signals(HISTORY)
    assert [axis.get_title() for axis in figure.axes] == ["gwa", "label wave"]
    assert figure.axes[0].lines[0].get_ydata().tolist() == [0.1, 0.3, 0.2]
    assert {axis.get_xlabel() for axis in figure.axes} == {"epoch"}


def test_stops_are_marked_only_where_a_rule_stopped():
    first, second = plot_signals(HISTORY, STOPS).axes
    assert [line.get_xdata()[0] for line in first.lines[1:]] == [2, 3]
    assert len(second.lines) == 1


def test_many_signals_leave_no_empty_panel():
    history = HISTORY.assign(**{f"s{i}": [1, 2, 3] for i in range(4)})
    assert len(plot_signals(history).axes) == 6
