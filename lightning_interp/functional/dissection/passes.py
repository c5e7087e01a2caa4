"""The two passes over the images: which level a unit rarely exceeds, and what is there where it does."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from lightning_interp._checks import message
from lightning_interp.functional.dissection.overlap import ConceptAreas, Concepts, count_areas, label_planes
from lightning_interp.functional.dissection.quantile import ActivationHistogram
from lightning_interp.functional.dissection.top_images import TopImages
from lightning_interp.hooks import evaluating, observe

__all__ = [
    "ConceptBatch",
    "UnitStatistics",
    "concept_areas",
    "concept_batches",
    "concept_reader",
    "settled_statistics",
    "unit_statistics",
]

ConceptBatch: TypeAlias = tuple[Tensor, Tensor, Sequence[Mapping[str, Any]]]  # indices (B,), images, targets


@dataclass(frozen=True)
class UnitStatistics:
    """Of the units of one layer; those of disjoint sets of images add up.

    Attributes:
        histogram: Of the activations at all positions.
        top: The images with the largest ones.
    """

    histogram: ActivationHistogram
    top: TopImages

    def __add__(self, other: "UnitStatistics") -> "UnitStatistics":
        return UnitStatistics(self.histogram + other.histogram, self.top + other.top)


def concept_batches(batches: Iterable[Sequence[tuple[Tensor, Any]]], device: torch.device) -> Iterator[ConceptBatch]:
    """Lists of ``(image, target)`` as stacks of images of one size, with their positions in the dataset."""
    start = 0
    for items in batches:
        sizes = [tuple(image.shape) for image, _ in items]
        for size in dict.fromkeys(sizes):
            rows = [i for i, other in enumerate(sizes) if other == size]
            images = torch.stack([items[i][0] for i in rows]).to(device)
            yield torch.tensor(rows) + start, images, [items[i][1] for i in rows]
        start += len(items)


def concept_reader(
    model: nn.Module, dataset: Dataset[Any], *, batch_size: int, num_workers: int = 0
) -> Callable[[], Iterator[ConceptBatch]]:
    """A function that goes through a concept dataset in order, on the device of the model, as often as it is called."""
    parameter = next(model.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    # A generator of its own: a loader without one draws from the global one, even to load in order.
    loader: DataLoader[Any] = DataLoader(
        dataset, batch_size, num_workers=num_workers, collate_fn=list, generator=torch.Generator()
    )
    return lambda: concept_batches(loader, device)


def unit_statistics(
    model: nn.Module,
    batches: Iterable[ConceptBatch],
    layers: Sequence[str],
    *,
    n_top: int,
    share: float | None = None,
) -> dict[str, UnitStatistics]:
    """First pass: histograms of all units of all layers, and their best images.

    Args:
        model: The network.
        batches: Images and their positions in the dataset; targets are not used.
        layers: Layer names.
        n_top: Best images to keep.
        share: Count only what matters for the level exceeded at this share: faster, but where the first batch is very
            unlike the others that level comes out as NaN.

    Raises:
        ValueError: An activation is not finite; the message names unit and image. Or a layer has no units: its output
            is neither ``(B, units, h, w)`` nor ``(B, units)``.
    """
    found: dict[str, UnitStatistics] = {}
    indices = torch.zeros(0, dtype=torch.long)

    def read(name: str, activation: Tensor) -> None:
        _check_maps(activation, name)
        maxima = activation.flatten(2).amax(2) if activation.ndim > 2 else activation
        _check_finite(maxima, name, indices)
        n_units, device = maxima.shape[1], maxima.device
        if name not in found:
            histogram = ActivationHistogram.zeros(n_units, device=device).update(activation)
            top = TopImages.zeros(n_units, n_top, device=device)
            if share is not None:
                histogram = histogram.with_floors(share).update(activation)
            found[name] = UnitStatistics(histogram, top.update(maxima, indices))
        else:
            old = found[name]
            found[name] = UnitStatistics(old.histogram.update(activation), old.top.update(maxima, indices))
        if bool(found[name].histogram.lowest.isneginf()):  # the maxima do not show it
            _check_finite(activation.flatten(2).amin(2) if activation.ndim > 2 else activation, name, indices)

    with evaluating(model), observe(model, {name: _bound(read, name) for name in layers}):
        for indices, images, _ in batches:  # noqa: B007  # `read` uses the indices
            model(images)
    return {name: found[name] for name in layers if name in found}


def settled_statistics(
    model: nn.Module,
    batches: Callable[[], Iterable[ConceptBatch]],
    layers: Sequence[str],
    *,
    n_top: int,
    share: float,
) -> dict[str, UnitStatistics]:
    """:func:`unit_statistics`, with another pass that counts everything where the fast one hid a level."""
    found = unit_statistics(model, batches(), layers, n_top=n_top, share=share)
    if any(bool(part.histogram.exceeded(share).isnan().any()) for part in found.values()):
        return unit_statistics(model, batches(), layers, n_top=n_top)
    return found


def concept_areas(
    model: nn.Module, batches: Iterable[ConceptBatch], levels: Mapping[str, Tensor], concepts: Concepts
) -> dict[str, ConceptAreas]:
    """Second pass: areas that units and concepts have in common, for all layers.

    Args:
        model: The network.
        batches: Images with their targets.
        levels: Layer name -> level of every unit, ``(units,)``.
        concepts: All concepts.
    """
    areas: dict[str, ConceptAreas] = {}
    labels: list[Any] = []

    def read(name: str, activation: Tensor) -> None:
        more = count_areas(activation, levels[name], labels, concepts)
        areas[name] = areas[name] + more if name in areas else more

    with evaluating(model), observe(model, {name: _bound(read, name) for name in levels}):
        for _, images, targets in batches:
            size = (images.shape[-2], images.shape[-1])
            labels = [label_planes(target, concepts, size) for target in targets]
            model(images)
    return {name: areas[name] for name in levels if name in areas}


def _bound(read: Callable[[str, Tensor], None], name: str) -> Callable[[Tensor], None]:
    return lambda activation: read(name, activation)


def _check_maps(activation: Tensor, layer: str) -> None:
    if activation.ndim not in (2, 4):
        must = f"layers that return (B, units, h, w) or (B, units); {layer!r} does not"
        raise ValueError(message("layers", "network_dissection", must, activation))


def _check_finite(maxima: Tensor, layer: str, indices: Tensor) -> None:
    if bool(maxima.isfinite().all()):
        return
    row, unit = maxima.isfinite().logical_not().nonzero()[0].tolist()
    raise ValueError(
        f"Activations must be finite. Got {float(maxima[row, unit])} of unit {unit} of layer {layer!r} for image "
        f"{int(indices[row])}. Check the image, and the weights of the network."
    )
