"""How a signal is read: the published stopping rules, replayed causally on a recorded curve."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf, isfinite
from statistics import fmean, pstdev
from typing import Literal, get_args

from lightning_interp._checks import check_choice, check_int, check_number, message
from lightning_interp.functional.early_stopping import StopDecision, decide_stop, trailing_mean

__all__ = ["Replay", "Rule", "RuleKind"]

RuleKind = Literal["maximum", "minimum", "above", "below", "rises", "jump", "never"]


@dataclass(frozen=True)
class Replay:
    """Where a rule would have stopped a recorded run.

    Attributes:
        stopped: Index of the check after which training would have ended; the last one if it never would.
        best: Index of the check whose weights the rule returns.
        triggered: Whether the rule stopped the run.
    """

    stopped: int
    best: int
    triggered: bool


@dataclass(frozen=True)
class Rule:
    """When a signal stops the run, and which check's weights it returns.

    - ``"maximum"``, ``"minimum"``: ``patience`` checks in a row without a new one of the trailing mean; returns it.
    - ``"above"``, ``"below"``: the trailing mean is beyond ``threshold`` at ``patience`` checks in a row; returns the
      check at which it stops.
    - ``"rises"``: the trailing mean has risen ``patience`` times since the start, in a row or not; returns the check
      at which it stops.
    - ``"jump"``: the value exceeds the mean of the ``smoothing`` before it by two standard deviations; returns the
      check before.
    - ``"never"``: the run goes to its end.

    Attributes:
        kind: One of the above.
        smoothing: Checks in the trailing mean.
        patience: Checks that must confirm.
        threshold: Of ``"above"`` and ``"below"``.
        min_checks: No stop before so many checks.

    Raises:
        ValueError: If a name or number is out of range.

    Example:
        >>> Rule("minimum", smoothing=1, patience=2).replay([3.0, 2.0, 1.0, 2.0, 3.0, 0.0])
        Replay(stopped=4, best=2, triggered=True)
    """

    kind: RuleKind
    smoothing: int = 3
    patience: int = 3
    threshold: float = 0.0
    min_checks: int = 1

    def __post_init__(self) -> None:
        check_choice(self.kind, "kind", "Rule", get_args(RuleKind))
        for name in ("smoothing", "patience", "min_checks"):
            check_int(getattr(self, name), name, "Rule")
        check_number(self.threshold, "threshold", "Rule", low=-inf)

    def decide(self, values: Sequence[float]) -> StopDecision:
        """Decide from the checks so far.

        Args:
            values: The signal, oldest check first, not empty. A value that is not finite counts as the one before it;
                those before the first finite one do not count.

        Returns:
            Whether to stop now, and which check's weights to return.
        """
        known = _filled(values)
        last, skip = len(values) - 1, len(values) - len(known)
        if self.kind == "never" or not known:
            return StopDecision(False, last, 0, "runs to its end")
        if self.kind in ("maximum", "minimum"):
            sign = 1.0 if self.kind == "maximum" else -1.0
            turned = [0.0] * skip + [sign * v for v in known]
            return decide_stop(turned, smoothing=self.smoothing, patience=self.patience, skip=skip)
        if self.kind == "jump":
            stop = _jumped(known, self.smoothing)
            return StopDecision(stop, last - int(stop), int(stop), "the value jumped" if stop else "no jump yet")
        wait = self._wait(known)
        return StopDecision(wait >= self.patience, last, wait, f"{wait} checks {self.kind} {self.threshold:g}")

    def replay(self, values: Sequence[float]) -> Replay:
        """Follow a recorded run check by check until the rule stops it.

        Args:
            values: The signal at every check.

        Returns:
            Where it stops and what it returns; a rule that never stops returns the last check.

        Raises:
            ValueError: If there is no check.
        """
        if not values:
            raise ValueError(message("values", "Rule.replay", "one number per check, and at least one", values))
        for n in range(self.min_checks, len(values) + 1):
            decision = self.decide(values[:n])
            if decision.stop and decision.best is not None:
                return Replay(n - 1, decision.best, True)
        return Replay(len(values) - 1, len(values) - 1, False)

    def _wait(self, values: Sequence[float]) -> int:
        smooth = trailing_mean(values, self.smoothing)
        if self.kind == "rises":
            return sum(b > a for a, b in pairwise(smooth))
        beyond = [v > self.threshold if self.kind == "above" else v < self.threshold for v in smooth]
        return beyond[::-1].index(False) if False in beyond else len(beyond)


def _filled(values: Sequence[float]) -> list[float]:
    """The values from the first finite one on, each gap filled with the value before it."""
    known: list[float] = []
    for value in values:
        if isfinite(value) or known:
            known.append(float(value) if isfinite(value) else known[-1])
    return known


def _jumped(values: Sequence[float], window: int) -> bool:
    before = values[-1 - window : -1]
    if len(before) < window:
        return False
    mean = fmean(before)
    return values[-1] - mean > 2 * pstdev(before)
