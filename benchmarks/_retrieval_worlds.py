"""Two toy worlds to search in: things of a kind, and streets that differ by the order of the same houses."""

from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from benchmarks._localization_scenes import CLASSES
from benchmarks._retrieval_streets import draw_streets
from lightning_interp.datasets import ToyScenes
from lightning_interp.datasets.image_tensors import Normalize


@dataclass(frozen=True)
class World:
    """A collection, and queries whose answers are known.

    Attributes:
        name: of the kind of world.
        images: pixels in [0, 1], ``(N, 3, H, W)``.
        queries: other pictures, ``(Q, 3, H, W)``.
        boxes: what is meant in them: left, top, right, bottom, ``(Q, 4)``.
        positives: numbers of the images that show it, for each query.
        others: pictures to learn a whitening on, of things that are not in the collection.
        groups: queries with a number in common share answers, so they count as one piece of evidence, ``(Q,)``.
        alike: numbers of the images that are made of the same things: the best guess of who sees only what there is.
    """

    name: str
    images: Tensor
    queries: Tensor
    boxes: Tensor
    positives: tuple[tuple[int, ...], ...]
    others: Tensor
    groups: tuple[int, ...]
    alike: tuple[tuple[int, ...], ...]

    def normalized(self, normalize: Normalize) -> "World":
        """The same, as a network takes images."""
        return replace(self, **{name: normalize(getattr(self, name)) for name in ("images", "queries", "others")})


def category_world(seed: int, *, side: int, n: int, n_queries: int, n_others: int) -> World:
    """Pictures of two objects of different classes, side by side; to be found are all with one of its class.

    No object is in two pictures.

    Args:
        seed: of the world.
        side: height; pictures are twice as wide.
        n: pictures of the collection.
        n_queries: for each class.
        n_others: to learn the whitening on.
    """
    parts = [n, n_queries * len(CLASSES), n_others]
    pictures, labels, boxes = _pairs(seed, sum(parts), side)
    images, queries, others = pictures.split(parts)
    known, asked, _ = labels.split(parts)
    groups = tuple(asked[:, 0].tolist())
    positives = tuple(_where((known == label).any(1)) for label in groups)
    return World("categories", images, queries, boxes.split(parts)[1], positives, others, groups, positives)


def instance_world(
    seed: int, *, side: int, families: int, orders: int, views: int, n_queries: int, n_others: int
) -> World:
    """Pictures of streets; to be found are those of the same street.

    The streets of a family are made of the same four houses in another order: only what stands beside what tells them
    apart.

    Args:
        seed: of the world.
        side: height; pictures are twice as wide.
        families: of streets.
        orders: streets of each family, up to 12.
        views: pictures of each street in the collection.
        n_queries: other pictures of each street.
        n_others: of other families, to learn the whitening on.
    """
    streets = torch.arange(families * orders)
    known, asked = streets.repeat_interleave(views), streets.repeat_interleave(n_queries)
    parts = [len(known), len(asked), n_others]
    shown = torch.cat([known, asked, len(streets) + torch.arange(n_others)])
    pictures, boxes = draw_streets(seed, shown, orders, side)
    images, queries, others = pictures.split(parts)
    positives = tuple(_where(known == street) for street in asked)
    groups = tuple((asked // orders).tolist())
    alike = tuple(_where(known // orders == family) for family in groups)
    return World("instances", images, queries, boxes.split(parts)[1], positives, others, groups, alike)


def _where(mask: Tensor) -> tuple[int, ...]:
    return tuple(mask.nonzero().flatten().tolist())


def _pairs(seed: int, n: int, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures, their two classes ``(n, 2)``, and the box of the object on the left ``(n, 4)``."""
    c, picture = len(CLASSES), torch.arange(n)
    scenes = ToyScenes(2 * c * n, size=side, seed=seed, split="test", views=1)
    further = torch.randint(1, c, (n,), generator=Generator().manual_seed(seed))
    labels = torch.stack([picture % c, (picture + further) % c], 1)
    rows = c * torch.stack([picture, picture + n], 1) + labels
    halves = [scenes.render(column.tolist()).float() / 255 for column in rows.T]
    boxes = torch.tensor([scenes.truth(row).object_box for row in rows[:, 0].tolist()])
    return torch.cat(halves, 3), labels, boxes.float()
