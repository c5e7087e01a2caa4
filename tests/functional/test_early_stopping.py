import pytest
import torch

from lightning_interp.functional import decide_stop, trailing_mean, uninformative_checks


def loop_first_maximum(values, window, patience, min_delta):
    """The rule, check by check, as a running training applies it: (check at which it stops, check it returns)."""
    best, best_value, wait = None, float("-inf"), 0
    for i in range(len(values)):
        past = values[max(0, i - window + 1) : i + 1]
        smooth = sum(past) / len(past)
        if smooth > best_value + min_delta:
            best, best_value, wait = i, smooth, 0
        else:
            wait += 1
        if wait >= patience:
            return i, best
    return None, best


def online(values, **options):
    """Feed the curve check by check, as a callback does."""
    for n in range(1, len(values) + 1):
        decision = decide_stop(values[:n], **options)
        if decision.stop:
            return n - 1, decision.best
    return None, decision.best


CURVES = [
    [0.1, 0.3, 0.5, 0.45, 0.44, 0.43, 0.9, 0.95],
    [0.5, 0.4, 0.3, 0.2, 0.1],
    [0.1, 0.2, 0.3, 0.4, 0.5],
    [0.3, 0.3, 0.3, 0.3],
    [1.19, 1.13, 1.04, 1.03, 0.97, 0.91, 0.88],
]


@pytest.mark.parametrize("values", CURVES)
@pytest.mark.parametrize("window", [1, 3])
@pytest.mark.parametrize("patience", [1, 3])
@pytest.mark.parametrize("min_delta", [0.0, 0.05])
def test_first_maximum_equals_the_loop(values, window, patience, min_delta):
    got = online(values, smoothing=window, patience=patience, min_delta=min_delta)
    assert got == loop_first_maximum(values, window, patience, min_delta)


def test_trailing_mean_is_causal():
    values = [3.0, 1.0, 4.0, 1.0, 5.0]
    whole = trailing_mean(values, 3)
    assert all(trailing_mean(values[:n], 3) == whole[:n] for n in range(1, 6))
    assert whole[-1] == pytest.approx(10 / 3)
    assert trailing_mean(values, 1) == values


def loop_crossing(values, patience, share, delta):
    """Armed by ``patience`` checks in a row near one, stopped by as many below the line."""
    armed, near, below, best, peak = False, 0, 0, None, 0.0
    for i, value in enumerate(values):
        peak = max(peak, value)
        line = 1 + share * (peak - 1) if peak > 1 else 1
        if value < line and value < peak - delta:
            below += 1
        else:
            below, best = 0, i
        near = near + 1 if value > 1 - delta and not below else 0
        armed = armed or near >= patience
        if armed and below >= patience:
            return i, best
    return None, best if armed else len(values) - 1


@pytest.mark.parametrize("delta", [0.0, 0.05])
@pytest.mark.parametrize(("criterion", "share"), [("below_one", 0.0), ("half_excess", 0.5)])
@pytest.mark.parametrize("patience", [1, 2, 3])
@pytest.mark.parametrize("seed", range(20))
def test_crossings_equal_the_loop(seed, patience, criterion, share, delta):
    values = (1 + 0.1 * torch.randn(14, generator=torch.Generator().manual_seed(seed))).tolist()
    got = online(values, criterion=criterion, smoothing=1, patience=patience, min_delta=delta)
    assert got == loop_crossing(values, patience, share, delta)


def test_a_plateau_just_below_one_counts_as_one_within_min_delta():
    """As on the toy scenes: a ratio of 0.95 to 1.00, then a clear fall."""
    values = [0.953, 0.951, 0.993, 1.004, 0.977, 0.997, 0.892, 0.889, 0.881]
    assert online(values, criterion="below_one", smoothing=1, min_delta=0.04) == (8, 5)
    assert online(values, criterion="below_one", smoothing=1) == (None, 8)


def test_below_one_returns_the_check_before_the_crossing():
    values = [0.8, 1.1, 1.2, 1.05, 0.97, 0.9, 0.9]
    assert online(values, criterion="below_one", smoothing=1) == (6, 3)
    assert online(values, criterion="below_one", smoothing=1, patience=1) == (4, 3)


def test_a_crossing_that_is_not_confirmed_is_forgotten():
    values = [1.1, 1.1, 0.9, 1.2, 0.9, 0.8]
    assert online(values, criterion="below_one", smoothing=1, patience=2) == (5, 3)


@pytest.mark.parametrize("criterion", ["below_one", "half_excess"])
@pytest.mark.parametrize("values", [[0.7, 0.8, 0.9, 0.8, 0.7], [1.02, 0.9, 0.9, 0.8, 0.7], [0.9, 1.1, 1.1, 0.8, 0.7]])
def test_a_curve_that_does_not_stay_above_one_never_stops(criterion, values):
    """As with batch norm: below one from the first check on, or after a single check above it."""
    assert online(values, criterion=criterion, smoothing=1) == (None, 4)


def test_half_excess_stops_half_way_down_from_the_peak():
    values = [1.0, 1.4, 1.3, 1.21, 1.19, 1.1]
    assert online(values, criterion="half_excess", smoothing=1, patience=1) == (4, 3)
    assert online(values, criterion="half_excess", smoothing=1, patience=2) == (5, 3)


def test_skipped_checks_do_not_count_and_indices_stay_global():
    values = [0.9, 0.1, 0.5, 0.4, 0.3]
    assert online(values, smoothing=1, patience=2) == (2, 0)
    assert online(values, smoothing=1, patience=2, skip=1) == (4, 2)
    assert decide_stop(values, skip=5).best is None


def test_checks_at_chance_are_uninformative():
    assert uninformative_checks([0.1, 0.11, 0.4, 0.1], chance=0.1, n_images=1500) == 2
    assert uninformative_checks([0.11, 0.11], chance=0.1, n_images=1500) == 2
    assert uninformative_checks([0.11], chance=0.1, n_images=100_000) == 0


def test_the_reason_says_what_happened():
    assert "its first maximum was 0.900" in decide_stop([0.1, 0.9, 0.2, 0.2, 0.2], smoothing=1).reason
    assert "waiting: 1 of 3" in decide_stop([0.1, 0.9, 0.2], smoothing=1).reason
    assert (
        "fell from 1.200 to below 1.000"
        in decide_stop([1.2, 0.8], smoothing=1, patience=1, criterion="below_one").reason
    )
    assert "not yet above one for 3 checks" in decide_stop([1.2, 0.8], smoothing=1, criterion="below_one").reason
    assert decide_stop([]).best is None


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"criterion": "first_max"}, ValueError, "Did you mean 'first_maximum'"),
        ({"smoothing": 0}, ValueError, r"`window` parameter .* must be an int in \[1, inf\). Got 0"),
        ({"patience": 0}, ValueError, "`patience`"),
        ({"patience": 1.5}, TypeError, "`patience`"),
        ({"min_delta": -0.1}, ValueError, "`min_delta`"),
    ],
)
def test_bad_options_are_named(options, error, text):
    with pytest.raises(error, match=text):
        decide_stop([1.0, 2.0], **options)
