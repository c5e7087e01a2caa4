"""The two sides of pseudo-labelling: a pool without labels, and a training set that grows by what the pool yields."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_interp._checks import message
from lightning_interp.datasets.subsets import LabeledSubset, checked_indices, fetch


class UnlabeledPool(Dataset[tuple[Any, int]]):
    """Images without labels: yields ``(x, index)``, ``index`` counting from 0 in this pool.

    Args:
        dataset: yields ``(x, ...)``; what comes after ``x`` is not used.
        indices: which of its images; all when None.

    Attributes:
        true_targets: the hidden labels ``(n,)``, for scoring a selection; None where the dataset has none.

    Raises:
        ValueError: an index is out of range.

    >>> from lightning_interp.datasets import ToyScenes
    >>> pool = UnlabeledPool(ToyScenes(20), indices=[3, 5])
    >>> pool[1][1], pool.true_targets.tolist()
    (1, [3, 5])
    """

    def __init__(self, dataset: Dataset[Any], *, indices: Tensor | Sequence[int] | None = None) -> None:
        self.dataset = dataset
        self.indices = checked_indices(indices, len(dataset), "UnlabeledPool")  # type: ignore[arg-type]
        targets = getattr(dataset, "targets", None)
        self.true_targets = None if targets is None else torch.as_tensor(targets)[self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.dataset[int(self.indices[index])][0], index

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, int]]:
        items = fetch(self.dataset, self.indices[torch.as_tensor(indices, dtype=torch.long)].tolist())
        return [(item[0], int(index)) for item, index in zip(items, indices, strict=True)]


class GrowingDataset(Dataset[tuple[Any, int]]):
    """Labelled images, followed by those of a pool that have a pseudo-label at the moment.

    What is chosen lives in shared memory: loader workers that are already running (``persistent_workers``) see it too.

    Args:
        labeled: never shrinks.
        pool: where pseudo-labelled images come from.

    >>> from lightning_interp.datasets import ToyScenes
    >>> scenes = ToyScenes(20)
    >>> grown = GrowingDataset(LabeledSubset(scenes, indices=[0, 1]), UnlabeledPool(scenes, indices=[2, 3, 4]))
    >>> grown.set_pseudo_labels([2], [7])
    >>> len(grown), grown.targets.tolist(), grown.true_targets.tolist()
    (3, [0, 1, 7], [0, 1, 4])
    """

    def __init__(self, labeled: LabeledSubset, pool: UnlabeledPool) -> None:
        self.labeled, self.pool = labeled, pool
        self._count = torch.zeros(1, dtype=torch.long)
        self._chosen = torch.zeros(2, len(pool), dtype=torch.long)  # index in the pool, pseudo-label
        for state in (self._count, self._chosen):
            state.share_memory_()

    def set_pseudo_labels(self, indices: Tensor | Sequence[int], labels: Tensor | Sequence[int]) -> None:
        """Replace all pseudo-labels; call it between epochs.

        Args:
            indices: positions in the pool, no position twice, ``(m,)``.
            labels: their pseudo-labels, ``(m,)``.

        Raises:
            ValueError: an index is out of range or comes twice, or the lengths differ.
        """
        rows = checked_indices(indices, len(self.pool), "set_pseudo_labels")
        given = torch.as_tensor(labels, dtype=torch.long).cpu()
        if given.shape != rows.shape:
            raise ValueError(message("labels", "set_pseudo_labels", f"one label for each of {len(rows)} images", given))
        if len(set(rows.tolist())) < len(rows):
            raise ValueError(message("indices", "set_pseudo_labels", "free of repetitions", rows.tolist()))
        self._chosen[:, : len(rows)] = torch.stack([rows, given])
        self._count.fill_(len(rows))

    @property
    def pseudo_labels(self) -> tuple[Tensor, Tensor]:
        """Positions in the pool and labels given last, each ``(m,)``."""
        indices, labels = self._chosen[:, : int(self._count)].clone()
        return indices, labels

    @property
    def targets(self) -> Tensor:
        """Labels training sees, ``(n,)``."""
        return torch.cat([self.labeled.targets, self.pseudo_labels[1]])

    @property
    def true_targets(self) -> Tensor | None:
        """Labels of the underlying dataset, ``(n,)``; None where the pool has none."""
        hidden = self.pool.true_targets
        return None if hidden is None else torch.cat([self.labeled.true_targets, hidden[self.pseudo_labels[0]]])

    def __len__(self) -> int:
        return len(self.labeled) + int(self._count)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, int]]:
        n, total = len(self.labeled), len(self)
        rows = [int(i) + total if i < 0 else int(i) for i in indices]
        if rows and not (min(rows) >= 0 and max(rows) < n + len(self.pool)):
            raise IndexError(message("index", "GrowingDataset", f"in [-{total}, {total - 1}]", list(indices)))
        chosen = self._chosen[:, torch.tensor([i - n for i in rows if i >= n], dtype=torch.long)]
        known = iter(fetch(self.labeled, [i for i in rows if i < n]))
        images = iter(fetch(self.pool, chosen[0].tolist()))
        labels = iter(chosen[1].tolist())
        return [next(known) if i < n else (next(images)[0], next(labels)) for i in rows]
