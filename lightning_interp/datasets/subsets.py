"""Views on a labelled dataset: some of its images, under other labels, or without labels."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_interp._checks import check_int, message


def balanced_indices(labels: Tensor, size: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Draw ``size`` images, equally many per class as long as every class lasts.

    With one seed a smaller draw is part of a larger one.

    Args:
        labels: ``(n,)`` class of every image.
        size: how many to draw.
        generator: a CPU generator.

    Returns:
        Sorted LongTensor ``(size,)``.

    Raises:
        ValueError: more images are asked for than there are.

    >>> labels = torch.tensor([0] * 6 + [1] * 3)
    >>> labels[balanced_indices(labels, 4)].tolist()
    [0, 0, 1, 1]
    """
    check_int(size, "size", "balanced_indices", low=0, high=len(labels))
    order = torch.randperm(len(labels), generator=generator)
    turn = torch.zeros(len(labels), dtype=torch.long)
    for label in set(labels.tolist()):
        members = labels[order].cpu() == label
        turn[members] = torch.arange(int(members.sum()))
    return order[turn.argsort(stable=True)[:size]].sort().values


def fetch(dataset: Dataset[Any], indices: Sequence[int]) -> list[Any]:
    """Several items at once: one call where the dataset can, item by item where it cannot."""
    many = getattr(dataset, "__getitems__", None)
    if not len(indices):
        return []  # a dataset need not know how to stack nothing
    return list(many(indices)) if many is not None else [dataset[i] for i in indices]


class LabeledSubset(Dataset[tuple[Any, int]]):
    """Some images of a dataset, under the labels given here.

    Args:
        dataset: yields ``(x, ...)``; what comes after ``x`` is not used.
        targets: label of every image *of the subset*, ``(len(indices),)``; the dataset's own when None.
        indices: which images; all when None.

    Attributes:
        targets: given labels: what training sees.
        true_targets: labels of the dataset itself.

    Raises:
        ValueError: the number of labels is not the number of images, or an index is out of range.

    >>> from lightning_interp.datasets import ToyScenes
    >>> subset = LabeledSubset(ToyScenes(20), indices=[3, 5], targets=[0, 1])
    >>> subset[1][1], subset.true_targets.tolist()
    (1, [3, 5])
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        *,
        targets: Tensor | Sequence[int] | None = None,
        indices: Tensor | Sequence[int] | None = None,
    ) -> None:
        self.dataset = dataset
        self.indices = checked_indices(indices, len(dataset), "LabeledSubset")  # type: ignore[arg-type]
        self.true_targets = torch.as_tensor(dataset.targets)[self.indices]  # type: ignore[attr-defined]
        self.targets = self.true_targets.clone() if targets is None else torch.as_tensor(targets)
        if self.targets.shape != self.indices.shape:
            raise ValueError(
                message("targets", "LabeledSubset", f"one label for each of {len(self.indices)} images", self.targets)
            )

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.dataset[int(self.indices[index])][0], int(self.targets[index])

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, int]]:
        rows = torch.as_tensor(indices, dtype=torch.long)
        items = fetch(self.dataset, self.indices[rows].tolist())
        return [(item[0], label) for item, label in zip(items, self.targets[rows].tolist(), strict=True)]


def checked_indices(indices: Tensor | Sequence[int] | None, n: int, owner: str) -> Tensor:
    """``indices`` as a LongTensor; all of ``n`` when None."""
    if indices is None:
        return torch.arange(n)
    rows = torch.as_tensor(indices, dtype=torch.long).cpu()
    if rows.ndim != 1 or (len(rows) and not (rows.min() >= 0 and rows.max() < n)):
        raise ValueError(message("indices", owner, f"a vector of ints in [0, {n - 1}]", indices))
    return rows
