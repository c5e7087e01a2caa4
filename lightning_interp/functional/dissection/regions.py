"""Where units are active in the images that excite them most: what a picture of a unit shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from lightning_interp._checks import check_int, message
from lightning_interp.functional.dissection.overlap import active_pixels
from lightning_interp.functional.dissection.passes import concept_batches
from lightning_interp.functional.dissection.result import NetworkDissection
from lightning_interp.hooks import evaluating, observe

__all__ = ["UnitRegions", "best_units", "unit_regions"]

_Unit = tuple[str, int]  # layer and number


@dataclass(frozen=True)
class UnitRegions:
    """A unit and its best images.

    Attributes:
        layer: Name of its layer.
        unit: Its number there.
        concept: The concept it fits best.
        category: Of the concept.
        iou: Intersection over union with the concept.
        images: Best first, each ``(C, H, W)`` as the dataset yields it.
        masks: Where in each image the unit is above its level, bool ``(H, W)``.
    """

    layer: str
    unit: int
    concept: str
    category: str
    iou: float
    images: tuple[Tensor, ...]
    masks: tuple[Tensor, ...]


def best_units(dissection: NetworkDissection, n: int) -> list[_Unit]:
    """Layer and number of the units with the largest intersection over union, the best of every concept first.

    Args:
        dissection: The result of a dissection.
        n: How many; fewer where there are not so many units.

    Example:
        >>> from lightning_interp.functional.dissection import Concepts, LayerDissection, TopImages
        >>> iou = torch.tensor([[0.2, 0.0], [0.3, 0.0], [0.0, 0.1]])
        >>> layer = LayerDissection(torch.ones(3), iou, TopImages.zeros(3, 1))
        >>> concepts = Concepts.of({"color": ["unlabelled", "red", "blue"]})
        >>> best_units(NetworkDissection(concepts, {"conv": layer}, 0.04), 2)
        [('conv', 1), ('conv', 2)]
    """
    check_int(n, "n", "best_units")
    found = [
        (iou, concept, name, unit)
        for name, layer in dissection.layers.items()
        for unit, (iou, concept) in enumerate(zip(*(part.tolist() for part in layer.iou.max(1)), strict=True))
    ]
    found.sort(key=lambda each: -each[0])
    first: dict[int, _Unit] = {}
    for _, concept, name, unit in found:
        first.setdefault(concept, (name, unit))
    return list(dict.fromkeys([*first.values(), *((name, unit) for _, _, name, unit in found)]))[:n]


def unit_regions(
    model: nn.Module,
    dataset: Dataset[Any],
    dissection: NetworkDissection,
    units: Sequence[_Unit],
    *,
    n_images: int | None = None,
    batch_size: int = 32,
) -> list[UnitRegions]:
    """Run the best images of some units once more, and keep where each unit is above its level.

    Args:
        model: The network that was dissected.
        dataset: The concept dataset it was dissected with.
        dissection: The result.
        units: Layer and number of each unit; see :func:`best_units`.
        n_images: Best images of each unit; all that the dissection kept by default.
        batch_size: Images per forward pass.

    Returns:
        One entry per unit, in the order of ``units``.

    Raises:
        ValueError: An unknown layer or unit.

    Example:
        >>> from lightning_interp.datasets import ToyConcepts, ToyScenes
        >>> from lightning_interp.functional.dissection import network_dissection
        >>> from lightning_interp.models import CIFAR10CNN
        >>> net, data = CIFAR10CNN(width=4), ToyConcepts(ToyScenes(24))
        >>> found = network_dissection(net, data)
        >>> regions = unit_regions(net, data, found, best_units(found, 3), n_images=2)
        >>> [len(each.images) for each in regions], regions[0].masks[0].shape
        ([2, 2, 2], torch.Size([32, 32]))

    Reference:
        Bau et al., CVPR 2017, figure 4; survey, figure 16.
    """
    top = {unit: _top_images(dissection, *unit)[:n_images] for unit in units}
    positions = sorted({image for images in top.values() for image in images})
    images: dict[int, Tensor] = {}
    masks: dict[tuple[_Unit, int], Tensor] = {}
    loader: DataLoader[Any] = DataLoader(
        Subset(dataset, positions), batch_size, collate_fn=list, generator=torch.Generator()
    )
    rows: list[int] = []

    def read(name: str, activation: Tensor) -> None:
        maps = activation.float() if activation.ndim == 4 else activation.float()[:, :, None, None]
        for row, image in enumerate(rows):
            for unit in [unit for unit in units if unit[0] == name and image in top[unit]]:
                level = dissection.layers[name].levels[unit[1]].to(maps.device)
                masks[unit, image] = _mask(maps[row, unit[1]], level, images[image])

    looks = {name: lambda activation, name=name: read(name, activation) for name in {layer for layer, _ in units}}
    parameter = next(model.parameters(), torch.zeros(0))
    with evaluating(model), observe(model, looks):
        for indices, batch, _ in concept_batches(loader, torch.device("cpu")):
            rows = [positions[i] for i in indices.tolist()]
            images |= dict(zip(rows, batch, strict=True))
            model(batch.to(parameter))  # in the precision of the model too
    return [_regions(dissection, unit, top[unit], images, masks) for unit in units]


def _top_images(dissection: NetworkDissection, name: str, unit: int) -> list[int]:
    if name not in dissection.layers:
        must = f"units of the layers {', '.join(map(repr, dissection.layers))}"
        raise ValueError(message("units", "unit_regions", must, name))
    indices = dissection.layers[name].top.indices
    check_int(unit, "units", "unit_regions", low=0, high=len(indices) - 1)
    return [image for image in indices[unit].tolist() if image >= 0]


def _mask(values: Tensor, level: Tensor, image: Tensor) -> Tensor:
    size = (image.shape[-2], image.shape[-1])
    _, pixels = active_pixels(values[None], level[None], size)
    mask = torch.zeros(size[0] * size[1], dtype=torch.bool)
    mask[pixels.cpu()] = True
    return mask.view(size)


def _regions(
    dissection: NetworkDissection,
    unit: _Unit,
    top: Sequence[int],
    images: dict[int, Tensor],
    masks: dict[tuple[_Unit, int], Tensor],
) -> UnitRegions:
    iou, best = dissection.layers[unit[0]].iou[unit[1]].max(0)
    concepts = dissection.concepts
    return UnitRegions(
        *unit,
        concepts.names[int(best)],
        concepts.categories[int(concepts.category[best])],
        float(iou),
        tuple(images[image] for image in top),
        tuple(masks[unit, image] for image in top),
    )
