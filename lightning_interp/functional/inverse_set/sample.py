"""The inverse set of a neuron: all kinds of images that excite it to a given level."""

import warnings
from collections.abc import Iterable, Sequence
from math import ceil
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Generator, Tensor, nn

from lightning_interp._checks import check_choice, check_int, message
from lightning_interp.exceptions import MeasurementWarning
from lightning_interp.functional.inverse_set.generators import as_generator
from lightning_interp.functional.inverse_set.intervals import Interval, activation_quantiles, checked_intervals
from lightning_interp.functional.inverse_set.lagrangian import Repulsion
from lightning_interp.functional.inverse_set.problem import (
    Encoder,
    Problem,
    check_differentiable,
    problem,
)
from lightning_interp.functional.inverse_set.result import InverseSet
from lightning_interp.functional.inverse_set.seeds import Run, find_seeds
from lightning_interp.functional.inverse_set.walk import walk
from lightning_interp.functional.synthesis import channel
from lightning_interp.functional.synthesis import unit as one_unit
from lightning_interp.functional.synthesis._scores import Position
from lightning_interp.functional.synthesis.objectives import Objective

__all__ = ["SamplingMethod", "sample_inverse_set"]

SamplingMethod: TypeAlias = Literal["walk", "full"]
_OWNER = "sample_inverse_set"
_PATIENCE = 8  # gradient steps of the walk, in n / K, before it gives up


@torch.inference_mode(False)
def sample_inverse_set(
    model: nn.Module,
    layer: str | Objective | Sequence[str | Objective],
    *,
    unit: int | Sequence[int] | None = None,
    interval: Interval | Sequence[Interval] | None = None,
    quantiles: Interval | None = None,
    data: Iterable[Any] | None = None,
    position: Position | Literal["mean"] = "max",
    generator: Any,
    encoder: Encoder,
    n: int = 500,
    n_seeds: int = 10,
    start: Tensor | None = None,
    code_shape: Sequence[int] | int | None = None,
    output_range: tuple[float, float] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    bounds: tuple[float | Tensor, float | Tensor] | None = None,
    repulsion: Repulsion = "encoder",
    method: SamplingMethod = "walk",
    rounds: int = 6,
    steps: int = 100,
    batch_size: int = 64,
    seed: int = 0,
) -> InverseSet:
    """Sample images that excite a neuron to a level, as different from each other as they get.

    First ``n_seeds`` codes are driven into the interval and apart, by an augmented Lagrangian. Then single gradient
    steps, with the multipliers kept, walk on from there: every step gives a new sample for each code inside. Codes walk
    to where nothing is farther from the others, and samples late in the walk of one seed resemble each other.

    Args:
        model: The network; it runs in eval mode and is left as it was.
        layer: Layer of the neuron, or an objective such as ``logit(3)``; several of either for the intersection.
        unit: The neuron in the layer; one for each layer.
        interval: ``(z1, z2)``: the level, both ends included; one for each neuron.
        quantiles: In place of ``interval``: two quantiles of the neuron's activations over ``data``.
        data: Batches of images, or of tuples that begin with them.
        position: Of a map what counts: its ``"max"``, its ``"mean"``, its ``"center"``, or row and column.
        generator: From codes to images: see :func:`~lightning_interp.functional.inverse_set.generators.as_generator`.
        encoder: By which distances are measured: an early layer of ``model``, or a function from images to features.
        n: Samples.
        n_seeds: Codes that walk in parallel, K; more of them take longer to find, and walk less far.
        start: Codes to start from, ``(K, *code_shape)``. By default the encoder's answers to random images, where these
            are codes, else normal random numbers.
        code_shape: Of one code, where the generator does not tell.
        output_range: What the generator's darkest and brightest pixels are, where they are not as the network takes
            them, such as ``(-1, 1)``.
        mean: Of the network's images, per channel; None if it takes pixels in [0, 1].
        std: Likewise.
        bounds: Lowest and highest numbers of a code.
        repulsion: Distances between images, by the ``"encoder"``, or between ``"codes"`` (eq. 14), or None (eq. 15).
        method: ``"walk"``, or ``"full"``: all ``n`` codes are driven apart to the end (eq. 16), which is slow.
        rounds: Of the augmented Lagrangian, at most.
        steps: Gradient steps of a round.
        batch_size: Codes that are differentiated at once: bounds the memory.
        seed: Of everything random.

    Returns:
        The samples; every one was found inside its intervals by a pass of its own. Fewer than ``n``, with a warning,
        where the walk does not find them.

    Raises:
        ValueError: An option is out of range, no image was found inside the interval (the range that was reached is
            said), the generator's images do not fit the network, or the encoder cannot be differentiated.
        TypeError: An option of another type.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 3))
        >>> draw = nn.Sequential(nn.Linear(6, 3 * 8 * 8), nn.Sigmoid(), nn.Unflatten(1, (3, 8, 8)))
        >>> level = {"quantiles": (0.3, 0.6), "data": [draw(torch.randn(50, 6)).detach()]}
        >>> found = sample_inverse_set(
        ...     net, "2", unit=5, **level, generator=draw, output_range=(0, 1), encoder="1", n=20, n_seeds=4
        ... )
        >>> len(found), bool(found.to_dataframe().in_range.all())
        (20, True)

    Reference:
        Hada and Carreira-Perpinan, Sampling the "Inverse Set" of a Neuron, 2020, equations 6 to 16; the constraint
        there leaves the upper end open, here both ends hold.
    """
    check_choice(method, "method", _OWNER, get_args(SamplingMethod))
    check_choice(repulsion or "encoder", "repulsion", _OWNER, ("encoder", "codes"))
    for name, number in {"n_seeds": n_seeds, "rounds": rounds, "steps": steps, "batch_size": batch_size}.items():
        check_int(number, name, _OWNER)
    check_int(n, "n", _OWNER)
    random = Generator().manual_seed(check_int(seed, "seed", _OWNER, low=0))
    objectives = _objectives(layer, unit, position)
    levels = _levels(model, objectives, interval, quantiles, data)
    made = as_generator(generator, code_shape=code_shape, output_range=output_range, mean=mean, std=std)
    k = n if method == "full" else min(n_seeds, n)
    with problem(model, objectives, levels, made, encoder, bounds=bounds) as found:
        codes = found.restrict(_start(found, start, k, random))
        made.check_range(codes)
        check_differentiable(found, codes[:2], encoder)
        run = Run(len(objectives))
        options: dict[str, Any] = {"rounds": rounds, "steps": steps, "batch_size": batch_size}
        to_the_end = method == "full"
        seeds, lagrangian = find_seeds(found, codes, run, repulsion=repulsion, to_the_end=to_the_end, **options)
        _check_reached(len(seeds), run, objectives, levels)
        patience = _PATIENCE * ceil(n / len(seeds))
        codes, places = walk(lagrangian, seeds, n, run, generator=random, max_steps=patience)
        return _verified(found, objectives, levels, run, codes, places, n, batch_size)


def _objectives(
    layer: str | Objective | Sequence[str | Objective], unit: int | Sequence[int] | None, position: Any
) -> list[Objective]:
    layers = [layer] if isinstance(layer, str | Objective) else list(layer)
    units = [] if unit is None else [unit] if isinstance(unit, int) else list(unit)
    n_names = sum(isinstance(each, str) for each in layers)
    if len(units) != n_names:
        raise ValueError(message("unit", _OWNER, f"one unit for each of {n_names} layers", unit))
    if not layers:
        raise ValueError(message("layer", _OWNER, "one layer or objective at least", layer))
    remaining = iter(units)
    make = channel if position == "mean" else lambda name, index: one_unit(name, index, position=position)
    return [make(each, next(remaining)) if isinstance(each, str) else each for each in layers]


def _levels(
    model: nn.Module, objectives: list[Objective], interval: Any, quantiles: Interval | None, data: Any
) -> Tensor:
    if (interval is None) == (quantiles is None):
        must = "given, or `quantiles` and `data`, but not both"
        raise ValueError(message("interval", _OWNER, must, interval))
    if quantiles is None:
        return checked_intervals(interval, len(objectives))
    checked_intervals(quantiles, 1)
    if data is None:
        raise ValueError(message("data", _OWNER, "the images over which `quantiles` are taken", data))
    levels = activation_quantiles(model, objectives, data, quantiles)
    for objective, (low, high) in zip(objectives, levels.tolist(), strict=True):
        if not low < high:
            must = f"quantiles that differ; both are {low:g} for {objective.name}, which is often that"
            raise ValueError(message("quantiles", _OWNER, must, quantiles))
    return levels


def _start(found: Problem, start: Tensor | None, k: int, random: Generator) -> Tensor:
    device, shape = found.low.device, found.generator.code_shape
    if start is not None:
        if start.shape[1:] != shape or not len(start):
            raise ValueError(message("start", _OWNER, f"codes (K, {', '.join(map(str, shape))})", start))
        places = torch.randperm(len(start), generator=random)
        return start.detach()[places[torch.arange(k) % len(start)]].float().to(device)
    codes = torch.randn(k, *shape, generator=random).to(device)
    with torch.no_grad():
        pixels = torch.rand(found.look(codes).images.shape, generator=random).to(device)
        answers = found.encode(found.generator.space.to_network(pixels))
    return answers.float() if answers.shape[1:] == shape else codes


def _check_reached(n_seeds: int, run: Run, objectives: list[Objective], levels: Tensor) -> None:
    if n_seeds:
        return
    met = zip(objectives, levels.tolist(), run.reached.tolist(), strict=True)
    text = "; ".join(f"{each.name} in [{a:g}, {b:g}] was between {x:g} and {y:g}" for each, (a, b), (x, y) in met)
    must = f"an interval that images of this generator reach, all at once. In {len(run.trace)} steps {text}"
    silent = bool((run.reached[:, 0] == run.reached[:, 1]).any())
    ways = " A neuron that never changed has no gradient: pass a `start` at which it responds." if silent else ""
    raise ValueError(message("interval", _OWNER, must, levels.tolist()) + ways)


def _verified(
    found: Problem,
    objectives: list[Objective],
    levels: Tensor,
    run: Run,
    codes: Tensor,
    places: Tensor,
    n: int,
    batch_size: int,
) -> InverseSet:
    """Measure the finished samples anew, and keep what is inside."""
    device = found.low.device
    with torch.no_grad():
        parts = [found.look(part.to(device)) for part in codes.split(batch_size)]
    images, activations, features = (
        torch.cat([getattr(part, name).cpu() for part in parts]) for name in ("images", "activations", "features")
    )
    inside = ((activations >= levels[:, 0]) & (activations <= levels[:, 1])).all(1)
    if int(inside.sum()) < n:
        text = f"`{_OWNER}` found {int(inside.sum())} of {n} samples: the set is hard to walk in. Try more `n_seeds`."
        warnings.warn(text, MeasurementWarning, stacklevel=3)
    return InverseSet(
        names=tuple(objective.name for objective in objectives),
        images=images[inside],
        codes=codes[inside],
        activations=activations[inside],
        features=features[inside],
        seeds=places[inside],
        intervals=levels,
        reached=run.reached,
        trace=torch.tensor(run.trace),
        space=found.generator.space,
    )
