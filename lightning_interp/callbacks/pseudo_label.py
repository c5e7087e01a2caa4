"""Choose pseudo-labels from an unlabelled pool, epoch by epoch, and train on them."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from lightning_interp._checks import check_choice, check_int, message
from lightning_interp._lightning import LightningModule, Trainer
from lightning_interp.callbacks.logs import log_values
from lightning_interp.callbacks.periodic import PeriodicCallback
from lightning_interp.callbacks.pool import (
    check_pool,
    overlap_with_labeled,
    pool_data,
    reloads_every_epoch,
    shard_batches,
    true_targets,
)
from lightning_interp.callbacks.pool_scorer import PoolScorer
from lightning_interp.callbacks.selection_log import Selection, log_pool_figures, selection_values, write_selection
from lightning_interp.exceptions import MeasurementWarning
from lightning_interp.functional.selection import (
    RANKINGS,
    ImageScores,
    Norm,
    Ranking,
    ScoreOptions,
    Spatial,
    Threshold,
    check_fractions,
    rank_images,
    select_top,
)
from lightning_interp.hooks import LayerSpec, evaluating, preserved_rng
from lightning_interp.metrics import ClassActivations, PoolScores

__all__ = ["PseudoLabelSelection"]


class PseudoLabelSelection(PeriodicCallback):
    """Labels the pool of a datamodule with the network in training, keeps the best of each class, trains on them.

    One line in ``Trainer(callbacks=[PseudoLabelSelection(fraction=0.3)])``, with a datamodule that has a pool: any of
    this package with ``labeled_size=...``, or your own with what
    :class:`lightning_interp.callbacks.pool.PoolDataModule` lists. At the end of an epoch every image of the pool is
    labelled and ranked; the best images of every class, under their predicted labels, join the labelled ones in the
    next epochs, in place of those chosen before. With ``Trainer(reload_dataloaders_every_n_epochs=1)`` epochs grow
    with the training set; without it they keep their number of batches. Several processes need it.

    Logged, and usable in ``ModelCheckpoint(monitor=...)``:

    - ``pseudo_labels/n_chosen``, ``pseudo_labels/n_chosen/<class>``; ``pseudo_labels/n_skipped``: images that are in
      the labelled part too, or got no score or no label; ``pseudo_labels/dead_layers``
    - ``pseudo_labels/balance`` of the classes, 1 for equal shares; ``pseudo_labels/overlap_softmax``: share of the
      chosen images that the softmax would choose too
    - ``pseudo_labels/purity`` and ``pseudo_labels/pool_accuracy``, where the pool knows its ``true_targets``
    - ``pseudo_labels/seconds``, ``pseudo_labels/overhead``, ``pseudo_labels/bytes``
    - figures ``pseudo_labels/histogram``, ``pseudo_labels/intervals``, ``pseudo_labels/best_and_worst``

    Args:
        fraction: Share of the images predicted as a class to take, in [0, 1]: one number, or one per class.
        score: How images are ranked: ``"image_score"``, ``"softmax"``, ``"margin"``, ``"entropy"``, ``"random"``,
            ``"flexmatch"``, ``"mc_dropout"``.
        mode: ``"per_class"``; or ``"dataset"``: one activation mask of all labelled images and the best of the whole
            pool, for detectors too. A module with a method ``pseudo_labels(outputs) -> list`` then makes the labels.
        classes: Take images of these classes only; in each run of the paper it is one. All by default.
        share_of: What ``fraction`` is a share of, see :func:`lightning_interp.functional.select_top`.
        start_epoch: Epochs of training before the first selection.
        every_n_epochs: Select at the end of every n-th epoch.
        layers: Layers of the image score, see :func:`lightning_interp.hooks.select_layers`.
        spatial: ``"none"``, or ``"mean"`` or ``"max"`` over positions: for large images and for different sizes.
        norm: As in :func:`lightning_interp.functional.image_scores`.
        threshold: As there.
        overlap: As there.
        csv_path: A new file for all that is chosen: ``index``, ``label``, ``score``, ``epoch``.
        seed: Of ``"random"`` and ``"mc_dropout"``.
        name: First part of the logged names.
        log_figures: Draw figures.
        max_overhead: Put selections off while they would exceed this share of the training time.

    Raises:
        ValueError: If an option is out of range.

    Example:
        >>> selection = PseudoLabelSelection(fraction=0.3, score="image_score", start_epoch=5)
        >>> selection.history.empty
        True

    Reference:
        Image-score paper, section 3.1; section 3.2 for the mode ``"dataset"``.
    """

    def __init__(
        self,
        fraction: float | Sequence[float] = 0.3,
        score: Ranking = "image_score",
        *,
        mode: Literal["per_class", "dataset"] = "per_class",
        classes: Sequence[int] | None = None,
        share_of: Literal["predicted", "pool"] = "predicted",
        start_epoch: int = 1,
        every_n_epochs: int = 1,
        layers: LayerSpec = "composites",
        spatial: Spatial = "none",
        norm: Norm = "linf",
        threshold: Threshold = "class_mean",
        overlap: bool = True,
        csv_path: str | Path | None = None,
        seed: int = 0,
        name: str = "pseudo_labels",
        log_figures: bool = True,
        max_overhead: float | None = None,
    ) -> None:
        super().__init__(name=name, every_n_epochs=every_n_epochs, max_overhead=max_overhead, log_figures=log_figures)
        owner = type(self).__name__
        check_choice(score, "score", owner, RANKINGS)
        check_choice(mode, "mode", owner, ("per_class", "dataset"))
        check_choice(share_of, "share_of", owner, ("predicted", "pool"))
        check_choice(spatial, "spatial", owner, ("none", "mean", "max"))
        check_fractions(fraction, len(fraction) if isinstance(fraction, Sequence) else 1, owner)
        if mode == "dataset" and (classes is not None or isinstance(fraction, Sequence)):
            given = fraction if classes is None else classes
            raise ValueError(message("mode", owner, "'per_class' where classes differ", given))
        self.fraction, self.score, self.mode = fraction, score, mode
        self.share_of: Literal["predicted", "pool"] = share_of
        self.classes = None if classes is None else tuple(check_int(c, "classes", owner, low=0) for c in classes)
        self.start_epoch = check_int(start_epoch, "start_epoch", owner, low=0)
        self.seed = check_int(seed, "seed", owner, low=0)
        self.csv_path = None if csv_path is None else Path(csv_path)
        self.scorer = PoolScorer(
            score,
            dataset_wide=mode == "dataset",
            layers=layers,
            spatial=spatial,
            options=ScoreOptions(norm, threshold, overlap),
            seed=seed,
        )
        self.selection_: Selection | None = None
        self._n_batches: float = 0  # of the epoch, 0 before the first

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget an earlier run; a checkpoint being resumed is loaded after this."""
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            self.selection_, self._n_batches = None, 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check datamodule and Trainer, and give a resumed run its pseudo-labels back before its loaders are made."""
        self._refuse_another(trainer)
        with preserved_rng():
            data = check_pool(trainer)
        if self.csv_path is not None and self.csv_path.exists() and not self._n_batches:
            raise ValueError(message("csv_path", type(self).__name__, "a new file", str(self.csv_path)))
        self._limit = trainer.limit_train_batches
        if not reloads_every_epoch(trainer) and 0 < self._n_batches < float("inf"):
            trainer.limit_train_batches = int(self._n_batches)  # the loader will be that of the grown set
        none = torch.zeros(0, dtype=torch.long)
        chosen = self.selection_ or Selection(none, none, none, 0)
        data.set_pseudo_labels(chosen.indices, chosen.labels)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find layers and number of classes, and score one image, so that a bad option fails now, not in an hour."""
        trainer.limit_train_batches = self._limit
        super().on_train_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the length of the epoch, for a resumed run to keep it."""
        self._n_batches = trainer.num_training_batches

    def state_dict(self) -> dict[str, Any]:
        """The checks so far, the clocks and what is chosen at the moment."""
        chosen = None if self.selection_ is None else self.selection_._asdict()
        return {**super().state_dict(), "selection": chosen, "n_batches": self._n_batches}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        super().load_state_dict(state_dict)
        chosen = state_dict["selection"]
        self.selection_ = None if chosen is None else Selection(**chosen)
        self._n_batches = state_dict["n_batches"]

    def _refuse_another(self, trainer: Trainer) -> None:
        callbacks: list[Any] = vars(trainer)["callbacks"]
        if any(isinstance(c, PseudoLabelSelection) and c is not self for c in callbacks):
            raise ValueError(
                f"A Trainer takes one {type(self).__name__}: each would replace what the other chose. Got several. "
                "Boost several classes with `classes=[...]` of one."
            )

    def _plan(self, trainer: Trainer, module: LightningModule) -> None:
        data = pool_data(trainer)
        self._overlapping = overlap_with_labeled(data)
        if len(self._overlapping):
            text = f"{len(self._overlapping)} images of the pool are in the labelled part too and are never chosen."
            warnings.warn(text, MeasurementWarning, stacklevel=2)
        self.scorer.plan(trainer, module, data)
        n_classes, owner = self.scorer.n_classes, type(self).__name__
        self._fractions = check_fractions(self.fraction, n_classes, owner)
        if self.classes is not None:
            kept = {check_int(c, "classes", owner, low=0, high=n_classes - 1) for c in self.classes}
            self._fractions = tuple(alpha if c in kept else 0.0 for c, alpha in enumerate(self._fractions))

    def _measure(self, trainer: Trainer, pl_module: LightningModule, epoch: float) -> None:
        if epoch < self.start_epoch:
            return
        before, data = self.schedule.measuring_seconds, pool_data(trainer)
        arguments = (trainer, pl_module, data)
        statistics = None
        if self.score == "image_score":
            statistics = self._attempt(trainer, lambda: self.scorer.statistics(*arguments), ClassActivations.statistics)
            if statistics is None:
                return
        pool = self._attempt(trainer, lambda: self.scorer.scores(*arguments, statistics), PoolScores.scores)
        if pool is None:
            return
        pool = replace(pool, scores=rank_images(pool, self.score, seed=self.seed + trainer.current_epoch))
        if pool.scores.isnan().all():
            self._warn_of_loss(trainer, "no image of the pool got a score, former pseudo-labels stay")
            return
        pool.scores[self._overlapping] = float("nan")
        broadcast = trainer.strategy.broadcast  # every rank trains on the same
        chosen = self._attempt(trainer, lambda: self._choose(trainer, pl_module, pool, int(epoch)), broadcast)
        if chosen is None:
            return
        self.selection_ = selection = chosen
        data.set_pseudo_labels(selection.indices, selection.labels)
        self.schedule.last_seconds = self.schedule.measuring_seconds - before
        self._report(trainer, pl_module, pool, selection, () if statistics is None else statistics.dead)

    def _rows(self, scores: Tensor, pool: ImageScores) -> Tensor:
        """Positions of the best images."""
        labels = torch.zeros_like(pool.labels) if self.mode == "dataset" else pool.labels
        return select_top(scores, labels, self._fractions, share_of=self.share_of)

    def _choose(self, trainer: Trainer, module: LightningModule, pool: ImageScores, epoch: int) -> Selection:
        rows = self._rows(pool.scores, pool)
        annotate = getattr(module, "pseudo_labels", None)
        if annotate is None or self.mode != "dataset":
            return Selection(rows, pool.labels[rows], pool.scores[rows], epoch)
        if not trainer.is_global_zero:  # gets what rank zero chose
            return Selection(rows, [], pool.scores[rows], epoch)
        with evaluating(module):
            batches = shard_batches(pool_data(trainer).unlabeled_dataset, rows.tolist(), trainer, module)
            made = [label for images, _ in batches for label in annotate(module(images))]
        kept = torch.tensor([label is not None for label in made], dtype=torch.bool)
        labels = [label for label in made if label is not None]
        return Selection(rows[kept], labels, pool.scores[rows][kept], epoch)

    def _report(
        self,
        trainer: Trainer,
        module: LightningModule,
        pool: ImageScores,
        selection: Selection,
        dead: tuple[str, ...],
    ) -> None:
        rival = None
        if pool.probabilities.shape[1] > 1:
            rival = self._rows(rank_images(pool, "softmax").where(~pool.scores.isnan(), float("nan")), pool)
        truth = true_targets(pool_data(trainer))
        values = selection_values(selection, pool, truth=truth, softmax_rows=rival)
        values["n_skipped"] += len(self._rows(pool.scores, pool)) - len(selection.indices)
        values["dead_layers"] = float(len(dead))
        row = {"epoch": float(selection.epoch), "step": float(trainer.global_step), **values}
        self.history_.append({**row, "seconds": self.schedule.last_seconds})
        if not len(selection.indices):
            text = f"{type(self).__name__} chose no image after epoch {selection.epoch}: training goes on without."
            warnings.warn(text, MeasurementWarning, stacklevel=2)
        if self.csv_path is not None and trainer.is_global_zero and not vars(trainer)["fast_dev_run"]:
            write_selection(self.csv_path, selection)
        finite = {f"{self.name}/{key}": value for key, value in values.items() if value == value}
        log_values(trainer, module, {**finite, **self._costs()})
        if self.log_figures:
            with preserved_rng():  # pictures of the pool may be augmented
                log_pool_figures(trainer, self.name, pool_data(trainer), pool, truth)

    def _held_bytes(self) -> int:
        if self.selection_ is None:
            return 0
        labels = self.selection_.labels
        own = labels.nbytes if isinstance(labels, Tensor) else 0
        return self.selection_.indices.nbytes + self.selection_.scores.nbytes + own
