"""The compression curve as a metric: counts are states, so shards of the images reduce to the curve of all."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from lightning_interp._checks import check_int
from lightning_interp.functional.compression import (
    CompressionCounts,
    CompressionCurve,
    SweepOptions,
    group_batches,
    sweep_ranks,
)
from lightning_interp.functional.factorization import FactorizationMethod

__all__ = ["CompressionAUC"]


class CompressionAUC(Metric):
    """Area under accuracy against the rank of the activations, accumulated over batches and ranks.

    Args:
        layers: Names of the layers to compress, in network order.
        ks: Ranks, increasing.
        width: Channels of the widest of the layers.
        n_classes: Number of classes.
        method: Factorisation, see :func:`lightning_interp.functional.compression_curve`.
        residual: Feed the residual on instead of the reconstruction.
        batch_size: Images factorised together.
        single_class: Whether the images of a batch share one label.
        max_iter: Iterations of the NMF solver.
        seed: Seed of the factorisation. With NMF and PCA a batch's result depends on nothing but the batch, so that
            sharding changes nothing; random ablation draws other columns for other shards.
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Example:
        >>> from lightning_interp.models import CIFAR10CNN
        >>> metric = CompressionAUC(["features.21"], [1, 2], width=32, n_classes=10)
        >>> metric.update(CIFAR10CNN(width=4), torch.rand(8, 3, 32, 32), torch.arange(8) % 2)
        >>> sorted(metric.compute())
        ['auc', 'full_accuracy', 'relative_auc']

    Reference:
        Thesis, section 3.5.2.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    correct: Tensor
    total: Tensor
    squared_error: Tensor
    squared_norm: Tensor

    def __init__(
        self,
        layers: Sequence[str],
        ks: Sequence[int],
        *,
        width: int,
        n_classes: int,
        method: FactorizationMethod = "nmf",
        residual: bool = False,
        batch_size: int = 50,
        single_class: bool = True,
        max_iter: int = 12,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.width = check_int(width, "width", "CompressionAUC")
        self.n_classes = check_int(n_classes, "n_classes", "CompressionAUC")
        self.options = SweepOptions(tuple(layers), tuple(ks), method, residual, max_iter, seed)
        self.batch_size, self.single_class = batch_size, single_class
        empty = CompressionCounts.zeros(len(self.options.layers), len(self.options.ks), n_classes)
        for field in fields(empty):
            # float32 holds counts exactly up to 2**24 and exists on every device.
            self.add_state(field.name, getattr(empty, field.name).float(), dist_reduce_fx="sum")

    def update(self, model: nn.Module, images: Tensor, labels: Tensor) -> None:
        """Add the counts of some images; none at all is fine, for a rank without a share.

        Args:
            model: The network.
            images: ``(N, C, H, W)`` on the model's device.
            labels: Given labels, ``(N,)``.
        """
        batches = group_batches(labels, batch_size=self.batch_size, single_class=self.single_class)
        counts = sweep_ranks(model, images, labels, batches, self.options, n_classes=self.n_classes)
        for field in fields(counts):
            state = getattr(self, field.name)
            setattr(self, field.name, state + getattr(counts, field.name).to(state))

    def compute(self) -> dict[str, Tensor]:
        """AuC, relative AuC and full-rank accuracy of all images of all ranks."""
        curve = self.curve()
        values = {"auc": curve.auc, "relative_auc": curve.relative_auc, "full_accuracy": curve.full_accuracy}
        return {name: torch.tensor(value) for name, value in values.items()}

    def curve(self) -> CompressionCurve:
        """The whole curve, reduced over ranks."""
        synced = self._is_synced
        with self.sync_context(should_sync=not synced, should_unsync=not synced):
            counts = CompressionCounts(*(getattr(self, f.name).double().cpu() for f in fields(CompressionCounts)))
        options = self.options
        return CompressionCurve(options.ks, self.width, options.layers, options.method, options.residual, counts)
