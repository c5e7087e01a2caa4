"""Selections of pseudo-labelled images as metrics: statistics, scores and quality, reduced over ranks."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lightning_interp._checks import check_int, message
from lightning_interp.functional.selection import ClassStatistics, ImageScores, batch_statistics
from lightning_interp.functional.selection.quality import selection_balance
from lightning_interp.functional.selection.statistics import Spatial

__all__ = ["ClassActivations", "PoolScores", "SelectionBalance", "SelectionPurity"]


class ClassActivations(Metric):
    """Activations summed per class: the statistics of the image score, over batches and ranks.

    Args:
        layers: Layer names, in network order.
        sizes: Units of each layer, after spatial pooling.
        n_classes: Number of classes; 1 for a mask of the whole dataset.
        spatial: See :func:`lightning_interp.functional.selection.class_statistics`.
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3))
        >>> metric = ClassActivations(["1", "2"], [4, 3], n_classes=3)
        >>> metric.update(model, torch.rand(6, 2), torch.tensor([0, 0, 1, 1, 1, 2]))
        >>> metric.compute().tolist()
        [2, 3, 1]
        >>> metric.statistics().layers
        ('1', '2')

    Reference:
        Image-score paper, section 2.2.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    counts: Tensor

    def __init__(
        self, layers: Sequence[str], sizes: Sequence[int], *, n_classes: int, spatial: Spatial = "none", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.layers, self.spatial = tuple(layers), spatial
        self.n_classes = check_int(n_classes, "n_classes", "ClassActivations")
        self.names = [f"sum_{i}" for i in range(len(self.layers))]
        for name, size in zip(self.names, sizes, strict=True):
            self.add_state(name, torch.zeros(n_classes, size, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("counts", torch.zeros(n_classes, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, model: nn.Module, images: Any, labels: Tensor) -> None:
        """Add some images; none at all is fine, for a rank without a share.

        Args:
            model: The network.
            images: ``(N, C, H, W)`` on the model's device.
            labels: ``(N,)``.
        """
        if len(labels) == 0:
            return
        more = batch_statistics(
            model, images, labels, n_classes=self.n_classes, layers=self.layers, spatial=self.spatial
        )
        for name, total in zip(self.names, more.sums, strict=True):
            state = getattr(self, name)
            setattr(self, name, state + total.to(state))
        self.counts = self.counts + more.counts.to(self.counts)

    def compute(self) -> Tensor:
        """Images per class, of all ranks."""
        return self.counts

    def statistics(self) -> ClassStatistics:
        """The statistics of all images of all ranks."""
        synced = self._is_synced
        with self.sync_context(should_sync=not synced, should_unsync=not synced):
            sums = tuple(getattr(self, name).clone() for name in self.names)
            return ClassStatistics(self.layers, sums, self.counts.clone(), self.spatial)


class PoolScores(Metric):
    """Scores of the images of a pool, gathered over ranks, in the order of the pool.

    Every rank must score one image at least: samplers that pad see to it.

    Args:
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Example:
        >>> scored = PoolScores()
        >>> found = ImageScores(torch.tensor([-1.0, -2.0]), torch.tensor([0, 1]), torch.eye(2))
        >>> scored.update(torch.tensor([7, 3]), found)
        >>> scored.compute()
        tensor([3, 7])
        >>> scored.scores().labels
        tensor([1, 0])
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    indices: list[Tensor]
    values: list[Tensor]
    labels: list[Tensor]
    probabilities: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("indices", "values", "labels", "probabilities"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, indices: Tensor, found: ImageScores) -> None:
        """Add the scores of some images.

        Args:
            indices: Positions in the pool, ``(N,)``. An image that comes twice (as samplers pad) counts once.
            found: Their scores.
        """
        if not len(found):  # has no columns for the classes
            return
        device = self.device
        self.indices.append(indices.to(device))
        self.values.append(found.scores.to(device))
        self.labels.append(found.labels.to(device))
        self.probabilities.append(found.probabilities.to(device))

    def compute(self) -> Tensor:
        """Positions in the pool, sorted, each once."""
        positions: Tensor = self._indices().unique()
        return positions

    def scores(self) -> ImageScores:
        """The scores in the order of :meth:`compute`, on the CPU."""
        synced = self._is_synced
        with self.sync_context(should_sync=not synced, should_unsync=not synced):
            indices = self._indices()
            if not len(indices):
                return ImageScores(torch.zeros(0), torch.zeros(0, dtype=torch.long), torch.zeros(0, 0))
            order = indices.argsort(stable=True)
            first = torch.ones(len(order), dtype=torch.bool, device=order.device)
            first[1:] = indices[order][1:] != indices[order][:-1]
            rows = order[first]
            columns = (dim_zero_cat(state)[rows].cpu() for state in (self.values, self.labels, self.probabilities))
            return ImageScores(*columns)

    def _indices(self) -> Tensor:
        none = torch.zeros(0, dtype=torch.long, device=self.device)
        empty = isinstance(self.indices, list) and not self.indices
        return none if empty else dim_zero_cat(self.indices)


class _SelectionCounts(Metric):
    """Chosen images per class, and how many of them are right."""

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    chosen: Tensor
    right: Tensor

    def __init__(self, n_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n_classes = check_int(n_classes, "n_classes", type(self).__name__)
        for name in ("chosen", "right"):
            self.add_state(name, torch.zeros(n_classes, dtype=torch.long), dist_reduce_fx="sum")

    def _count(self, labels: Tensor, right: Tensor) -> None:
        if len(labels) and not (labels.min() >= 0 and labels.max() < self.n_classes):
            must = f"labels in [0, {self.n_classes - 1}]"
            raise ValueError(message("labels", type(self).__name__, must, labels.unique().tolist()))
        labels, right = labels.to(self.chosen.device), right.to(self.chosen.device)
        self.chosen = self.chosen + torch.bincount(labels, minlength=self.n_classes)
        self.right = self.right + torch.bincount(labels[right], minlength=self.n_classes)


class SelectionPurity(_SelectionCounts):
    """Share of pseudo-labels that are right.

    Args:
        n_classes: Number of classes.
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Example:
        >>> purity = SelectionPurity(3)
        >>> purity(torch.tensor([0, 1, 1, 2]), torch.tensor([0, 1, 2, 2]))
        tensor(0.7500)
        >>> purity.per_class()
        tensor([1.0000, 0.5000, 1.0000])
    """

    def update(self, labels: Tensor, truth: Tensor) -> None:
        """Add chosen images.

        Args:
            labels: Their pseudo-labels, ``(N,)``.
            truth: Their true labels, ``(N,)``.
        """
        self._count(labels, labels == truth.to(labels.device))

    def compute(self) -> Tensor:
        """Share of right labels; NaN for an empty selection."""
        return self.right.sum() / self.chosen.sum()

    def per_class(self) -> Tensor:
        """Share of right labels of the images chosen as each class, ``(C,)``; NaN for a class without any."""
        synced = self._is_synced
        with self.sync_context(should_sync=not synced, should_unsync=not synced):
            return self.right / self.chosen


class SelectionBalance(_SelectionCounts):
    """How evenly a selection covers the classes: normalised entropy, 1 for equal shares, 0 for one class.

    Args:
        n_classes: Number of classes.
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Example:
        >>> balance = SelectionBalance(2)
        >>> balance(torch.tensor([0, 0, 1, 1]))
        tensor(1.)
    """

    def update(self, labels: Tensor) -> None:
        """Add chosen images.

        Args:
            labels: Their pseudo-labels, ``(N,)``.
        """
        self._count(labels, torch.zeros_like(labels, dtype=torch.bool))

    def compute(self) -> Tensor:
        """Normalised entropy of the classes; NaN for an empty selection."""
        return selection_balance(self.chosen)
