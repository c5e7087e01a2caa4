"""When to stop: causal smoothing of the measured curve, a criterion, and a readable reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from lightning_interp._checks import check_choice, check_int, check_number

__all__ = ["Criterion", "Signal", "StopDecision", "decide_stop", "trailing_mean", "uninformative_checks"]

Signal = Literal["plain", "relative"]
Criterion = Literal["first_maximum", "below_one", "half_excess"]


@dataclass(frozen=True)
class StopDecision:
    """What the criterion says after the last check.

    Attributes:
        stop: Whether training should stop now.
        best: Index of the check whose weights to return, among all checks; ``None`` before there is one.
        wait: Checks in a row that have spoken for stopping.
        reason: One sentence for the user.
    """

    stop: bool
    best: int | None
    wait: int
    reason: str


def trailing_mean(values: Sequence[float], window: int) -> list[float]:
    """Mean of each value and the ``window - 1`` values before it (fewer at the start): causal smoothing.

    Args:
        values: The measured curve, oldest first.
        window: Number of checks in a mean; 1 leaves the curve as it is.

    Returns:
        As many values as came in.

    Raises:
        ValueError: If ``window`` is below 1.

    Example:
        >>> trailing_mean([1.0, 3.0, 5.0, 7.0], 2)
        [1.0, 2.0, 4.0, 6.0]

    Reference:
        Thesis, section 3.5.3 (there centred, with a radius of two epochs; a running training only has the past).
    """
    check_int(window, "window", "trailing_mean")
    spans = (values[max(0, i + 1 - window) : i + 1] for i in range(len(values)))
    return [sum(span) / len(span) for span in spans]


def decide_stop(
    values: Sequence[float],
    *,
    criterion: Criterion = "first_maximum",
    smoothing: int = 3,
    patience: int = 3,
    min_delta: float = 0.0,
    skip: int = 0,
) -> StopDecision:
    """Decide from the curve measured so far whether to stop, and which check's weights to return.

    The criteria, on the smoothed curve ``s``:

    - ``"first_maximum"``: ``patience`` checks in a row were not above the highest ``s`` by more than ``min_delta``;
      return that highest check.
    - ``"below_one"``: ``s`` was above ``1 - min_delta`` for ``patience`` checks in a row, and now has been below one,
      and more than ``min_delta`` below its peak, for as many; return the check before it fell. For the relative AuC:
      low ranks no longer classify as well as all of them. A curve that never stays near one never stops the run.
    - ``"half_excess"``: the same with the half-way line between one and the peak in place of one.

    Args:
        values: The measured curve (AuC or relative AuC), oldest check first.
        criterion: Name of the criterion.
        smoothing: Checks in the trailing mean.
        patience: Checks in a row that must confirm.
        min_delta: Changes up to this size do not count.
        skip: First checks that do not count, see :func:`uninformative_checks`.

    Returns:
        The decision after the last check.

    Raises:
        ValueError: If a name or number is out of range.

    Example:
        >>> decision = decide_stop([0.9, 1.1, 1.2, 1.0, 0.9, 0.8], smoothing=1)
        >>> decision.stop, decision.best
        (True, 2)

    Reference:
        Thesis, section 3.5.3, for the first maximum of the plain AuC; the others are this project's own.
    """
    check_choice(criterion, "criterion", "decide_stop", get_args(Criterion))
    check_number(min_delta, "min_delta", "decide_stop")
    check_int(skip, "skip", "decide_stop", low=0)
    check_int(patience, "patience", "decide_stop")
    smooth = trailing_mean(values[skip:], smoothing)
    if not smooth:
        return StopDecision(False, None, 0, "nothing to decide from yet")
    if criterion == "first_maximum":
        best, wait, event = _first_maximum(smooth, min_delta)
    else:
        best, wait, event = _crossing(smooth, 0.5 if criterion == "half_excess" else 0.0, min_delta, patience)
    decided = wait >= patience or event.startswith("not yet")
    state = event if decided else f"waiting: {wait} of {patience} checks confirm"
    return StopDecision(
        wait >= patience, best + skip, wait, state + (f" (trailing mean of {smoothing})" if smoothing > 1 else "")
    )


def uninformative_checks(full_accuracy: Sequence[float], *, chance: float, n_images: int) -> int:
    """Count the first checks at which the network does not yet do better than guessing.

    The relative AuC of a network that guesses is a ratio of two noises; a decision must not rest on it.

    Args:
        full_accuracy: Accuracy on the measured images, oldest check first.
        chance: Accuracy of the best constant guess on them.
        n_images: Number of those images.

    Returns:
        Checks before the first whose accuracy is three standard errors above ``chance``.

    Example:
        >>> uninformative_checks([0.10, 0.12, 0.25, 0.11], chance=0.1, n_images=1500)
        2
    """
    beaten = chance + 3 * (chance * (1 - chance) / n_images) ** 0.5
    return next((i for i, value in enumerate(full_accuracy) if value > beaten), len(full_accuracy))


def _first_maximum(smooth: Sequence[float], min_delta: float) -> tuple[int, int, str]:
    best = 0
    for i, value in enumerate(smooth):
        if value > smooth[best] + min_delta:
            best = i
    return best, len(smooth) - 1 - best, f"its first maximum was {smooth[best]:.3f}"


def _crossing(smooth: Sequence[float], share: float, min_delta: float, patience: int) -> tuple[int, int, str]:
    """Fallen below the line that keeps ``share`` of the peak's excess over one."""
    peaks = [max(smooth[: i + 1]) for i in range(len(smooth))]
    levels = [min(1 + share * max(0.0, peak - 1), peak - min_delta) for peak in peaks]
    below = [value < level for value, level in zip(smooth, levels, strict=True)]
    wait = _last_run(below)
    near = [value > 1 - min_delta and not under for value, under in zip(smooth, below, strict=True)]
    # A curve that is below one from the start, as with batch norm, or only touches it, has nothing to fall from.
    if max((_last_run(near[: i + 1]) for i in range(len(near))), default=0) < patience:
        return len(smooth) - 1, 0, f"not yet above one for {patience} checks"
    return len(smooth) - 1 - wait, wait, f"it fell from {peaks[-1]:.3f} to below {levels[-1]:.3f}"


def _last_run(flags: Sequence[bool]) -> int:
    """Number of true values the sequence ends with."""
    return next((i for i, flag in enumerate(reversed(flags)) if not flag), len(flags))
