"""Net2Vec: concepts as combinations of units, against the best single unit."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset

from lightning_interp._checks import check_int, check_number, message, suggestion
from lightning_interp.functional.dissection.chance import chance_overlap
from lightning_interp.functional.dissection.combination import (
    Measured,
    Place,
    Probes,
    best_cuts,
    fitted_probes,
    learn_from,
    measure,
)
from lightning_interp.functional.dissection.concept_vectors import Net2Vec
from lightning_interp.functional.dissection.dissect import concepts_of
from lightning_interp.functional.dissection.passes import concept_reader, settled_statistics
from lightning_interp.hooks import select_layers

__all__ = ["net2vec"]


def net2vec(
    model: nn.Module,
    dataset: Dataset[Any],
    layer: str,
    *,
    concepts: Sequence[str] | None = None,
    top_units: int | Sequence[int] | None = None,
    levels: Tensor | None = None,
    quantile: float = 0.005,
    epochs: int = 30,
    lr: float = 0.3,
    momentum: float = 0.9,
    held_out: float = 0.3,
    n_permutations: int = 2000,
    seed: int = 0,
    batch_size: int = 32,
    num_workers: int = 0,
    max_bytes: int = 2**31,
) -> Net2Vec:
    r"""Find every concept with a combination of units, and compare it with the best single unit.

    .. math:: M(x; w) = \sigma\Big(\sum_k w_k [A_k(x) > T_k] + b\Big)

    The weights minimise the binary cross-entropy per pixel, by SGD with momentum; pixels that show the concept weigh as
    much as all others annotated with its category. They are learnt at the resolution of the layer, where a position
    stands for the pixels it covers. To be compared with the masks, the sum is enlarged bilinearly and cut; the cut, of
    seven from probability 1/2 on, is the one with the best intersection over union (IoU) on the images for fitting.
    Levels, weights, cuts and the best single unit come from these images alone, and all results from those held out.
    IoU is that of :func:`~lightning_interp.functional.dissection.network_dissection`.

    Whether the single unit is above chance is tested on the held-out images by dealing them anew: see
    :func:`~lightning_interp.functional.dissection.chance.chance_overlap`. There is one test per concept, of the unit
    chosen on the other images; the p-values are corrected for the number of concepts (Benjamini-Hochberg).

    Args:
        model: Any network; images must be as it expects them.
        dataset: A concept dataset, as in :func:`~lightning_interp.functional.dissection.network_dissection`.
        layer: Name of one layer.
        concepts: Names of the concepts to find; all by default.
        top_units: Use only the units that find the concept best on their own: their number, or several numbers to
            compare with each other and with all units. All units by default.
        levels: A unit is active above its level, ``(units,)``; by default those that it exceeds at the share
            ``quantile`` of all positions.
        quantile: Share of positions where a unit counts as active.
        epochs: Passes over the positions of all images for fitting.
        lr: Learning rate at the start; it falls to 0.
        momentum: Of SGD.
        held_out: Share of the images to measure with.
        n_permutations: Of the images, for the test against chance.
        seed: Decides which images are held out, the order in fitting, and the permutations.
        batch_size: Images per forward pass.
        num_workers: Processes that load images.
        max_bytes: Memory for positions, which take a byte for every unit and two for every concept and category; and
            again for the test against chance, 256 bytes per concept and held-out image. Else it grows with nothing.

    Returns:
        Concept vectors, their IoU and that of single units.

    Raises:
        ValueError: An option out of range, an unknown concept, too few images to split, more than ``max_bytes``, or
            ``layer`` is not one layer.

    Example:
        >>> from lightning_interp.datasets import ToyConcepts, ToyScenes
        >>> from lightning_interp.models import CIFAR10CNN
        >>> data = ToyConcepts(ToyScenes(24))
        >>> found = net2vec(CIFAR10CNN(width=4), data, "features.5", concepts=["red"], epochs=1)
        >>> found.weights.shape, found.to_dataframe()["concept"].tolist()
        (torch.Size([1, 8]), ['red'])

    Reference:
        Fong, Vedaldi, Net2Vec, CVPR 2018; survey, section 6.2.2.
    """
    for value, name in ((quantile, "quantile"), (held_out, "held_out"), (momentum, "momentum")):
        check_number(value, name, "net2vec", high=1.0)
    check_number(lr, "lr", "net2vec")
    for number, name in ((epochs, "epochs"), (n_permutations, "n_permutations"), (max_bytes, "max_bytes")):
        check_int(number, name, "net2vec")
    generator = torch.Generator().manual_seed(check_int(seed, "seed", "net2vec", low=0))
    place = _place(model, dataset, layer, concepts)
    train, test = (
        concept_reader(model, part, batch_size=batch_size, num_workers=num_workers)
        for part in _split(dataset, held_out, generator)
    )
    if levels is None:
        found = settled_statistics(model, train, [place.layer], n_top=1, share=quantile)
        levels = found[place.layer].histogram.exceeded(quantile)
    cells, areas = learn_from(place, train, levels, max_bytes=max_bytes)
    train_iou = areas.iou(place.concepts).cpu()[:, place.chosen]
    sizes = _sizes(top_units, len(levels))
    allowed = torch.cat([_best(train_iou, size) for size in sizes])
    options: dict[str, Any] = {"epochs": epochs, "lr": lr, "momentum": momentum, "generator": generator}
    probes = fitted_probes(place, cells, allowed, levels, **options)
    cut = best_cuts(place, train, probes)
    measured = measure(place, test, probes, cut, train_iou.argmax(0), max_bytes=max_bytes)
    return _result(place, sizes, probes, cut, train_iou, measured, n_permutations, generator)


def _result(
    place: Place,
    sizes: tuple[int, ...],
    probes: Probes,
    cut: Tensor,
    train_iou: Tensor,
    measured: Measured,
    n_permutations: int,
    generator: torch.Generator,
) -> Net2Vec:
    chance = [
        chance_overlap(*measured.meetings(i), n_permutations=n_permutations, generator=generator)
        for i in range(len(place.chosen))
    ]
    chance_iou, p_value = torch.tensor(chance, dtype=torch.float64).T.contiguous()
    n, unit = len(place.chosen), train_iou.argmax(0)
    shown = measured.shown & probes.usable
    names, category = place.concepts.names, place.concepts.category
    return Net2Vec(
        layer=place.layer,
        names=tuple(names[c] for c in place.chosen.tolist()),
        categories=tuple(place.concepts.categories[category[c]] for c in place.chosen.tolist()),
        top_units=sizes,
        levels=probes.levels,
        weights=probes.weights[-n:],
        bias=probes.bias[-n:],
        cut=cut[-n:],
        iou_by_size=torch.where(shown, measured.probe_iou.view(-1, n), torch.nan),
        unit=unit,
        unit_iou=torch.where(shown, measured.unit_iou[unit, torch.arange(n)], torch.nan),
        chance_iou=chance_iou,
        p_value=p_value,
        adjusted_p=_adjusted(p_value),
        n_images=measured.present.flatten(2).any(2).sum(0),
    )


def _adjusted(p_value: Tensor) -> Tensor:
    """P-values after the Benjamini-Hochberg correction; NaN stays NaN and does not count as a test."""
    from scipy.stats import false_discovery_control  # here, because importing it takes a second

    adjusted, tested = torch.full_like(p_value, torch.nan), ~p_value.isnan()
    if tested.any():
        adjusted[tested] = torch.from_numpy(false_discovery_control(p_value[tested].numpy()))
    return adjusted


def _best(iou: Tensor, size: int) -> Tensor:
    """Which units are among the best few of each concept, ``(C, units)``, of ``(units, C)``."""
    order = iou.argsort(stable=True, dim=0, descending=True)[:size]
    return torch.zeros(iou.T.shape, dtype=torch.bool).scatter_(1, order.T, True)


def _sizes(top_units: int | Sequence[int] | None, n_units: int) -> tuple[int, ...]:
    if top_units is None:
        return (n_units,)
    several = isinstance(top_units, Sequence)
    wanted = [
        check_int(n, "top_units", "net2vec") for n in (top_units if isinstance(top_units, Sequence) else [top_units])
    ]
    sizes = sorted({min(n, n_units) for n in wanted} | ({n_units} if several else set()))
    return tuple(sizes)


def _place(model: nn.Module, dataset: Dataset[Any], layer: str, wanted: Sequence[str] | None) -> Place:
    concepts = concepts_of(dataset, "net2vec")
    unknown = [name for name in wanted or () if name not in concepts.names]
    if unknown or (wanted is not None and not wanted):
        text = message("concepts", "net2vec", "names of concepts of the dataset, at least one", unknown or wanted)
        raise ValueError(text + (suggestion(unknown[0], concepts.names) if unknown else ""))
    layers = select_layers(model, layer)
    if len(layers) != 1:
        raise ValueError(message("layer", "net2vec", f"one layer; this matches {len(layers)}", layer))
    chosen = [i for i, name in enumerate(concepts.names) if wanted is None or name in wanted]
    return Place(model, layers[0], concepts, torch.tensor(chosen))


def _split(dataset: Any, held_out: float, generator: torch.Generator) -> tuple[Subset[Any], Subset[Any]]:
    """Images for fitting, and images held out."""
    n_test = round(held_out * len(dataset))
    if not 0 < n_test < len(dataset):
        must = f"a share of {len(dataset)} images that leaves at least one to fit and one to measure"
        raise ValueError(message("held_out", "net2vec", must, held_out))
    order = torch.randperm(len(dataset), generator=generator)
    return Subset(dataset, order[n_test:].sort()[0].tolist()), Subset(dataset, order[:n_test].sort()[0].tolist())
