"""The passes of Net2Vec: what there is to learn from, where probes are cut, how well they do."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import log
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from lightning_interp._checks import message
from lightning_interp.functional.dissection.cells import ConceptCells, pooled_labels
from lightning_interp.functional.dissection.overlap import (
    ConceptAreas,
    Concepts,
    LabelPlanes,
    count_areas,
    label_planes,
)
from lightning_interp.functional.dissection.passes import ConceptBatch
from lightning_interp.functional.dissection.probes import fit_probes
from lightning_interp.hooks import evaluating, observe

__all__ = ["Measured", "Place", "Probes", "best_cuts", "fitted_probes", "learn_from", "measure"]

Batches: TypeAlias = Callable[[], Iterator[ConceptBatch]]
Labels: TypeAlias = Sequence[Sequence[LabelPlanes]]

# As logits of the probabilities 1/2, 3/4, ..., 127/128: after a fit to balanced weights, 1/2 makes rare concepts large.
_CUTS = tuple(log(2**i - 1) for i in range(1, 8))
_GRID = (8, 8)  # places at which activity and annotation meet in the test against chance


@dataclass(frozen=True)
class Place:
    """A layer of a network, and the concepts to look for in it.

    Attributes:
        model: The network.
        layer: Name of the layer.
        concepts: All concepts of the dataset.
        chosen: Numbers of those to look for, ``(C,)``.
    """

    model: nn.Module
    layer: str
    concepts: Concepts
    chosen: Tensor

    def show(self, batches: Iterable[ConceptBatch], look: Callable[[Tensor, Labels], None]) -> None:
        """Show the layer's maps ``(B, units, h, w)`` and what is annotated, batch by batch."""
        labels: list[list[LabelPlanes]] = []

        def seen(activation: Tensor) -> None:
            look(activation if activation.ndim == 4 else activation[:, :, None, None], labels)

        with evaluating(self.model), observe(self.model, {self.layer: seen}):
            for _, images, targets in batches:
                size = (images.shape[-2], images.shape[-1])
                labels = [label_planes(target, self.concepts, size) for target in targets]
                self.model(images)


@dataclass(frozen=True)
class Probes:
    """``R`` linear probes; each is a unit of its own, whose activation is a logit.

    Attributes:
        levels: A unit is active above its level, ``(units,)``.
        weights: ``(R, units)``.
        bias: ``(R,)``.
        concept: What each probe is to find, ``(R,)``.
        usable: Whether there was something to learn from for each of the chosen concepts, ``(C,)``.
    """

    levels: Tensor
    weights: Tensor
    bias: Tensor
    concept: Tensor
    usable: Tensor

    def logits(self, maps: Tensor) -> Tensor:
        """Of maps ``(B, units, h, w)``, ``(B, R, h, w)``."""
        active = (maps.float() > self.levels.to(maps.device).view(1, -1, 1, 1)).float()
        with torch.autocast(maps.device.type, enabled=False):
            sums = torch.einsum("ru,buhw->brhw", self.weights.to(maps.device), active)
        return sums + self.bias.to(maps.device).view(1, -1, 1, 1)

    def own_iou(self, areas: ConceptAreas, concepts: Concepts) -> Tensor:
        """Intersection over union of each probe with its own concept, ``(R,)``."""
        return areas.iou(concepts).cpu().gather(1, self.concept[:, None])[:, 0]


@dataclass(frozen=True)
class Measured:
    """What held-out images say.

    Attributes:
        probe_iou: Of every probe with its concept, ``(R,)``.
        unit_iou: Of every unit with the chosen concepts, ``(units, C)``.
        shown: Whether any image shows the concept, ``(C,)``.
        active: Share of the places of a grid where each concept's best unit is active, ``(n, C, G)`` float16.
        present: Share that shows the concept, ``(n, C, G)`` float16.
        annotated: Whether any pixel is annotated with the concept's category, ``(n, C)``.
    """

    probe_iou: Tensor
    unit_iou: Tensor
    shown: Tensor
    active: Tensor
    present: Tensor
    annotated: Tensor

    def meetings(self, i: int) -> tuple[Tensor, Tensor]:
        """Activity and presence ``(n, G)`` in the images that are annotated for concept ``i``."""
        rows = self.annotated[:, i]
        return self.active[rows, i], self.present[rows, i]


def learn_from(place: Place, batches: Batches, levels: Tensor, *, max_bytes: int) -> tuple[ConceptCells, ConceptAreas]:
    """One pass: all positions with what they show, and the areas of single units.

    Args:
        place: Where to look.
        batches: Images for fitting.
        levels: ``(units,)``.
        max_bytes: Memory that the positions may take.

    Raises:
        ValueError: They take more.
    """
    parts: list[ConceptCells] = []
    areas: list[ConceptAreas] = []

    def look(maps: Tensor, labels: Labels) -> None:
        own = levels.to(maps.device)
        parts.append(ConceptCells.of(maps, own, labels, place.concepts))
        check_memory(sum(part.n_bytes for part in parts), max_bytes)
        areas[:] = [sum(areas, count_areas(maps, own, labels, place.concepts))]

    place.show(batches(), look)
    return ConceptCells.cat(parts), areas[0]


def fitted_probes(place: Place, cells: ConceptCells, allowed: Tensor, levels: Tensor, **options: Any) -> Probes:
    """Probes of the chosen concepts, one for every row of ``allowed`` ``(S * C, units)``."""
    concept = place.chosen.repeat(len(allowed) // len(place.chosen))
    weights, bias = fit_probes(cells, allowed, concept, place.concepts.category[concept], **options)
    usable = cells.present.amax(0)[place.chosen] > 0
    return Probes(levels.cpu(), weights, bias, concept, usable)


def best_cuts(place: Place, batches: Batches, probes: Probes) -> Tensor:
    """One pass: the cut of each probe with the largest intersection over union, ``(R,)``; of equals the lowest."""
    areas: dict[float, ConceptAreas] = {}

    def look(maps: Tensor, labels: Labels) -> None:
        logits = probes.logits(maps)
        for cut in _CUTS:
            more = count_areas(logits, torch.full_like(logits[0, :, 0, 0], cut), labels, place.concepts)
            areas[cut] = areas[cut] + more if cut in areas else more

    place.show(batches(), look)
    iou = torch.stack([probes.own_iou(areas[cut], place.concepts) for cut in _CUTS])
    return torch.tensor(_CUTS)[iou.argmax(0)]


def measure(place: Place, batches: Batches, probes: Probes, cut: Tensor, best: Tensor, *, max_bytes: int) -> Measured:
    """One pass: how well probes and single units do.

    Args:
        place: Where to look.
        batches: Images held out.
        probes: Of all concepts and sizes.
        cut: Of each probe, ``(R,)``.
        best: The single unit to test for each of the chosen concepts, ``(C,)``.
        max_bytes: Memory that the maps for the test may take.
    """
    units: list[ConceptAreas] = []
    combined: list[ConceptAreas] = []
    meetings: list[tuple[Tensor, Tensor, Tensor]] = []

    def look(maps: Tensor, labels: Labels) -> None:
        levels, concepts = probes.levels.to(maps.device), place.concepts
        units[:] = [sum(units, count_areas(maps, levels, labels, concepts))]
        combined[:] = [sum(combined, count_areas(probes.logits(maps), cut.to(maps.device), labels, concepts))]
        meetings.append(_meet(maps, levels, best, labels, place))
        check_memory(2 * sum(part[0].numel() * part[0].element_size() for part in meetings), max_bytes)

    place.show(batches(), look)
    active, present, annotated = (torch.cat(parts) for parts in zip(*meetings, strict=True))
    return Measured(
        probes.own_iou(combined[0], place.concepts),
        units[0].iou(place.concepts).cpu()[:, place.chosen],
        units[0].concept.cpu()[place.chosen] > 0,
        active,
        present,
        annotated,
    )


def check_memory(n_bytes: int, max_bytes: int) -> None:
    """Refuse what takes more memory than the caller said."""
    if n_bytes > max_bytes:
        must = f"larger: this layer, these images and concepts take more than {n_bytes:,} bytes"
        ways = " Use a deeper layer, fewer images (torch.utils.data.Subset) or fewer `concepts`."
        raise ValueError(message("max_bytes", "net2vec", must, max_bytes) + ways)


def _meet(maps: Tensor, levels: Tensor, best: Tensor, labels: Labels, place: Place) -> tuple[Tensor, Tensor, Tensor]:
    unit = best.to(maps.device)
    active = (maps[:, unit].float() > levels[unit].view(1, -1, 1, 1)).float()
    pooled = [pooled_labels(entries, place.concepts, _GRID) for entries in labels]
    present = torch.stack([shares[place.chosen] for shares, _ in pooled])
    annotated = torch.stack([shares[place.concepts.category[place.chosen]] for _, shares in pooled])
    return (
        adaptive_avg_pool2d(active, _GRID).flatten(2).half().cpu(),
        present.flatten(2).half(),
        annotated.flatten(2).any(2),
    )
