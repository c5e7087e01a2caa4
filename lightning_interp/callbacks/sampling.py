"""The fixed training images a callback looks at: the same ones, identically augmented, at every check."""

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, default_collate

from lightning_interp._lightning import Trainer
from lightning_interp.exceptions import MeasurementWarning
from lightning_interp.hooks import preserved_rng

__all__ = ["BatchTransform", "TrainingSample", "draw_sample", "train_dataloader", "unpack_batch"]

BatchTransform = Callable[[Any], tuple[Tensor, Tensor]]

_IMAGE_KEYS = ("image", "images", "x", "pixel_values", "input", "inputs")
_LABEL_KEYS = ("label", "labels", "y", "target", "targets")


@dataclass(frozen=True)
class TrainingSample:
    """Training images with the labels training uses, sorted by class.

    Attributes:
        images: ``(N, ...)``, as the training batches hold them.
        labels: Given labels, ``(N,)``.
    """

    images: Tensor
    labels: Tensor


def unpack_batch(batch: Any) -> tuple[Tensor, Tensor]:
    """Images and labels of a batch ``(x, y, ...)`` or of a dict with the usual keys.

    Args:
        batch: What the training dataloader yields.

    Returns:
        Images ``(N, ...)`` and labels ``(N,)``.

    Raises:
        TypeError: If there are no such two tensors; the message says what to set.

    Example:
        >>> images, labels = unpack_batch({"image": torch.zeros(2, 3), "label": torch.tensor([0, 1])})
        >>> labels
        tensor([0, 1])
    """
    if isinstance(batch, Mapping):
        pair = [next((batch[key] for key in keys if key in batch), None) for keys in (_IMAGE_KEYS, _LABEL_KEYS)]
    else:
        pair = list(batch[:2]) if isinstance(batch, tuple | list) and len(batch) >= 2 else [None, None]
    images, labels = pair
    if isinstance(images, Tensor) and isinstance(labels, Tensor) and labels.ndim == 1 and len(labels) == len(images):
        return images, labels
    raise TypeError(
        f"Training batches must be (x, y, ...) with labels of shape (N,), or a dict with one of {_IMAGE_KEYS} and one "
        f"of {_LABEL_KEYS}. Got {type(batch).__name__}. Set `batch_transform=` to a function batch -> (x, y)."
    )


def train_dataloader(trainer: Trainer) -> DataLoader[Any]:
    """The first DataLoader the Trainer trains on.

    Raises:
        TypeError: If it trains on something else; the message says what to set.
    """
    found: list[DataLoader[Any]] = []

    def visit(node: Any) -> None:
        if isinstance(node, DataLoader):
            found.append(node)
        elif isinstance(node, Mapping | list | tuple):
            for child in node.values() if isinstance(node, Mapping) else node:
                visit(child)

    visit(trainer.train_dataloader)
    if not found:
        kind = type(trainer.train_dataloader).__name__
        raise TypeError(f"The Trainer must train on a torch DataLoader. Got {kind}. Set `dataset=` to a training set.")
    return found[0]


def draw_sample(
    dataset: Dataset[Any],
    *,
    images_per_class: int,
    n_classes: int,
    seed: int,
    collate: Callable[[list[Any]], Any] = default_collate,
    batch_transform: BatchTransform = unpack_batch,
) -> TrainingSample:
    """Draw a class-balanced sample of a training set, once, by a seed of its own.

    The images are fetched here and kept, so random augmentation is drawn once and stays the same for every check; the
    global random state is put back afterwards. Where the set tells its labels (``targets``) only the wanted images
    are read; else images are read in random order, at most a tenth of the set or twice as many as wanted.

    Args:
        dataset: The training set.
        images_per_class: Images of each class; a class that has fewer is used as it is, with a warning.
        n_classes: All classes up to this number, else as many random ones.
        seed: Seed of the sample.
        collate: Makes a batch of a list of items.
        batch_transform: Makes ``(x, y)`` of a batch.

    Returns:
        The sample, sorted by class.

    Raises:
        ValueError: If the dataset is empty.
        TypeError: If batches are not ``(x, y)``.
    """
    generator = torch.Generator().manual_seed(seed)
    by_class: dict[int, list[Tensor]] = defaultdict(list)
    with preserved_rng(seed):
        items = _items(dataset, images_per_class, n_classes, generator)
        for chunk in _chunks(items, 64):
            images, labels = batch_transform(collate(chunk))
            for image, label in zip(images, labels.tolist(), strict=True):
                if len(by_class[label]) < images_per_class:
                    by_class[label].append(image.detach().cpu().clone())
    if not by_class:
        raise ValueError("The training set must have at least one image. Got an empty one.")
    classes = _choose_classes(sorted(by_class), n_classes, generator)
    _warn_about_small_classes({c: len(by_class[c]) for c in classes}, images_per_class)
    labels = torch.tensor([c for c in classes for _ in by_class[c]])
    return TrainingSample(torch.stack([image for c in classes for image in by_class[c]]), labels)


def _items(dataset: Any, images_per_class: int, n_classes: int, generator: torch.Generator) -> Iterator[Any]:
    wanted = images_per_class * n_classes
    if isinstance(dataset, IterableDataset):
        yield from (item for item, _ in zip(dataset, range(2 * wanted), strict=False))
        return
    order = torch.randperm(len(dataset), generator=generator)
    targets = given_labels(dataset)
    if targets is None:
        order = order[: max(2 * wanted, len(order) // 10)]
    else:
        labels = targets[order]
        classes = _choose_classes(labels.unique().tolist(), n_classes, generator)
        order = torch.cat([order[labels == c][:images_per_class] for c in classes]) if classes else order
    yield from (dataset[i] for i in order.tolist())


def given_labels(dataset: Any) -> Tensor | None:
    """The labels of a dataset that tells them as ``targets``, also through subsets and concatenations; else None."""
    if isinstance(dataset, Subset):
        inner = given_labels(dataset.dataset)
        return None if inner is None else inner[torch.as_tensor(dataset.indices)]
    if isinstance(dataset, ConcatDataset):
        parts = [given_labels(part) for part in dataset.datasets]
        known = [part for part in parts if part is not None]
        return torch.cat(known) if len(known) == len(parts) else None
    targets = getattr(dataset, "targets", None)
    if targets is None or len(targets) != len(dataset):
        return None
    return torch.as_tensor(targets).flatten()


def _chunks(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    chunk: list[Any] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _choose_classes(classes: list[int], n_classes: int, generator: torch.Generator) -> list[int]:
    if len(classes) <= n_classes:
        return classes
    chosen = torch.randperm(len(classes), generator=generator)[:n_classes]
    return sorted(classes[i] for i in chosen.tolist())


def _warn_about_small_classes(counts: dict[int, int], wanted: int) -> None:
    small = {c: n for c, n in counts.items() if n < wanted}
    if small:
        shown = ", ".join(f"class {c}: {n}" for c, n in list(small.items())[:5])
        text = (
            f"{len(small)} of {len(counts)} classes have fewer than {wanted} training images and are used as they are"
        )
        warnings.warn(f"{text} ({shown}{', ...' if len(small) > 5 else ''}).", MeasurementWarning, stacklevel=3)
