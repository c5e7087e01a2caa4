"""Shared argument checks: one error grammar for the whole package.

Every message reads: The `k` parameter of `nmf` must be an int in [1, 64]. Got 0.
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any


def describe(value: object) -> str:
    """Short text for a value in an error message: numbers and strings as they are, arrays by type and shape."""
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"{type(value).__name__} of shape {tuple(shape)}"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def message(parameter: str, owner: str, must: str, value: object) -> str:
    """The one sentence in which the package reports a bad argument."""
    return f"The `{parameter}` parameter of `{owner}` must be {must}. Got {describe(value)}."


def check_int(value: Any, parameter: str, owner: str, *, low: int = 1, high: int | None = None) -> int:
    """Return ``value`` when it is an int in ``[low, high]``; bools and floats are refused."""
    must = f"an int in [{low}, {'inf)' if high is None else f'{high}]'}"
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(message(parameter, owner, must, value))
    if value < low or (high is not None and value > high):
        raise ValueError(message(parameter, owner, must, value))
    return value


def check_number(value: Any, parameter: str, owner: str, *, low: float = 0.0, high: float = float("inf")) -> float:
    """Return ``value`` as a float when it is a real number in ``[low, high]``."""
    must = f"a number in [{low:g}, {'inf)' if high == float('inf') else f'{high:g}]'}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(message(parameter, owner, must, value))
    if not low <= value <= high:
        raise ValueError(message(parameter, owner, must, value))
    return float(value)


def check_choice(value: Any, parameter: str, owner: str, choices: Sequence[str]) -> str:
    """Return ``value`` when it is one of ``choices``; a typo gets the closest choice suggested."""
    if isinstance(value, str) and value in choices:
        return value
    must = f"one of {', '.join(repr(choice) for choice in choices)}"
    raise ValueError(message(parameter, owner, must, value) + suggestion(value, choices))


def suggestion(name: object, known: Iterable[str]) -> str:
    """``" Did you mean 'relu1'?"`` when a known name is close, else an empty string."""
    close = get_close_matches(str(name), list(known), n=3, cutoff=0.6)
    return f" Did you mean {' or '.join(repr(match) for match in close)}?" if close else ""
