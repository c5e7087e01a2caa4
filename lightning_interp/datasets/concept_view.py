"""Any dataset as a concept dataset: by its labels, its boxes, or a segmenter."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import ceil, floor
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_interp._checks import message
from lightning_interp.datasets.concepts import UNLABELLED, checked_targets, stack_masks
from lightning_interp.datasets.subsets import fetch

Targets = Mapping[str, Any]
Transform = Callable[[Tensor], Any] | None


class ConceptView(Dataset[tuple[Any, dict[str, Any]]]):
    """A view on a dataset that yields ``(image, {category: target})``; ``concepts_from_...`` are ready-made ones.

    Args:
        dataset: yields ``(image, ...)``, images ``(C, H, W)``.
        concepts: names by category; entry 0 of each is "unlabelled".
        annotate: called with all that an item holds, returns its targets as in ``ConceptDataset``.
        transform: applied to the image afterwards.

    Raises:
        ValueError: a list of names that does not begin with "unlabelled"; targets that have no name, when they are met.
        TypeError: targets that are no targets, when they are met.

    >>> def left_half(image, label):
    ...     return {"side": torch.arange(image.shape[2]).lt(image.shape[2] // 2).long().expand(image.shape[1:])}
    >>> view = ConceptView([(torch.rand(3, 2, 4), 7)], concepts={"side": ["unlabelled", "left"]}, annotate=left_half)
    >>> view[0][1]["side"].tolist()
    [[1, 1, 0, 0], [1, 1, 0, 0]]
    """

    def __init__(
        self,
        dataset: Any,
        *,
        concepts: Mapping[str, Sequence[str]],
        annotate: Callable[..., Targets],
        transform: Transform = None,
    ) -> None:
        for category, names in concepts.items():
            if list(names[:1]) != [UNLABELLED]:
                must = f"lists of names that begin with {UNLABELLED!r}, that of {category!r} too"
                raise ValueError(message("concepts", "ConceptView", must, list(names)))
        self.dataset, self.annotate, self.transform = dataset, annotate, transform
        self.concepts = {category: list(names) for category, names in concepts.items()}

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Any, dict[str, Any]]:
        return self._annotated(self.dataset[index])

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, dict[str, Any]]]:
        return [self._annotated(item) for item in fetch(self.dataset, indices)]

    def _annotated(self, item: Any) -> tuple[Any, dict[str, Any]]:
        targets = checked_targets(self.annotate(*item), self.concepts, parameter="annotate", owner="ConceptView")
        return self.transform(item[0]) if self.transform else item[0], targets


def concepts_from_labels(
    dataset: Any, *, names: Sequence[str] | None = None, category: str = "class", transform: Transform = None
) -> ConceptView:
    """The class of an image as a concept of the whole image.

    Args:
        dataset: yields ``(image, label, ...)``, labels from 0.
        names: of the labels; those in ``dataset.classes`` when None.
        category: what the concepts are called together.
        transform: applied to the image.

    Raises:
        TypeError: there are no names.

    >>> concepts_from_labels([(torch.rand(3, 8, 8), 1)], names=["cat", "dog"])[0][1]
    {'class': 2}
    """
    concepts = {category: [UNLABELLED, *_names(names, dataset, "concepts_from_labels")]}
    return ConceptView(dataset, concepts=concepts, annotate=partial(_whole_image, category), transform=transform)


def concepts_from_boxes(
    dataset: Any, *, names: Sequence[str] | None = None, category: str = "object", transform: Transform = None
) -> ConceptView:
    """The objects in boxes as concepts; where boxes of several classes overlap, all of them are there.

    Args:
        dataset: yields ``(image, target, ...)``, like ``VOCDetection``: ``target["boxes"]`` ``(n, 4)`` are left, top,
            right, bottom in pixels of the image, right and bottom exclusive; ``target["labels"]`` ``(n,)`` go from 1.
        names: of the labels from 1; those in ``dataset.classes`` when None.
        category: what the concepts are called together.
        transform: applied to the image.

    Raises:
        TypeError: there are no names.

    >>> target = {"boxes": torch.tensor([[1.0, 0.0, 3.0, 1.0]]), "labels": torch.tensor([2])}
    >>> concepts_from_boxes([(torch.rand(3, 2, 3), target)], names=["cat", "dog"])[0][1]["object"].tolist()
    [[0, 2, 2], [0, 0, 0]]
    """
    concepts = {category: [UNLABELLED, *_names(names, dataset, "concepts_from_boxes")]}
    return ConceptView(dataset, concepts=concepts, annotate=partial(_boxes, category), transform=transform)


def concepts_from_segmenter(
    dataset: Any,
    segmenter: Callable[[Any], Targets],
    *,
    concepts: Mapping[str, Sequence[str]],
    transform: Transform = None,
) -> ConceptView:
    """What a segmenter finds as concepts, for images without annotations.

    Args:
        dataset: yields ``(image, ...)``.
        segmenter: called with one image ``(C, H, W)``, returns its targets as in ``ConceptDataset``.
        concepts: names by category; entry 0 of each is "unlabelled".
        transform: applied to the image afterwards.

    Raises:
        ValueError: a list of names that does not begin with "unlabelled".

    >>> concepts = {"light": ["unlabelled", "bright"]}
    >>> bright = concepts_from_segmenter(
    ...     [(torch.ones(3, 1, 2), 0)], lambda image: {"light": image.mean(0).gt(0.5).long()}, concepts=concepts
    ... )
    >>> bright[0][1]["light"].tolist()
    [[1, 1]]
    """
    return ConceptView(dataset, concepts=concepts, annotate=partial(_segmented, segmenter), transform=transform)


# module level, so that views can be sent to loader workers


def _whole_image(category: str, image: Any, label: Any, *_: Any) -> Targets:
    return {category: 1 + int(label)}


def _boxes(category: str, image: Tensor, target: Mapping[str, Tensor], *_: Any) -> Targets:
    height, width = image.shape[-2:]
    masks = []
    for (left, top, right, bottom), label in zip(target["boxes"].tolist(), target["labels"].tolist(), strict=True):
        mask = torch.zeros(height, width, dtype=torch.bool)
        mask[max(floor(top), 0) : max(ceil(bottom), 0), max(floor(left), 0) : max(ceil(right), 0)] = True
        masks.append((int(label), mask))
    return {category: stack_masks(masks, shape=(height, width))}


def _segmented(segmenter: Callable[[Any], Targets], image: Any, *_: Any) -> Targets:
    return segmenter(image)


def _names(names: Sequence[str] | None, dataset: Any, owner: str) -> Sequence[str]:
    found: Sequence[str] | None = names if names is not None else getattr(dataset, "classes", None)
    if found is None:
        raise TypeError(message("names", owner, "given, since the dataset has no `classes`", names))
    return found
