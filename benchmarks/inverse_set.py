"""Images that excite a neuron to a level: how many do, how different they are, and what they cost.

    python -m benchmarks.inverse_set [--quick] [--part sampling|ablations|linear]

- ``sampling``: ours beside Langevin chains, activation maximisation with restarts, random codes and training images.
- ``ablations``: the equations 14 to 16 of the paper, other numbers of seeds, closer bounds.
- ``linear``: a neuron whose inverse set is known, against uniform samples of it.

A small network and a generator of toy scenes are trained first and kept under ``--cache``.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch

from benchmarks._inverse_set_ablations import changed, slow_variants, variants
from benchmarks._inverse_set_chains import tuned
from benchmarks._inverse_set_claims import claims
from benchmarks._inverse_set_linear import linear_rows
from benchmarks._inverse_set_samplers import (
    CHAINS,
    ENCODER,
    Sampler,
    Task,
    ours,
    random_codes,
    random_corners,
    restarts,
    training_images,
)
from benchmarks._inverse_set_scores import Judge, measured, over_seeds
from benchmarks._inverse_set_world import Setting, World, world
from benchmarks._results import RESULTS, write_results

PARTS = ("sampling", "ablations", "linear")
BOUNDS = 2.5
SAMPLERS: dict[str, Sampler] = {
    "activation maximisation": restarts,
    "random codes": random_codes,
    "random corners": random_corners,
    "training images": training_images,
}


@dataclass(frozen=True)
class Preset:
    """Sizes.

    Attributes:
        setting: Of the network and the generator.
        neurons: By layer.
        tuned_on: Neurons of the same layers, on which the settings of chains are chosen.
        levels: Quantiles over the training images between which activations are to be.
        n: Samples of every sampler.
        steps: Of gradient, at most: those of the chains.
        seeds: Of starts and noise; the network stays.
        ks: Numbers of seeds beside ten.
        few: Samples, where all are optimised to the end.
        rounds: Of that.
    """

    setting: Setting = field(default_factory=Setting)
    neurons: tuple[tuple[str, int], ...] = (("block3", 5), ("block3", 11), ("scores", 3), ("scores", 7))
    tuned_on: tuple[tuple[str, int], ...] = (("block3", 20), ("scores", 0))
    levels: tuple[tuple[float, float], ...] = ((0.4, 0.6), (0.8, 0.95))
    n: int = 500
    steps: int = 200
    seeds: tuple[int, ...] = (0, 1, 2)
    ks: tuple[int, ...] = (5, 20)
    few: int = 100
    rounds: int = 3


QUICK = Preset(
    Setting(scenes=200, width=4, code=8, decoder_width=2, epochs=2),
    neurons=(("scores", 1),),
    tuned_on=(("scores", 0),),
    levels=((0.2, 0.8),),
    n=20,
    steps=10,
    seeds=(0, 1),
    ks=(5,),
    few=20,
    rounds=1,
)


def run_sampling(preset: Preset, judge: Judge, out: Path) -> Path:
    rows: list[dict[str, Any]] = []
    tried: list[dict[str, Any]] = []
    for layer in dict.fromkeys(layer for layer, _ in preset.neurons):
        for level in preset.levels:
            chains, more = chosen_chains(preset, judge, layer, level)
            tried += more
            neurons = [neuron for neuron in preset.neurons if neuron[0] == layer]
            samplers = {"ours": ours, **chains, **SAMPLERS}
            for neuron in neurons:
                rows += measured(judge, tasks(preset, judge.world, neuron, level, preset.seeds), samplers)
    found = over_seeds(rows)
    notes = (
        f"{_about(preset, judge.world)} All start from the same normal codes within {BOUNDS} and get at most"
        f" {preset.steps} steps of {CHAINS} codes; ours has its defaults. Chains: see inverse_set_tuning; both take one"
        f" in {max(1, CHAINS * preset.steps // preset.n)} of their codes. Maximisation ends at the lower end of the"
        f" interval. Random: {CHAINS * preset.steps} codes, normal or at corners of the bounds. Diversity: mean"
        f" pairwise distance at {ENCODER} of those in range. Nearest training image: distance there, mean; of a"
        " training image, to the next one. Code size: root mean square, about 1 for images. Seconds: of the"
        " processor, one thread. Means over the seeds. What must hold, seed by seed; of diversity, ours over theirs: "
        + claims(rows, n=preset.n, k=CHAINS)
    )
    seeds = list(preset.seeds)
    write_results("inverse_set_tuning", tried, seeds=[_other_seed(preset)], notes=_TUNING, folder=out)
    return write_results("inverse_set", found, seeds=seeds, notes=notes, folder=out)


def run_ablations(preset: Preset, judge: Judge, out: Path) -> Path:
    rows: list[dict[str, Any]] = []
    level = preset.levels[-1]
    for neuron in {layer: (layer, index) for layer, index in reversed(preset.neurons)}.values():  # the first of each
        chains, _ = chosen_chains(preset, judge, neuron[0], level)
        quick = {name: changed(each) for name, each in variants(preset.ks, preset.few, chains).items()}
        slow = {name: changed(each) for name, each in slow_variants(preset.few, preset.rounds).items()}
        rows += measured(judge, tasks(preset, judge.world, neuron, level, preset.seeds), quick)
        rows += measured(judge, tasks(preset, judge.world, neuron, level, preset.seeds[:1]), slow)
    notes = (
        f"{_about(preset, judge.world)} Columns as in inverse_set. All to the end: {preset.rounds} rounds of 100 steps,"
        " first seed alone; a step is one of all codes, as in the paper. One start: all seeds begin at the same code."
    )
    return write_results("inverse_set_ablations", over_seeds(rows), seeds=list(preset.seeds), notes=notes, folder=out)


def run_linear(preset: Preset, out: Path) -> Path:
    notes = (
        f"A linear neuron in the unit cube of 6 numbers; {preset.n} samples against uniform ones (rejection), along the"
        " principal directions of the latter; the narrowest is across the slab. Samples keep away from each other, so"
        " that more of them are near the faces of the cube: ratios above 1 are meant to be. Means over the seeds."
    )
    rows = list(linear_rows(preset.seeds, preset.n))
    return write_results("inverse_set_linear", rows, seeds=list(preset.seeds), notes=notes, folder=out)


_TUNING = (
    "Chosen on a neuron that is not reported, for every layer and level: the most diverse in range of the settings"
    " with half of their codes in range; where there is none, the largest share."
)


@cache
def chosen_chains(
    preset: Preset, judge: Judge, layer: str, level: tuple[float, float]
) -> tuple[dict[str, Sampler], list[dict[str, Any]]]:
    """Chains with the settings that were best on another neuron of the layer, and all that were tried."""
    ((head, task),) = tasks(preset, judge.world, (layer, dict(preset.tuned_on)[layer]), level, (_other_seed(preset),))
    return tuned(judge, task, head)


def tasks(
    preset: Preset, on: World, neuron: tuple[str, int], level: tuple[float, float], seeds: Sequence[int]
) -> list[tuple[dict[str, Any], Task]]:
    """One for each seed, with the head of its row."""
    sizes = {"n": preset.n, "bounds": BOUNDS, "steps": preset.steps}
    found = [Task.at(on, neuron, level, **sizes, seed=seed) for seed in seeds]
    name = f"{100 * level[0]:g} to {100 * level[1]:g} %"
    head = {"neuron": f"{neuron[0]}[{neuron[1]}]", "level": name}
    return [
        (head | dict(zip(("low", "high"), each.interval, strict=True)) | {"seed": each.seed}, each) for each in found
    ]


def _other_seed(preset: Preset) -> int:
    return max(preset.seeds) + 1


def _about(preset: Preset, on: World) -> str:
    return (
        f"{preset.setting}; test accuracy {on.accuracy:.0%}, the generator's squared error {on.error:.0%} of the"
        f" variance. n = {preset.n}."
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, help="all by default")
    parser.add_argument("--quick", action="store_true", help="a tiny network, a few samples")
    parser.add_argument("--cache", type=Path, default=Path("data_cache/inverse_set"), help="folder of the networks")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    preset = QUICK if args.quick else Preset()
    parts = [args.part] if args.part else PARTS
    judge = Judge(world(preset.setting, args.cache)) if parts != ["linear"] else None
    for part in parts:
        if judge is None or part == "linear":
            path = run_linear(preset, args.out)
        else:
            path = {"sampling": run_sampling, "ablations": run_ablations}[part](preset, judge, args.out)
        print(path.read_text(), flush=True)


if __name__ == "__main__":
    main()
