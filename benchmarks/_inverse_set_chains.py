"""The best that Langevin chains can do: their step sizes are chosen on a neuron that is not reported."""

from functools import partial
from typing import Any

from benchmarks._inverse_set_samplers import Sampler, Task, chain, timed
from benchmarks._inverse_set_scores import Judge

KINDS: dict[str, float | None] = {"chain": None, "chain, drawn to the middle": 0.5}
SETTINGS: tuple[dict[str, float], ...] = (
    {"noise": 0.01, "condition": 0.1, "prior": 0.01},  # the defaults
    {"noise": 0.14, "condition": 0.5, "prior": 0.01},  # without condition its codes stay normal
    {"noise": 0.03, "condition": 1.5, "prior": 0.0},
    {"noise": 0.3, "condition": 1.5, "prior": 0.0},
    {"noise": 0.3, "condition": 4.0, "prior": 0.0},
    {"noise": 1.2, "condition": 4.0, "prior": 0.0},
)
_HALF = 0.5


def tuned(judge: Judge, task: Task, head: dict[str, Any]) -> tuple[dict[str, Sampler], list[dict[str, Any]]]:
    """The chains for one layer and level, and a row for each setting that was tried.

    The most diverse in range of those with half of their codes in range; where none has, the largest share.
    """
    samplers: dict[str, Sampler] = {}
    rows: list[dict[str, Any]] = []
    for kind, towards in KINDS.items():
        tried = []
        for setting in SETTINGS:
            found = judge(task, timed(partial(chain, towards=towards, **setting), task))
            scores = {name: found[name] for name in ("in range", "diversity", "code size") if name in found}
            tried.append({**head, "sampler": kind, **setting, **scores})
        best = max(tried, key=_worth)
        rows += [{**row, "chosen": row is best} for row in tried]
        chosen = {name: best[name] for name in ("noise", "condition", "prior")}
        samplers[kind] = partial(chain, towards=towards, **chosen)
    return samplers, rows


def _worth(row: dict[str, Any]) -> tuple[bool, float]:
    enough = row["in range"] >= _HALF
    return enough, row["diversity"] if enough else row["in range"]
