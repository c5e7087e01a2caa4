"""What monitors share that look at training images: a fixed sample, drawn once."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_interp._checks import check_int
from lightning_interp._lightning import LightningModule, Trainer, rank_zero_info
from lightning_interp.callbacks.periodic import PeriodicCallback
from lightning_interp.callbacks.sampling import (
    BatchTransform,
    TrainingSample,
    draw_sample,
    train_dataloader,
    unpack_batch,
)
from lightning_interp.hooks import OUTPUT, LayerSpec, evaluating, forward_to, select_layers

__all__ = ["Monitor"]


class Monitor(PeriodicCallback):
    """Draws training images once, measures on them every so often, and keeps one row per check.

    The images come from the Trainer's training set by the callback's own seed, ``per_class * batches_per_class`` of
    each class. They are kept in memory as fetched, so random augmentation is frozen.

    Args:
        per_class: Images of a batch of one class.
        batches_per_class: Batches of each class.
        n_classes: All classes up to this number, else as many random ones.
        dataset: Images to use in place of the Trainer's training set, yielding ``(x, y)``.
        batch_transform: Function from a batch to ``(x, y)``, for batches of other shapes.
        seed: Seed of the sample and of the measurement.
        **kwargs: What all periodic callbacks take: ``name``, ``every_n_epochs``, ``every_n_train_steps``,
            ``max_overhead``, ``log_figures``; see :class:`lightning_interp.callbacks.periodic.PeriodicCallback`.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        *,
        per_class: int = 50,
        batches_per_class: int = 3,
        n_classes: int = 10,
        dataset: Dataset[Any] | None = None,
        batch_transform: BatchTransform | None = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        owner = type(self).__name__
        self.per_class = check_int(per_class, "per_class", owner)
        self.batches_per_class = check_int(batches_per_class, "batches_per_class", owner)
        self.n_classes = check_int(n_classes, "n_classes", owner)
        self.dataset, self.batch_transform, self.seed = dataset, batch_transform, seed
        self._sample: TrainingSample | None = None

    def _plan(self, trainer: Trainer, module: LightningModule) -> None:
        """Draw the images."""
        self._sample = self._draw_sample(trainer)

    def _reached(self, trainer: Trainer, module: LightningModule, layers: LayerSpec) -> dict[str, Tensor]:
        """What one image of the sample makes of the chosen layers, and of the output, which comes last."""
        image = self._converted(self._drawn().images[:1], trainer, module)
        with trainer.precision_plugin.forward_context():
            with evaluating(module):
                names = select_layers(module, layers, example_input=image)
            with forward_to(module, [*names, OUTPUT]) as features, torch.no_grad():
                seen = features(image)
        rank_zero_info(f"{type(self).__name__}: {len(self._drawn().images)} images, layers {', '.join(names)}")
        return seen

    def _held_bytes(self) -> int:
        sample = self._drawn()
        return sample.images.nbytes + sample.labels.nbytes

    def _drawn(self) -> TrainingSample:
        assert self._sample is not None, "drawn when training starts"
        return self._sample

    def _draw_sample(self, trainer: Trainer, dataset: Dataset[Any] | None = None) -> TrainingSample:
        """Images of each class from ``dataset``, else from the callback's own, else from the training set."""
        options: dict[str, Any] = {"batch_transform": self.batch_transform or unpack_batch}
        dataset = dataset or self.dataset
        if dataset is None:
            loader = train_dataloader(trainer)
            dataset, options["collate"] = loader.dataset, loader.collate_fn
        count = self.per_class * self.batches_per_class
        return draw_sample(dataset, images_per_class=count, n_classes=self.n_classes, seed=self.seed, **options)
