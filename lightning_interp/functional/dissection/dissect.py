"""Network dissection: which concepts the units of a network detect."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils.data import Dataset

from lightning_interp._checks import check_int, check_number, message
from lightning_interp.functional.dissection.cache import cached_layers, dataset_fingerprint
from lightning_interp.functional.dissection.overlap import ConceptAreas, Concepts
from lightning_interp.functional.dissection.passes import (
    ConceptBatch,
    UnitStatistics,
    concept_areas,
    concept_reader,
    settled_statistics,
)
from lightning_interp.functional.dissection.quantile import SATURATED
from lightning_interp.functional.dissection.refine import exact_levels
from lightning_interp.functional.dissection.result import LayerDissection, NetworkDissection
from lightning_interp.hooks import LayerSpec, select_layers
from lightning_interp.hooks.fingerprint import model_fingerprint

__all__ = ["concepts_of", "dissected", "network_dissection"]


def network_dissection(
    model: nn.Module,
    dataset: Dataset[Any],
    layers: LayerSpec = "last_block",
    *,
    quantile: float = 0.005,
    iou_threshold: float = 0.04,
    n_top: int = 9,
    exact: bool = False,
    cache_dir: str | Path | None = None,
    batch_size: int = 32,
    num_workers: int = 0,
) -> NetworkDissection:
    """Compare the region where each unit is most active with every annotated concept.

    Two forward passes over the images, for all layers at once. The first finds the level that a unit exceeds at a share
    ``quantile`` of all positions of all images (up to 0.4 %, see
    :class:`~lightning_interp.functional.dissection.quantile.ActivationHistogram`). In the second the activation map is
    enlarged bilinearly to the masks and compared with the level. The union of unit and concept runs over images that
    are annotated with the concept's category. Memory does not grow with the number of images.

    Cached results are keyed by the layer, the weights, buffers and printed structure of the network, the options that
    change them, and ``dataset.fingerprint``, or without that a hash of the concepts, the length and up to 64 items. The
    code of ``forward`` and the other items are not in the key: remove the folder when only those change.

    Args:
        model: Any network; images must be as it expects them.
        dataset: A concept dataset: yields ``(image (C, H, W), {category: target})``, a target being a mask ``(h, w)``,
            masks ``(L, h, w)`` or the number of a concept for the whole image. 0 is unlabelled, pixels below 0 are not
            annotated, a category left out is not annotated. ``dataset.concepts[category]`` lists names, the first of
            which means unlabelled.
        layers: As in :func:`lightning_interp.hooks.select_layers`.
        quantile: Share of positions where a unit counts as active.
        iou_threshold: A unit detects its best concept when their intersection over union is above this.
        n_top: Best images to keep for every unit.
        exact: Find the exact levels, with one more pass and 1.2 MB per unit; see
            :func:`~lightning_interp.functional.dissection.refine.exact_levels`.
        cache_dir: Folder for results, one file per layer; layers found there are not dissected again.
        batch_size: Images per forward pass; images of different sizes go one by one.
        num_workers: Processes that load images.

    Returns:
        Levels, intersections over unions and best images of all units.

    Raises:
        ValueError: No images, no concepts, a target that does not fit, or an activation that is not finite.
        TypeError: A dataset without ``concepts``.

    Example:
        >>> from lightning_interp.datasets import ToyConcepts, ToyScenes
        >>> from lightning_interp.models import CIFAR10CNN
        >>> found = network_dissection(CIFAR10CNN(width=4), ToyConcepts(ToyScenes(24)))
        >>> found.to_dataframe().columns.tolist()
        ['layer', 'unit', 'concept', 'category', 'iou', 'detector', 'level']

    Reference:
        Bau et al., CVPR 2017; survey, section 6.
    """
    check_number(quantile, "quantile", "network_dissection", high=1.0)
    check_number(iou_threshold, "iou_threshold", "network_dissection", high=1.0)
    check_int(n_top, "n_top", "network_dissection")
    check_int(batch_size, "batch_size", "network_dissection")
    check_int(num_workers, "num_workers", "network_dissection", low=0)
    concepts = concepts_of(dataset)
    batches = concept_reader(model, dataset, batch_size=batch_size, num_workers=num_workers)
    first = next(batches(), None)
    if first is None:
        raise ValueError(message("dataset", "network_dissection", "of at least one image", "none"))
    names = select_layers(model, layers, example_input=first[1])
    options: dict[str, Any] = {"quantile": quantile, "n_top": n_top, "exact": exact}

    def compute(missing: list[str]) -> Mapping[str, LayerDissection]:
        return _measured(model, batches, missing, concepts, **options)

    if cache_dir is None:
        return NetworkDissection(concepts, compute(names), iou_threshold)
    made_from = {"model": model_fingerprint(model), "dataset": dataset_fingerprint(dataset), **options}
    return NetworkDissection(concepts, cached_layers(cache_dir, names, compute, made_from), iou_threshold)


def _measured(
    model: nn.Module,
    batches: Callable[[], Iterator[ConceptBatch]],
    names: list[str],
    concepts: Concepts,
    *,
    quantile: float,
    n_top: int,
    exact: bool,
) -> Mapping[str, LayerDissection]:
    statistics = settled_statistics(model, batches, names, n_top=n_top, share=quantile)
    levels = {name: part.histogram.exceeded(quantile) for name, part in statistics.items()}
    coarse = [name for name, level in levels.items() if exact or bool((level.abs() >= SATURATED).any())]
    levels |= exact_levels(model, batches, {name: statistics[name] for name in coarse}, quantile)
    areas = concept_areas(model, batches(), levels, concepts)
    return dissected(statistics, levels, areas, concepts, 0.0).layers


def dissected(
    statistics: dict[str, UnitStatistics],
    levels: dict[str, Tensor],
    areas: dict[str, ConceptAreas],
    concepts: Concepts,
    iou_threshold: float,
) -> NetworkDissection:
    """The result of two passes, on the CPU."""
    layers = {}
    for name, part in statistics.items():
        top = type(part.top)(part.top.values.cpu(), part.top.indices.cpu())
        layers[name] = LayerDissection(levels[name].cpu(), areas[name].iou(concepts).cpu(), top)
    return NetworkDissection(concepts, layers, iou_threshold)


def concepts_of(dataset: Any, owner: str = "network_dissection") -> Concepts:
    """The concepts of a dataset, when it has some."""
    concepts = getattr(dataset, "concepts", None)
    if concepts is None:
        must = "a concept dataset: yielding (image, {category: target}), with names in `concepts[category]`"
        raise TypeError(message("dataset", owner, must, type(dataset).__name__))
    return Concepts.of(concepts)
