"""Areas that units and concepts have in common, counted image by image."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from lightning_interp._checks import message

__all__ = ["ConceptAreas", "Concepts", "LabelPlanes", "active_pixels", "count_areas", "label_planes"]

_PIXELS_AT_ONCE = 2**24
_CELLS_AT_ONCE = 2**15


@dataclass(frozen=True)
class Concepts:
    """The concepts of a dataset in one list.

    Attributes:
        categories: Names of the categories.
        names: Names of all concepts, category by category, without "unlabelled".
        category: Number of the category of every concept, ``(C,)``.
        first: Number of the first concept of every category.
    """

    categories: tuple[str, ...]
    names: tuple[str, ...]
    category: Tensor
    first: tuple[int, ...]

    @classmethod
    def of(cls, concepts: Mapping[str, Sequence[str]]) -> "Concepts":
        """From category -> names, entry 0 of which means unlabelled."""
        sizes = [len(names) - 1 for names in concepts.values()]
        if not concepts or min(sizes) < 1:
            must = "a mapping from category to a list of names, 'unlabelled' and at least one concept"
            raise ValueError(message("concepts", "network_dissection", must, dict(concepts)))
        names = tuple(name for group in concepts.values() for name in group[1:])
        category = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        first = tuple(sum(sizes[:i]) for i in range(len(sizes)))
        return cls(tuple(concepts), names, category, first)


@dataclass(frozen=True)
class ConceptAreas:
    """Pixels counted over images; those of disjoint sets of images add up.

    Attributes:
        intersection: Pixels where a unit is active and a concept is present, ``(units, C)``.
        unit: Pixels where a unit is active, in images annotated with a category, ``(units, categories)``.
        concept: Pixels of each concept, ``(C,)``.
    """

    intersection: Tensor
    unit: Tensor
    concept: Tensor

    @classmethod
    def zeros(cls, n_units: int, concepts: Concepts, *, device: torch.device | None = None) -> "ConceptAreas":
        """Of no images."""
        shapes = (n_units, len(concepts.names)), (n_units, len(concepts.categories)), (len(concepts.names),)
        return cls(*(torch.zeros(shape, dtype=torch.float64, device=device) for shape in shapes))

    def __add__(self, other: "ConceptAreas") -> "ConceptAreas":
        return ConceptAreas(
            self.intersection + other.intersection, self.unit + other.unit, self.concept + other.concept
        )

    def iou(self, concepts: Concepts) -> Tensor:
        """Intersection over union, ``(units, C)``; the union runs over images annotated with the concept's category."""
        union = self.unit[:, concepts.category.to(self.unit.device)] + self.concept - self.intersection
        return torch.where(union > 0, self.intersection / union, 0.0).float()


@dataclass(frozen=True)
class LabelPlanes:
    """What is annotated in one image at one resolution, a row of pixels per plane.

    Attributes:
        size: Height and width.
        planes: ``(L + K, H * W)`` float32: where each of ``L`` concepts is, then where each of ``K`` categories is
            annotated.
        concepts: Numbers of the concepts, ``(L,)``.
        categories: Numbers of the categories, ``(K,)``.
    """

    size: tuple[int, int]
    planes: Tensor
    concepts: Tensor
    categories: Tensor


def label_planes(target: Mapping[str, Any], concepts: Concepts, image_size: tuple[int, int]) -> list[LabelPlanes]:
    """The planes of one image, one entry per resolution of its masks; whole-image labels go with the largest.

    Args:
        target: Category -> mask ``(h, w)``, stack of masks ``(L, h, w)`` or number of a concept; 0 is unlabelled, and
            pixels below 0 are not annotated.
        concepts: All concepts.
        image_size: Resolution where no category has a mask.

    Raises:
        ValueError: An unknown category or concept, or a mask of another shape.
    """
    masks = {name: _checked(value, name, concepts) for name, value in target.items()}
    sizes = [tuple(mask.shape[-2:]) for mask in masks.values() if mask.ndim]
    whole = max(sizes, key=lambda size: size[0] * size[1], default=image_size)
    found: dict[tuple[int, int], list[tuple[int, Tensor, Tensor, Tensor]]] = {}
    for name, mask in masks.items():
        k = concepts.categories.index(name)
        stack = mask if mask.ndim == 3 else mask.expand(1, *(mask.shape or whole))
        present = stack.unique()
        present = present[present > 0]
        same, looked_at = stack[None] == present[:, None, None, None], stack >= 0
        # Few masks are stacked, and to reduce a single layer would cost more than all the rest.
        same, looked_at = (same.any(1), looked_at.all(0)) if len(stack) != 1 else (same[:, 0], looked_at[0])
        planes, known = same.flatten(1), looked_at.flatten()
        size = (stack.shape[-2], stack.shape[-1])
        found.setdefault(size, []).append((k, planes & known, present - 1 + concepts.first[k], known))
    return [_joined(size, parts) for size, parts in found.items()]


def _checked(value: Any, category: str, concepts: Concepts) -> Tensor:
    mask = torch.as_tensor(value)
    if category not in concepts.categories or mask.ndim > 3 or mask.ndim == 1:
        must = f"a mask (h, w), masks (L, h, w) or an int for each of {list(concepts.categories)}"
        raise ValueError(message("dataset", "network_dissection", must, {category: tuple(mask.shape)}))
    if mask.is_floating_point() or mask.is_complex():
        must = f"made of whole numbers, the numbers of concepts of {category!r}"
        raise ValueError(message("dataset", "network_dissection", must, mask.dtype))
    mask = mask.long()  # sums of small ints would overflow
    n_names = int((concepts.category == concepts.categories.index(category)).sum()) + 1
    if mask.numel() and int(mask.max()) >= n_names:
        must = f"numbers of concepts of {category!r} below {n_names}"
        raise ValueError(message("dataset", "network_dissection", must, int(mask.max())))
    return mask


def _joined(size: tuple[int, int], parts: Sequence[tuple[int, Tensor, Tensor, Tensor]]) -> LabelPlanes:
    planes = torch.cat([*(part[1] for part in parts), torch.stack([part[3] for part in parts])]).float()
    categories = torch.tensor([part[0] for part in parts])
    planes = planes.T.contiguous().T  # pixel after pixel, as they will be looked up
    return LabelPlanes(size, planes, torch.cat([part[2] for part in parts]).long(), categories)


def count_areas(
    activation: Tensor, levels: Tensor, labels: Sequence[Sequence[LabelPlanes]], concepts: Concepts
) -> ConceptAreas:
    """Areas of one batch.

    Maps are brought to the size of the masks bilinearly and then compared with the levels, but only between positions
    of which one exceeds its level: elsewhere no pixel can, and few positions do.

    Args:
        activation: ``(B, units, h, w)``, or ``(B, units)`` of a linear layer.
        levels: ``(units,)``.
        labels: :func:`label_planes` of every image.
        concepts: All concepts.
    """
    maps = activation.float() if activation.ndim == 4 else activation.float()[:, :, None, None]
    areas, n_units = ConceptAreas.zeros(len(levels), concepts, device=maps.device), len(levels)
    for size, found in _by_size(labels, n_units):
        images = [image for image, _ in found]
        row, pixel = active_pixels(maps[images].flatten(0, 1), levels.repeat(len(images)), size)
        starts = torch.searchsorted(row, torch.arange(len(images) * n_units, device=maps.device)).split(n_units)
        pixels = pixel.tensor_split([int(start[0]) for start in starts[1:]])
        for (_, entry), part, start in zip(found, pixels, starts, strict=True):
            _add_image(areas, entry, part, start - start[0])
    return areas


def _by_size(
    labels: Sequence[Sequence[LabelPlanes]], n_units: int
) -> Iterator[tuple[tuple[int, int], list[tuple[int, LabelPlanes]]]]:
    """Images, with what is annotated in them, that have masks of one size, a few at a time."""
    groups: dict[tuple[int, int], list[tuple[int, LabelPlanes]]] = {}
    for image, entries in enumerate(labels):
        for entry in entries:
            groups.setdefault(entry.size, []).append((image, entry))
    for size, found in groups.items():
        at_once = max(1, _PIXELS_AT_ONCE // (n_units * size[0] * size[1]))
        for i in range(0, len(found), at_once):
            yield size, found[i : i + at_once]


def _add_image(areas: ConceptAreas, entry: LabelPlanes, pixel: Tensor, starts: Tensor) -> None:
    """Add one image; the active pixels of unit ``u`` are those from ``starts[u]`` on."""
    planes, concepts = entry.planes.to(pixel.device), entry.concepts.to(pixel.device)
    # Rows of the planes summed per unit: the product of a very sparse matrix with a dense one.
    common = embedding_bag(pixel, planes.T, starts, mode="sum").double()
    areas.concept.index_add_(0, concepts, planes[: len(concepts)].sum(1).double())
    areas.intersection.index_add_(1, concepts, common[:, : len(concepts)])
    areas.unit.index_add_(1, entry.categories.to(pixel.device), common[:, len(concepts) :])


def active_pixels(maps: Tensor, levels: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Where maps exceed their levels at another resolution, as bilinear interpolation (``align_corners=False``) has it.

    Args:
        maps: ``(units, h, w)``.
        levels: ``(units,)``.
        size: Height and width ``(H, W)`` to bring the maps to.

    Returns:
        Numbers of units ``(M,)``, increasing, and of pixels ``y * W + x`` ``(M,)``.
    """
    height, width = maps.shape[1:]
    above = maps > levels[:, None, None]
    cells = above.new_zeros(len(maps), height + 1, width + 1)  # cell (i, j) lies between positions i - 1 and i, ...
    for y, x in product((0, 1), repeat=2):
        cells[:, y : y + height, x : x + width] |= above
    found = [_pixels_of_cells(maps, levels, size, part) for part in cells.nonzero().split(_CELLS_AT_ONCE)]
    return torch.cat([unit for unit, _ in found]), torch.cat([pixel for _, pixel in found])


def _pixels_of_cells(maps: Tensor, levels: Tensor, size: tuple[int, int], cells: Tensor) -> tuple[Tensor, Tensor]:
    unit, row, column = cells.unbind(1)
    height, width = maps.shape[1:]
    (top, down), (start, right) = (_cell_pixels(*sides, maps.device) for sides in ((height, size[0]), (width, size[1])))
    before, after = (column - 1).clamp(min=0), column.clamp(max=width - 1)
    # Interpolated such that equal neighbours give their value exactly.
    upper, lower = (
        torch.lerp(maps[unit, side, before, None], maps[unit, side, after, None], right[column])
        for side in ((row - 1).clamp(min=0), row.clamp(max=height - 1))
    )
    values = torch.lerp(upper[:, None], lower[:, None], down[row][:, :, None])
    cell, y, x = (values > levels[unit][:, None, None]).nonzero(as_tuple=True)
    first = top[row] * size[1] + start[column]
    return unit[cell], first[cell] + y * size[1] + x


def _cell_pixels(n_positions: int, n_pixels: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """First pixel of every cell along one side, and the weights of its second position at all its pixels."""
    at = (torch.arange(n_pixels, dtype=torch.float32, device=device) + 0.5) * (n_positions / n_pixels) - 0.5
    cell = at.floor().long() + 1
    counts = torch.bincount(cell, minlength=n_positions + 1)
    first = counts.cumsum(0) - counts
    order = torch.arange(int(counts.max()), device=device)
    weights = (at.clamp(min=0) % 1)[(first[:, None] + order).clamp(max=n_pixels - 1)]
    # Cells have unequal numbers of pixels; NaN is above no level.
    return first, torch.where(order < counts[:, None], weights, torch.nan)
