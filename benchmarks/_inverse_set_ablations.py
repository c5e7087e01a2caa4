"""What each part of the method is for: sections 4.1 to 4.3 of the paper, and the number of seeds."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from benchmarks._inverse_set_samplers import Drawn, Sampler, Task, ours

Variant: TypeAlias = tuple[Sampler, dict[str, Any]]
NEAR = 1.0  # bounds that keep codes as large as those of images


def variants(ks: tuple[int, ...], few: int, chains: dict[str, Sampler]) -> dict[str, Variant]:
    """Samplers by name, and what they change in the task; ``few`` samples are what is compared with equation 16."""
    small, near = {"n": few}, {"bounds": NEAR}
    found: dict[str, Variant] = {"ours": (ours, {})}
    found |= {f"ours, K = {k}": (partial(ours, k=k), {}) for k in ks}
    found["distances of codes (eq. 14)"] = (partial(ours, repulsion="codes"), {})
    found["no distances (eq. 15)"] = (partial(ours, repulsion=None), {})
    found["one start"] = (from_one_start, {})
    found["one start, no distances (eq. 15)"] = (partial(from_one_start, repulsion=None), {})
    found[f"n = {few}"] = (ours, small)
    found[f"codes within {NEAR:g}: ours"] = (ours, near)
    return found | {f"codes within {NEAR:g}: {name}": (sampler, near) for name, sampler in chains.items()}


def slow_variants(few: int, rounds: int) -> dict[str, Variant]:
    """Those that are too slow for every seed."""
    return {f"n = {few}, all to the end (eq. 16)": (partial(ours, method="full", rounds=rounds), {"n": few})}


def from_one_start(task: Task, **options: Any) -> Drawn:
    """All seeds from the same code, as in section 4.2 of the paper."""
    return ours(task, start=task.start(1), **options)


def changed(variant: Variant) -> Callable[[Task], Drawn]:
    """The sampler with its change of the task."""
    sampler, change = variant
    return lambda task: sampler(replace(task, **change))
