"""Whether what must hold does, in words, with the cases where it does not."""

from collections.abc import Iterable
from typing import Any

from benchmarks._inverse_set_chains import KINDS

MOST = 2.0  # steps after the seeds, in n / K
_PLACE = ("neuron", "level", "seed")
PEERS = (*KINDS, "random corners", "training images")


def claims(rows: list[dict[str, Any]], *, n: int, k: int) -> str:
    """About the rows of all seeds: samples found, in range, steps after the seeds, diversity over that of others."""
    own = [row for row in rows if row["sampler"] == "ours"]
    text = [_claim("All images in range", ((row, row["in range"], row["in range"] == 1) for row in own))]
    text.append(_claim("As many samples as wanted", ((row, row["images"], row["images"] == n) for row in own)))
    steps = ((row, row["steps after seeds"] * k / n, row["steps after seeds"] * k / n <= MOST) for row in own)
    text.append(_claim(f"Steps after the seeds at most {MOST:g} n / K", steps))
    others = {
        name: {_place(row): row for row in rows if row["sampler"] == name} for name in (*KINDS, "training images")
    }
    for name, found in others.items():
        for column in ("diversity", "diversity, all") if name in KINDS else ("diversity",):
            ratios = [(row, _ratio(row["diversity"], found.get(_place(row), {}).get(column))) for row in own]
            what = "those in range" if column == "diversity" else "all it takes, in range or not"
            known = ((row, ratio, ratio > 1) for row, ratio in ratios if ratio is not None)
            text.append(_claim(f"More diverse than {name} ({what})", known))
    return " ".join(text)


def _claim(what: str, cases: Iterable[tuple[dict[str, Any], float, bool]]) -> str:
    """The cases where it holds, the range of its values, and the cases where it does not."""
    judged = list(cases)
    if not judged:
        return f"{what}: no case."
    values = [value for _, value, _ in judged]
    text = f"{what}: in {sum(holds for *_, holds in judged)} of {len(judged)} ({min(values):.3g} to {max(values):.3g})"
    failed = [f"{_name(row)}: {value:.3g}" for row, value, holds in judged if not holds]
    return text + (f"; not: {'; '.join(failed)}." if failed else ".")


def _name(row: dict[str, Any]) -> str:
    return f"{row['neuron']} {row['level']}, seed {row['seed']}"


def _place(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in _PLACE)


def _ratio(value: float, other: float | None) -> float | None:
    return None if other is None else value / other
