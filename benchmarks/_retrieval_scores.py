"""Descriptors side by side on toy worlds: average precision of every query, by method, whitening and use of the box."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import torch
from torch import Tensor, nn

from benchmarks._localization_scenes import Subject
from benchmarks._retrieval_worlds import World
from benchmarks._synthesis_peers import quiet
from lightning_interp.functional.retrieval.average_precision import average_precision
from lightning_interp.functional.retrieval.describer import DescriptorMethod
from lightning_interp.functional.retrieval.descriptors import BoxUse, describe_images, learn_whitening
from lightning_interp.functional.retrieval.query_expansion import expand_query
from lightning_interp.functional.retrieval.search import search
from lightning_interp.hooks import forward_to

EXPANSION = 5  # matches, as in the thesis
PLACES = 30
DEFAULT_K = 4
HEADLINE = {"categories": 2, "instances": 0}  # row of `Scores.precision` that the thesis looks at
METHODS = get_args(DescriptorMethod)
_ONLY_MAPS = nn.Sequential(nn.Identity())


@dataclass(frozen=True)
class Setting:
    """What a descriptor is.

    Attributes:
        method: of ``describe_images``.
        k: factors, for NMF.
        dim: of the whitening; None for none.
    """

    method: DescriptorMethod
    k: int = 4
    dim: int | None = None

    @property
    def is_nmf(self) -> bool:
        """Whether it has factors that a box can choose from."""
        return self.method.startswith("nmf")

    @property
    def boxes(self) -> tuple[BoxUse, ...]:
        """Uses of the box that it knows."""
        return ("factors", "crop") if self.is_nmf else ("crop",)


@dataclass(frozen=True)
class Scores:
    """How good the rankings of some worlds are.

    Attributes:
        setting: of the descriptor.
        box: its use.
        precision: average precision of every query: after one search, after a second one with what the first found, and
            of the first 30 places; ``(3, Q)``.
        groups: of the queries, ``(Q,)``; those of different worlds differ.
        fell_back: share of the queries that have no factor in their box.
    """

    setting: Setting
    box: BoxUse
    precision: Tensor
    groups: Tensor
    fell_back: float

    def by_group(self) -> Tensor:
        """Mean over the queries of every group, ``(3, groups)``."""
        return torch.stack([self.precision[:, self.groups == group].mean(1) for group in self.groups.unique()], 1)


@dataclass(frozen=True)
class Seen:
    """A world through a network; the maps of its images are the same for all methods, and computed once.

    Attributes:
        subject: the network.
        world: its images as the network takes them.
        maps: of the collection.
        other_maps: of the images to learn a whitening on.
    """

    subject: Subject
    world: World
    maps: Tensor
    other_maps: Tensor


def see(subject: Subject, world: World) -> Seen:
    """Run all images through a network."""
    world = world.normalized(subject.normalize)
    with forward_to(subject.net, subject.layer) as features, torch.no_grad():
        maps, others = (
            torch.cat([features(batch)[subject.layer] for batch in images.split(32)])
            for images in (world.images, world.others)
        )
    return Seen(subject, world, maps, others)


def measured(setting: Setting, worlds: Sequence[Seen], boxes: Sequence[BoxUse] | None = None) -> list[Scores]:
    """The scores of a descriptor for each use of the box, all that it knows by default."""
    boxes = boxes or setting.boxes
    found = [_in_world(setting, seen, boxes) for seen in worlds]
    groups = torch.cat([torch.tensor(seen.world.groups) + 1000 * i for i, seen in enumerate(worlds)])
    scores = []
    for box in boxes:
        precision, fell_back = zip(*(each[box] for each in found), strict=True)
        scores.append(Scores(setting, box, torch.cat(precision, 1), groups, sum(fell_back) / len(groups)))
    return scores


def _in_world(setting: Setting, seen: Seen, boxes: Sequence[BoxUse]) -> dict[BoxUse, tuple[Tensor, int]]:
    """Average precision ``(3, Q)`` and how many queries fell back, for each use of the box."""
    subject, world = seen.subject, seen.world
    options: dict[str, Any] = {"method": setting.method, "k": setting.k}
    whole = {"model": subject.net, "layer": subject.layer}
    short = {"model": _ONLY_MAPS, "layer": "0"} if setting.method != "cam" else whole  # CAM asks for the classifier
    images, others = (seen.maps, seen.other_maps) if short is not whole else (world.images, world.others)
    if setting.dim is not None:
        options["whitening"] = learn_whitening(loader=others.split(32), dim=setting.dim, **short, **options)
    database = describe_images(loader=images.split(32), **short, **options).vectors
    found = {}
    for box in boxes:
        with quiet():  # it warns of every query that has no factor in its box; they are counted
            asked = describe_images(loader=[world.queries], boxes=world.boxes, box=box, **whole, **options)
        found[box] = (precision(asked.vectors, database, world), len(asked.fell_back))
    return found


def precision(queries: Tensor, database: Tensor, world: World) -> Tensor:
    """Average precision: one search, two searches, first places of one; ``(3, Q)``."""
    once = search(queries, database).indices
    twice = search(expand_query(queries, database, n=EXPANSION), database).indices
    rows = []
    for rankings, at in ((once, None), (twice, None), (once, PLACES)):
        pairs = zip(rankings, world.positives, strict=True)
        rows.append(torch.tensor([average_precision(ranking, known, at=at) for ranking, known in pairs]))
    return torch.stack(rows)


def chosen(method: DescriptorMethod, world: Seen, ks: Sequence[int], dims: Sequence[int]) -> Setting:
    """Factors, and then dimensions of the whitening, that are best on a world of its own, with the box as published."""
    setting = Setting(method, DEFAULT_K, max(dims))
    if setting.is_nmf:
        setting = _best([replace(setting, k=k) for k in ks], world)
    return _best([replace(setting, dim=dim) for dim in dims], world)


def _best(settings: Sequence[Setting], world: Seen) -> Setting:
    def score(setting: Setting) -> float:
        (found,) = measured(setting, [world], setting.boxes[:1])
        return float(found.precision[HEADLINE[world.world.name]].mean())

    return max(settings, key=score)


def all_scores(
    calibration: Seen,
    worlds: Sequence[Seen],
    methods: Sequence[DescriptorMethod],
    ks: Sequence[int],
    dims: Sequence[int],
) -> Iterator[Scores]:
    """Every method, plain and whitened, for each use of the box."""
    for method in methods:
        whitened = chosen(method, calibration, ks, dims)
        for setting in (replace(whitened, dim=None), whitened):
            yield from measured(setting, worlds)
