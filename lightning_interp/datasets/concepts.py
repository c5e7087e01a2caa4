"""Concept datasets: pictures, and which concepts their pixels show."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from lightning_interp._checks import message

UNLABELLED = "unlabelled"
VOID = -1


@runtime_checkable
class ConceptDataset(Protocol):
    """What dissection asks of a dataset; any class with these three members will do.

    An item is ``(image, {category: target})``. The image is a float tensor ``(C, H, W)`` in [0, 1], after an optional
    transform that moves no pixels. A target is a LongTensor mask ``(h, w)``, of the image's size or another one over
    the same field of view; a stack of masks ``(L, h, w)`` where concepts overlap; or an int for the whole image. Its
    values index ``concepts[category]``:

    * 0, "unlabelled": the pixel was looked at and shows none of the concepts. It counts against a unit that fires.
    * -1 (``VOID``), in a stack in every layer: the pixel is not annotated, like the borders of objects in PASCAL VOC.
      It counts for nothing: neither as a concept nor as background.

    A category that is missing from the dict is not annotated in that image. ``isinstance`` looks at the names of the
    members only; ``checked_targets`` looks at an item.

    Reference:
        Bau et al., Network Dissection, CVPR 2017: the layout of Broden.
    """

    @property
    def concepts(self) -> Mapping[str, Sequence[str]]:
        """Names of the concepts of every category; entry 0 is "unlabelled"."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[Any, Mapping[str, Any]]: ...


def stack_masks(masks: Iterable[tuple[int, Tensor]], *, shape: tuple[int, int]) -> Tensor:
    """Join the masks of several concepts into one target; concepts that overlap come into different layers.

    Args:
        masks: pairs of a concept's value and a bool mask ``(h, w)``; several masks of one concept are united.
        shape: height and width.

    Returns:
        LongTensor ``(h, w)`` where no two concepts overlap, else ``(L, h, w)``, the large concepts in the first layer.

    >>> head, eye = torch.ones(1, 3).bool(), torch.tensor([[False, True, False]])
    >>> stack_masks([(1, eye), (2, head)], shape=(1, 3)).tolist()
    [[[2, 2, 2]], [[0, 1, 0]]]
    """
    united: dict[int, Tensor] = {}
    for value, mask in masks:
        united[value] = united[value] | mask if value in united else mask
    layers = [torch.zeros(shape, dtype=torch.long)]
    for value, mask in sorted(united.items(), key=lambda pair: (-int(pair[1].sum()), pair[0])):
        layer = next((layer for layer in layers if not layer[mask].any()), None)
        if layer is None:
            layers.append(layer := torch.zeros(shape, dtype=torch.long))
        layer[mask] = value
    return layers[0] if len(layers) == 1 else torch.stack(layers)


def collate_concepts(items: Sequence[tuple[Any, Mapping[str, Any]]]) -> tuple[Any, list[Mapping[str, Any]]]:
    """Make a batch: categories are not annotated in all images, and masks have any size.

    Args:
        items: of a concept dataset.

    Returns:
        The images, as one tensor ``(b, C, H, W)`` when they have one size, else as a list; and the list of their
        targets.

    >>> images, targets = collate_concepts([(torch.zeros(3, 4, 4), {"scene": 2}), (torch.ones(3, 4, 4), {})])
    >>> images.shape, targets
    (torch.Size([2, 3, 4, 4]), [{'scene': 2}, {}])
    """
    images, targets = zip(*items, strict=True)
    alike = all(isinstance(image, Tensor) and image.shape == images[0].shape for image in images)
    return torch.stack(images) if alike else list(images), list(targets)


def checked_targets(
    targets: Any, concepts: Mapping[str, Sequence[str]], *, parameter: str, owner: str
) -> dict[str, Any]:
    """The targets of one image, masks as LongTensors on the CPU, when they are what a concept dataset yields.

    Args:
        targets: ``{category: target}``; masks may be arrays and of any integer type.
        concepts: names by category.
        parameter: whence the targets come, for errors.
        owner: the class or function that takes it.

    Raises:
        TypeError: no dict, or a target that is neither an int nor integers ``(h, w)`` or ``(L, h, w)``.
        ValueError: an unknown category, or a value that has no name.
    """
    if not isinstance(targets, Mapping):
        raise TypeError(message(parameter, owner, "something that returns a dict {category: target}", targets))
    checked = {}
    for category, target in targets.items():
        if category not in concepts:
            must = f"something that returns categories among {', '.join(map(repr, concepts))}"
            raise ValueError(message(parameter, owner, must, category))
        checked[category] = _checked_target(target, category, len(concepts[category]), parameter, owner)
    return checked


def _checked_target(target: Any, category: str, n: int, parameter: str, owner: str) -> Tensor | int:
    values = torch.as_tensor(target).detach().cpu()
    if values.ndim not in (0, 2, 3) or values.is_floating_point() or values.is_complex():
        must = f"something whose {category!r} is an int or integers (h, w) or (L, h, w)"
        raise TypeError(message(parameter, owner, must, target))
    low, high = (int(bound) for bound in values.aminmax()) if values.numel() else (0, 0)
    if low < VOID or high >= n:
        must = f"something whose {category!r} has values in [{VOID}, {n - 1}], the names it has"
        raise ValueError(message(parameter, owner, must, low if low < VOID else high))
    return values.long() if values.ndim else int(values)
