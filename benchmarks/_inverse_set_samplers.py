"""Ways to images that excite a neuron to a level: ours, chains, maximisation with restarts, and chance."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Generator, Tensor

from benchmarks._inverse_set_world import World
from lightning_interp.functional.inverse_set import (
    activation_quantiles,
    langevin_codes,
    problem,
    sample_inverse_set,
)
from lightning_interp.functional.inverse_set.problem import Problem
from lightning_interp.functional.synthesis import GeneratedImages, Objective, maximize_activation, unit

ENCODER = "block2"
CHAINS = 10
_BATCH = 500


@dataclass(frozen=True)
class Task:
    """What to sample.

    Attributes:
        world: The network and the generator.
        layer: Of the neuron; its maximum over places counts.
        index: Of the neuron.
        interval: Between which its activation is to be.
        n: Samples wanted.
        bounds: Of the numbers of a code.
        seed: Of everything random.
        steps: Of gradient, at most, where a sampler would go on for ever.
    """

    world: World
    layer: str
    index: int
    interval: tuple[float, float]
    n: int
    bounds: float
    seed: int
    steps: int = 200

    @classmethod
    def at(cls, world: World, neuron: tuple[str, int], quantiles: tuple[float, float], **sizes: Any) -> "Task":
        """The interval between two quantiles over the training images."""
        found = activation_quantiles(world.net, unit(*neuron, position="max"), [world.images], quantiles)
        low, high = found[0].tolist()
        return cls(world, *neuron, (low, high), **sizes)

    @property
    def objective(self) -> Objective:
        """The neuron."""
        return unit(self.layer, self.index, position="max")

    def start(self, k: int) -> Tensor:
        """The codes that every sampler starts from, normal numbers cut to the bounds, ``(k, code)``."""
        codes = torch.randn(k, *self.world.generator.code_shape, generator=Generator().manual_seed(self.seed))
        return codes.clamp(-self.bounds, self.bounds)

    def inside(self, activations: Tensor) -> Tensor:
        """Which of the activations ``(n,)`` are in the interval."""
        return (activations >= self.interval[0]) & (activations <= self.interval[1])

    @contextmanager
    def problem(self) -> Iterator[Problem]:
        """For samplers that ask for one."""
        world, levels, bounds = self.world, torch.tensor([self.interval]), (-self.bounds, self.bounds)
        with problem(world.net, [self.objective], levels, world.generator, ENCODER, bounds=bounds) as found:
            yield found


@dataclass(frozen=True)
class Drawn:
    """What a sampler made.

    Attributes:
        images: ``(m, C, H, W)``, inside or not.
        codes: Of which they were made, ``(m, code)``; None where they are no images of the generator.
        steps: Gradient steps, of all chains at once.
        differentiated: Images of which a gradient was taken.
        walk: Steps after the seeds; ours alone.
        seconds: Of the processor.
    """

    images: Tensor
    codes: Tensor | None = None
    steps: int = 0
    differentiated: int = 0
    walk: int | None = None
    seconds: float = 0.0


Sampler: TypeAlias = Callable[[Task], Drawn]


def timed(sampler: Sampler, task: Task) -> Drawn:
    """With its seconds."""
    start = time.process_time()
    drawn = sampler(task)
    return replace(drawn, seconds=time.process_time() - start)


def ours(task: Task, *, k: int = CHAINS, start: Tensor | None = None, **options: Any) -> Drawn:
    """``sample_inverse_set`` with its defaults."""
    full = options.get("method") == "full"
    k = task.n if full else k
    found = sample_inverse_set(
        task.world.net,
        task.objective,
        interval=task.interval,
        generator=task.world.generator,
        encoder=ENCODER,
        n=task.n,
        n_seeds=k,
        start=task.start(k) if start is None else start,
        bounds=(-task.bounds, task.bounds),
        seed=task.seed,
        **options,
    )
    seeds, walk = found.n_steps
    on = len(found.seeds.unique())
    return Drawn(found.images, found.codes, seeds + walk, k * seeds + on * walk, walk)


def chain(task: Task, **options: Any) -> Drawn:
    """Ten Langevin chains, one in so many of their codes taken."""
    every = max(1, task.steps * CHAINS // task.n)
    generator = Generator().manual_seed(task.seed)
    with task.problem() as found:
        codes, taken = langevin_codes(found, task.start(CHAINS), task.n, every=every, generator=generator, **options)
    return Drawn(_images(task, codes), codes, taken, CHAINS * taken)


def restarts(task: Task, *, lr: float = 0.05) -> Drawn:
    """Activation maximisation that ends at the lower end of the interval, anew until ``n`` or as long as the chains."""
    bounds, low = (-task.bounds, task.bounds), task.interval[0]
    images, done, differentiated = [], 0, 0
    for codes in task.start(task.n).split(CHAINS):
        made = GeneratedImages(task.world.generator, codes, bounds=bounds)
        options: dict[str, Any] = {"parameters": made, "regularizers": (), "steps": task.steps - done, "lr": lr}
        found = maximize_activation(task.world.net, task.objective, threshold=low, seed=task.seed, **options)
        images.append(found.images)
        done += max(1, len(found.trace) - 1)
        differentiated += int((found.trace < low).cummin(0).values.sum())  # an image that got there is finished
        if done >= task.steps:
            break
    return Drawn(torch.cat(images), steps=done, differentiated=differentiated)


def random_codes(task: Task) -> Drawn:
    """Codes of no search at all, normal as those of images are; as many as the chains differentiate."""
    codes = task.start(CHAINS * task.steps)
    return Drawn(_images(task, codes), codes)


def random_corners(task: Task) -> Drawn:
    """The same, each at a corner of the bounds: as far from each other as codes may be."""
    codes = task.bounds * task.start(CHAINS * task.steps).sign()
    return Drawn(_images(task, codes), codes)


def training_images(task: Task) -> Drawn:
    """What the neuron sees in training."""
    return Drawn(task.world.images)


@torch.no_grad()
def _images(task: Task, codes: Tensor) -> Tensor:
    return torch.cat([task.world.generator(part) for part in codes.split(_BATCH)])
