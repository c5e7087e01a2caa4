import math
import random
from itertools import product

import numpy as np
import pytest

from lightning_interp.functional.generalization import Replay, Rule

NAN = math.nan


def replayed(rule, values):
    """Every rule as one loop over the checks, as its paper runs it; (check at which it stops, check it returns)."""
    known, smooth = {}, {}
    best = best_value = previous = None
    wait = 0
    for t, value in enumerate(values):
        if math.isfinite(value):
            previous = value
        if previous is None:
            continue
        known[t] = previous
        past = list(known.values())
        smooth[t] = s = np.mean(past[-rule.smoothing :])
        stop, returned = False, t
        if rule.kind in ("maximum", "minimum"):
            if best is None or (s > best_value if rule.kind == "maximum" else s < best_value):
                best, best_value, wait = t, s, 0
            else:
                wait += 1
            stop, returned = wait >= rule.patience, best
        elif rule.kind in ("above", "below"):
            beyond = s > rule.threshold if rule.kind == "above" else s < rule.threshold
            wait = wait + 1 if beyond else 0
            stop = wait >= rule.patience
        elif rule.kind == "rises":
            wait += t - 1 in smooth and s > smooth[t - 1]
            stop = wait >= rule.patience
        elif rule.kind == "jump" and len(past) > rule.smoothing:
            window = past[-1 - rule.smoothing : -1]
            stop, returned = previous - np.mean(window) > 2 * np.std(window), t - 1
        if stop and t + 1 >= rule.min_checks:
            return Replay(t, returned, True)
    return Replay(len(values) - 1, len(values) - 1, False)


def curves():
    """Random walks and noise in steps of 1/8, whose means are exact, with gaps at the start and within."""
    draw = random.Random(0)
    for i in range(30):
        values, level = [], 0.0
        for _ in range(25):
            level = level * (i % 2) + draw.randint(-16, 16) / 8
            values.append(level)
        for gap in draw.sample(range(25), i % 4):
            values[gap] = draw.choice([NAN, math.inf, -math.inf])
        yield [NAN] * (i % 3) + values


@pytest.mark.parametrize("kind", ["maximum", "minimum", "above", "below", "rises", "jump", "never"])
@pytest.mark.parametrize(("smoothing", "patience"), [(1, 1), (2, 3), (4, 5)])
def test_replay_equals_the_loop(kind, smoothing, patience):
    triggered = set()
    for curve, threshold, min_checks in product(curves(), (0.0, 1.5), (1, 9)):
        rule = Rule(kind, smoothing=smoothing, patience=patience, threshold=threshold, min_checks=min_checks)
        got = rule.replay(curve)
        assert got == replayed(rule, curve)
        triggered.add(got.triggered)
    assert triggered == ({False} if kind == "never" else triggered | {True})


@pytest.mark.parametrize("kind", ["maximum", "minimum", "above", "below", "rises", "jump"])
def test_the_future_changes_no_decision(kind):
    rule = Rule(kind, smoothing=2, patience=2)
    for curve in curves():
        found = rule.replay(curve)
        for future in ([100.0] * 9, [-100.0] * 9, [NAN] * 9):
            if found.triggered:
                assert rule.replay([*curve[: found.stopped + 1], *future]) == found
        for n in range(1, found.stopped + 1):  # up to there it went on
            assert not rule.replay(curve[:n]).triggered


def test_a_rule_that_never_stops_returns_the_last_check():
    assert Rule("maximum").replay([1.0, 2.0, 3.0]) == Replay(2, 2, False)
    assert Rule("never").replay([3.0, 1.0, 2.0, 0.0]) == Replay(3, 3, False)
    assert Rule("above").replay([NAN, NAN]) == Replay(1, 1, False)


def test_the_smoothed_extremum_is_returned():
    values = [0.0, 9.0, 0.0, 6.0, 6.0, 0.0, 0.0, 0.0]
    assert Rule("maximum", smoothing=1, patience=3).replay(values) == Replay(4, 1, True)
    assert Rule("maximum", smoothing=2, patience=3).replay(values) == Replay(7, 4, True)


def test_rises_are_counted_from_the_start_in_a_row_or_not():
    values = [1.0, 2.0, 1.0, 1.0, 3.0, 2.0, 4.0, 5.0]
    assert Rule("rises", smoothing=1, patience=3).replay(values) == Replay(6, 6, True)
    assert Rule("rises", smoothing=1, patience=5).replay(values) == Replay(7, 7, False)


def test_crossings_must_be_confirmed_in_a_row():
    values = [-1.0, 1.0, -1.0, 1.0, 1.0]
    assert Rule("above", smoothing=1, patience=2).replay(values) == Replay(4, 4, True)
    assert Rule("below", smoothing=1, patience=2).replay(values) == Replay(4, 4, False)
    assert not Rule("above", smoothing=1, patience=1).replay([0.0, 0.0]).triggered  # at the threshold is not above it


def test_a_jump_needs_a_full_window_and_returns_the_check_before():
    rule = Rule("jump", smoothing=3)
    assert rule.replay([0.0, 9.0, 0.0]) == Replay(2, 2, False)
    assert rule.replay([1.0, 2.0, 3.0, 3.0, 9.0]) == Replay(4, 3, True)  # 3 <= 2 + 2 * 0.82 < 9
    assert not rule.replay([1.0, 2.0, 3.0, -9.0, -30.0]).triggered


def test_checks_before_the_first_value_do_not_count():
    """Label Wave has nothing to compare with at first; that must not be its minimum."""
    values = [0.5, 0.3, 0.2, 0.3, 0.4, 0.5]
    found = Rule("minimum", smoothing=1, patience=2).replay([NAN, *values])
    assert found == Replay(5, 3, True)
    assert Rule("rises", smoothing=1, patience=1).replay([NAN, 0.5, 0.4]) == Replay(2, 2, False)
    assert not Rule("jump", smoothing=2).replay([NAN, NAN, NAN, 0.5]).triggered


def test_a_gap_counts_as_the_value_before_it():
    for gap in (NAN, math.inf, -math.inf):
        assert Rule("maximum", smoothing=1, patience=2).replay([1.0, gap, gap]) == Replay(2, 0, True)
        assert Rule("above", smoothing=1, patience=3).replay([1.0, gap, gap]) == Replay(2, 2, True)


def test_no_stop_before_so_many_checks():
    values = [5.0, 4.0, 3.0, 2.0, 1.0]
    assert Rule("maximum", smoothing=1, patience=1).replay(values) == Replay(1, 0, True)
    assert Rule("maximum", smoothing=1, patience=1, min_checks=4).replay(values) == Replay(3, 0, True)
    assert Rule("maximum", smoothing=1, patience=1, min_checks=9).replay(values) == Replay(4, 4, False)


def test_the_decision_says_why():
    assert "its first maximum was 2.000" in Rule("maximum", smoothing=1, patience=1).decide([1.0, 2.0, 1.0]).reason
    assert Rule("above", smoothing=1).decide([1.0, 1.0]).reason == "2 checks above 0"
    assert Rule("rises", smoothing=1).decide([1.0, 2.0, 1.0, 2.0]).wait == 2
    assert Rule("jump", smoothing=2).decide([1.0, 1.0, 2.0]).reason == "the value jumped"
    assert Rule("jump", smoothing=2).decide([1.0, 1.0, 1.0]).reason == "no jump yet"


@pytest.mark.parametrize(
    ("kind", "options", "error", "text"),
    [
        ("maximun", {}, ValueError, "`kind` parameter of `Rule` must be one of .* Did you mean 'maximum'"),
        ("rises", {"smoothing": 0}, ValueError, r"`smoothing` parameter of `Rule` must be an int in \[1, inf\). Got 0"),
        ("rises", {"patience": 1.5}, TypeError, "`patience`"),
        ("rises", {"min_checks": -1}, ValueError, "`min_checks`"),
        ("above", {"threshold": NAN}, ValueError, "`threshold`"),
        ("above", {"threshold": "two"}, TypeError, "`threshold`"),
    ],
)
def test_bad_options_are_named(kind, options, error, text):
    with pytest.raises(error, match=text):
        Rule(kind, **options)


def test_no_checks_are_named():
    with pytest.raises(ValueError, match=r"`values` parameter of `Rule.replay` must be one number per check"):
        Rule("maximum").replay([])
