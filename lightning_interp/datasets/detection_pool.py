"""A training set for detection that grows by pictures of a pool under predicted boxes."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_interp._checks import check_int, message
from lightning_interp.datasets.pools import UnlabeledPool
from lightning_interp.datasets.subsets import checked_indices


class GrowingDetection(Dataset[tuple[Any, dict[str, Any]]]):
    """Pictures with boxes, followed by those of a pool that have predicted boxes at the moment.

    What is predicted lives in shared memory, ``max_boxes`` rows for every picture of the pool: loader workers that are
    already running (``persistent_workers``) see it too.

    Args:
        labeled: yields ``(image, target)``; never shrinks.
        pool: where pseudo-labelled pictures come from.
        n_classes: labels go from 1 to this number.
        max_boxes: of one picture; detectors of torchvision predict 100 at most.

    Raises:
        ValueError: an option out of range.

    >>> pool = UnlabeledPool([(torch.zeros(3, 8, 8),)] * 4)
    >>> grown = GrowingDetection([], pool)
    >>> grown.set_pseudo_labels([2], [{"boxes": torch.tensor([[0, 1, 4, 5]]), "labels": torch.tensor([7])}])
    >>> grown[0][1]["boxes"].tolist(), grown[0][1]["labels"].tolist()
    ([[0.0, 1.0, 4.0, 5.0]], [7])
    """

    def __init__(self, labeled: Any, pool: UnlabeledPool, *, n_classes: int = 20, max_boxes: int = 100) -> None:
        self.labeled, self.pool = labeled, pool
        self.n_classes = check_int(n_classes, "n_classes", "GrowingDetection")
        self.max_boxes = check_int(max_boxes, "max_boxes", "GrowingDetection")
        self._count = torch.zeros(1, dtype=torch.long)
        self._chosen = torch.zeros(2, len(pool), dtype=torch.long)  # index in the pool, number of boxes
        self._boxes = torch.zeros(len(pool), max_boxes, 4)
        self._labels = torch.zeros(len(pool), max_boxes, dtype=torch.long)
        for state in (self._count, self._chosen, self._boxes, self._labels):
            state.share_memory_()

    def set_pseudo_labels(self, indices: Tensor | Sequence[int], targets: Sequence[Mapping[str, Tensor]]) -> None:
        """Replace all pseudo-labels; call it between epochs.

        Args:
            indices: positions in the pool, no position twice, ``(m,)``.
            targets: for each of them a dict with ``boxes`` ``(n, 4)`` and ``labels`` ``(n,)``; others are not used.

        Raises:
            ValueError: an index or label is out of range, an index comes twice, lengths differ, or a picture has more
                than ``max_boxes``.
        """
        rows = checked_indices(indices, len(self.pool), "set_pseudo_labels")
        if len(targets) != len(rows):
            must = f"one dict for each of {len(rows)} pictures"
            raise ValueError(message("targets", "set_pseudo_labels", must, f"{len(targets)} dicts"))
        if len(set(rows.tolist())) < len(rows):
            raise ValueError(message("indices", "set_pseudo_labels", "free of repetitions", rows.tolist()))
        sizes = [self._checked_size(target) for target in targets]
        for row, (n, target) in enumerate(zip(sizes, targets, strict=True)):
            self._boxes[row, :n], self._labels[row, :n] = target["boxes"].detach(), target["labels"]
        self._chosen[:, : len(rows)] = torch.stack([rows, torch.tensor(sizes, dtype=torch.long)])
        self._count.fill_(len(rows))

    @property
    def pseudo_labels(self) -> tuple[Tensor, list[dict[str, Tensor]]]:
        """Positions in the pool ``(m,)`` and the targets given last."""
        rows = range(int(self._count))
        return self._chosen[0, : len(rows)].clone(), [self._pseudo_label(row) for row in rows]

    def __len__(self) -> int:
        return len(self.labeled) + int(self._count)

    def __getitem__(self, index: int) -> tuple[Any, dict[str, Any]]:
        n, total = len(self.labeled), len(self)
        position = index + total if index < 0 else index
        if not 0 <= position < n + len(self.pool):
            raise IndexError(message("index", "GrowingDetection", f"in [-{total}, {total - 1}]", index))
        if position < n:
            image, target = self.labeled[position]
            return image, target
        row = position - n
        return self.pool[int(self._chosen[0, row])][0], self._pseudo_label(row)

    def _pseudo_label(self, row: int) -> dict[str, Tensor]:
        n = int(self._chosen[1, row])
        boxes, labels = self._boxes[row, :n].clone(), self._labels[row, :n].clone()
        return {"boxes": boxes, "labels": labels, "difficult": torch.zeros(n, dtype=torch.bool)}

    def _checked_size(self, target: Mapping[str, Tensor]) -> int:
        shapes = {name: tuple(target[name].shape) for name in ("boxes", "labels") if name in (target or {})}
        n = shapes.get("labels", (0,))[0]
        if shapes != {"boxes": (n, 4), "labels": (n,)}:
            must = "dicts of boxes (n, 4) and labels (n,)"
            raise ValueError(message("targets", "set_pseudo_labels", must, shapes or target))
        if n > self.max_boxes:
            must = f"dicts of at most {self.max_boxes} boxes each"
            raise ValueError(
                message("targets", "set_pseudo_labels", must, f"{n} boxes") + " Pass a larger `max_boxes`."
            )
        if n and not (target["labels"].min() >= 1 and target["labels"].max() <= self.n_classes):
            must = f"dicts with labels in [1, {self.n_classes}]"
            raise ValueError(message("targets", "set_pseudo_labels", must, target["labels"].tolist()))
        return n
