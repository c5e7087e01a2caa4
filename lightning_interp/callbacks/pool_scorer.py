"""Statistics of the labelled part and scores of the pool, each rank on its share."""

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from lightning_interp._lightning import LightningModule, Trainer, rank_zero_info
from lightning_interp.callbacks.pool import PoolDataModule, shard_batches
from lightning_interp.functional.compression import class_scores
from lightning_interp.functional.selection import (
    ClassStatistics,
    ImageScores,
    Ranking,
    ScoreOptions,
    Spatial,
    batch_statistics,
    score_images,
)
from lightning_interp.hooks import LayerSpec, evaluating, select_layers
from lightning_interp.metrics import ClassActivations, PoolScores

__all__ = ["PoolScorer"]


class PoolScorer:
    """Scores the images of a datamodule's pool with the network in training.

    Args:
        ranking: How images are ranked.
        dataset_wide: One mask for all labelled images in place of one per class.
        layers: Layers of the image score.
        spatial: How positions of feature maps are treated.
        options: Readings of the image score.
        seed: Of Monte Carlo dropout.
    """

    def __init__(
        self,
        ranking: Ranking,
        *,
        dataset_wide: bool,
        layers: LayerSpec,
        spatial: Spatial,
        options: ScoreOptions,
        seed: int,
    ) -> None:
        self.ranking, self.dataset_wide = ranking, dataset_wide
        self.layers, self.spatial, self.options, self.seed = layers, spatial, options, seed
        self.n_classes = 1
        self._names: tuple[str, ...] = ()
        self._sizes: list[int] = []

    def plan(self, trainer: Trainer, module: LightningModule, data: PoolDataModule) -> None:
        """Find the layers and the number of classes, and score one image: what does not work must be told now."""
        images, _ = next(shard_batches(data.labeled_dataset, range(1), trainer, module))
        with trainer.precision_plugin.forward_context(), evaluating(module):
            self.n_classes = 1 if self.dataset_wide else class_scores(module(images)).shape[1]
            trial = None
            if self.ranking == "image_score":
                example = images if isinstance(images, Tensor) else (images,)
                self._names = tuple(select_layers(module, self.layers, example_input=example))
                trial = self._batch_statistics(module, images, torch.zeros(len(images), dtype=torch.long))
                self._sizes = [total.shape[1] for total in trial.sums]
            self._ranked(module, [(images, None)], trial)
        sizes = f"a pool of {len(data.unlabeled_dataset)} images, {len(data.labeled_dataset)} labelled training images"
        layers = f", layers {', '.join(self._names)}" if self._names else ""
        rank_zero_info(f"PseudoLabelSelection by {self.ranking}: {sizes}{layers}")

    def statistics(self, trainer: Trainer, module: LightningModule, data: PoolDataModule) -> ClassActivations:
        """Activations of this rank's share of the labelled images."""
        total = ClassActivations(self._names, self._sizes, n_classes=self.n_classes, spatial=self.spatial)
        total.to(module.device)
        mine = range(trainer.global_rank, len(data.labeled_dataset), trainer.world_size)
        for images, labels in shard_batches(data.labeled_dataset, mine, trainer, module):
            given = torch.zeros(len(images), dtype=torch.long) if self.dataset_wide else torch.as_tensor(labels)
            total.update(module, images, given.to(module.device))
        return total

    def scores(
        self, trainer: Trainer, module: LightningModule, data: PoolDataModule, statistics: ClassStatistics | None
    ) -> PoolScores:
        """Scores of this rank's share of the pool."""
        pool = PoolScores().to(module.device)
        # With fewer images than ranks the first is scored twice, and counted once: no rank is without.
        mine = range(trainer.global_rank, len(data.unlabeled_dataset), trainer.world_size) or range(1)
        batches = shard_batches(data.unlabeled_dataset, mine, trainer, module)
        pool.update(torch.tensor(list(mine)), self._ranked(module, batches, statistics))
        return pool

    def _batch_statistics(self, module: LightningModule, images: Any, labels: Tensor) -> ClassStatistics:
        options: dict[str, Any] = {"n_classes": self.n_classes, "layers": self._names, "spatial": self.spatial}
        return batch_statistics(module, images, labels, **options)

    def _ranked(self, module: LightningModule, batches: Any, statistics: ClassStatistics | None) -> ImageScores:
        options: dict[str, Any] = asdict(self.options) if self.ranking == "image_score" else {}
        return score_images(module, batches, self.ranking, statistics=statistics, seed=self.seed, **options)
