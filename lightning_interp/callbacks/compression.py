"""Measure, during training, how well the network classifies with compressed activations."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_interp._checks import check_choice, check_int
from lightning_interp._lightning import Callback, LightningModule, Trainer, rank_zero_info
from lightning_interp.callbacks.logs import log_figure, log_values
from lightning_interp.callbacks.sampling import (
    BatchTransform,
    TrainingSample,
    draw_sample,
    train_dataloader,
    unpack_batch,
)
from lightning_interp.callbacks.schedule import Schedule
from lightning_interp.exceptions import MeasurementWarning
from lightning_interp.functional.compression import CompressionCurve, check_ranks, group_batches, inspect_layers
from lightning_interp.functional.factorization import FactorizationMethod
from lightning_interp.hooks import LayerSpec, evaluating, preserved_rng
from lightning_interp.metrics import CompressionAUC
from lightning_interp.plots import plot_compression_curve

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CompressionMonitor"]


class CompressionMonitor(Callback):
    """Logs the area under accuracy against activation rank (AuC) of the network in training.

    One line in ``Trainer(callbacks=[CompressionMonitor()])``. Training is bit-identical with and without it. The
    values below can be named in ``EarlyStopping(monitor=...)`` and ``ModelCheckpoint(monitor=...)``; between checks
    they keep their last value.

    - ``compression/nmf_auc`` (the method's name in place of nmf), ``compression/relative_auc``,
      ``compression/full_accuracy``
    - ``compression/seconds`` of the last check, ``compression/overhead`` (measuring / training time so far),
      ``compression/bytes`` held by the callback
    - ``compression/class_auc/<label>`` and ``compression/layer_auc/<layer>`` on request
    - ``compression/curve``: the accuracy-rank curve as a figure

    The images are drawn once, at the start, by the callback's own seed: ``per_class * batches_per_class`` of each
    class from the Trainer's training set. They are kept in memory as fetched, so random augmentation is frozen.

    Args:
        layers: Layers to compress, see :func:`lightning_interp.hooks.select_layers`; the choice is logged.
        method: Factorisation: ``"nmf"``, ``"pca"``, ``"kmeans"`` or ``"random_ablation"``.
        ks: Ranks; powers of two below the layer width, up to 128, by default.
        per_class: Images factorised together: a batch of one class.
        batches_per_class: Batches of each class; more make the curve smoother.
        n_classes: All classes up to this number, else as many random ones.
        every_n_epochs: Measure at the end of every n-th epoch.
        every_n_train_steps: Measure every n optimizer steps instead.
        dataset: Images to use in place of the Trainer's training set, yielding ``(x, y)``.
        batch_transform: Function from a batch to ``(x, y)``, for batches of other shapes.
        max_iter: Iterations of the NMF solver.
        seed: Seed of the sample and of the factorisation.
        log_per_class: Log the AuC of each class.
        log_per_layer: Log the AuC of each layer compressed alone; costs one more sweep per layer.
        log_figures: Draw the curve at every check.
        max_overhead: Put checks off while measuring would exceed this share of the training time. Decisions then
            depend on the clock.
        name: First part of the logged names.

    Raises:
        ValueError: If a number or name is out of range.

    Example:
        >>> monitor = CompressionMonitor(layers="features.2[0-9]", every_n_epochs=2)
        >>> monitor.key
        'compression/nmf_auc'

    Reference:
        Thesis, section 3.5.
    """

    def __init__(
        self,
        layers: LayerSpec = "last_block",
        *,
        method: FactorizationMethod = "nmf",
        ks: Sequence[int] | None = None,
        per_class: int = 50,
        batches_per_class: int = 3,
        n_classes: int = 10,
        every_n_epochs: int = 1,
        every_n_train_steps: int | None = None,
        dataset: Dataset[Any] | None = None,
        batch_transform: BatchTransform | None = None,
        max_iter: int = 12,
        seed: int = 0,
        log_per_class: bool = False,
        log_per_layer: bool = False,
        log_figures: bool = True,
        max_overhead: float | None = None,
        name: str = "compression",
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        self.layers, self.ks = layers, ks
        self.method: FactorizationMethod = method
        check_choice(method, "method", owner, get_args(FactorizationMethod))
        self.per_class = check_int(per_class, "per_class", owner)
        self.batches_per_class = check_int(batches_per_class, "batches_per_class", owner)
        self.n_classes = check_int(n_classes, "n_classes", owner)
        self.max_iter = check_int(max_iter, "max_iter", owner)
        self.dataset, self.batch_transform, self.seed = dataset, batch_transform, seed
        self.log_per_class, self.log_per_layer, self.log_figures = log_per_class, log_per_layer, log_figures
        self.name = name
        self.schedule = Schedule(every_n_epochs, every_n_train_steps, max_overhead, owner=owner)
        self.history_: list[dict[str, float]] = []
        self.curve_: CompressionCurve | None = None
        self._sample: TrainingSample | None = None
        self._metrics: dict[str, CompressionAUC] = {}

    @property
    def key(self) -> str:
        """Name under which the AuC is logged."""
        return f"{self.name}/{self.method}_auc"

    @property
    def state_key(self) -> str:
        """Key of this callback's state in a checkpoint."""
        return self._generate_state_key(name=self.name, method=self.method)

    @property
    def history(self) -> "pd.DataFrame":
        """One row per check: ``epoch``, ``step``, ``auc``, ``relative_auc``, ``full_accuracy``, ``seconds``, ..."""
        import pandas as pd  # here, because importing it takes a second

        return pd.DataFrame(self.history_)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget an earlier run; a checkpoint being resumed is loaded after this."""
        if stage == "fit":
            self.history_, self.curve_ = [], None
            self.schedule.reset()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the images, choose the layers, and try both once so that a bad option fails now, not in an hour."""
        self._refuse_same_name(trainer)
        with preserved_rng():
            self._sample = self._draw_sample(trainer)
            self._metrics = self._plan(trainer, pl_module, self._sample)
        self.schedule.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure when the step is due."""
        if self.schedule.due_after_step(trainer):
            self._measure(trainer, pl_module, trainer.current_epoch + (batch_idx + 1) / trainer.num_training_batches)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure when the epoch is due. Lightning asks stock EarlyStopping and ModelCheckpoint only after this."""
        if self.schedule.due_after_epoch(trainer):
            self._measure(trainer, pl_module, trainer.current_epoch + 1)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self.schedule.stop()

    def state_dict(self) -> dict[str, Any]:
        """The checks so far and the clocks."""
        return {"history": [dict(row) for row in self.history_], "schedule": self.schedule.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.history_ = [dict(row) for row in state_dict["history"]]
        self.schedule.load_state_dict(state_dict["schedule"])

    def _checked(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, float]:
        """Called after each check; what it returns is logged too."""
        return {}

    def _held_bytes(self) -> int:
        sample = self._sample
        return 0 if sample is None else sample.images.nbytes + sample.labels.nbytes

    def _refuse_same_name(self, trainer: Trainer) -> None:
        callbacks: list[Any] = vars(trainer)["callbacks"]  # set by a connector, unknown to type checkers
        others = (c for c in callbacks if isinstance(c, CompressionMonitor) and c is not self)
        for other in others:
            if other.name == self.name:
                kinds = f"{type(self).__name__} and {type(other).__name__}"
                raise ValueError(
                    f"The `name` parameter of {kinds} must differ, both measure and log. Got {self.name!r} twice. "
                    f"Remove one of them, or set `name=` of one."
                )

    def _draw_sample(self, trainer: Trainer) -> TrainingSample:
        options: dict[str, Any] = {"batch_transform": self.batch_transform or unpack_batch}
        dataset = self.dataset
        if dataset is None:
            loader = train_dataloader(trainer)
            dataset, options["collate"] = loader.dataset, loader.collate_fn
        count = self.per_class * self.batches_per_class
        return draw_sample(dataset, images_per_class=count, n_classes=self.n_classes, seed=self.seed, **options)

    def _plan(self, trainer: Trainer, module: LightningModule, sample: TrainingSample) -> dict[str, CompressionAUC]:
        """The metrics to measure, by layer name, ``""`` for all layers together."""
        with trainer.precision_plugin.forward_context(), evaluating(module):
            image = self._images(trainer, module, [0])
            names, width, n_classes = inspect_layers(module, self.layers, image)
            alone = {name: inspect_layers(module, name, image)[1] for name in names if self.log_per_layer}
        if int(sample.labels.max()) >= n_classes:
            raise ValueError(
                f"Labels must be below the {n_classes} class scores of the model. Got {int(sample.labels.max())}. "
                "Set `batch_transform=` to map them."
            )
        rank_zero_info(f"{type(self).__name__}: {len(sample.labels)} training images, layers {', '.join(names)}")
        metrics = {"": self._metric(names, width, n_classes).to(module.device)}
        for name, own in alone.items():  # a layer alone has its own width, and no rank beyond it
            ks = [k for k in metrics[""].options.ks if k <= own]
            metrics[name] = self._metric((name,), own, n_classes, ks=ks or [1]).to(module.device)
        trial = self._metric(names, width, n_classes, ks=[1])
        trial.update(module, self._images(trainer, module, [0, -1]), sample.labels[[0, -1]].to(module.device))
        return metrics

    def _metric(
        self, layers: tuple[str, ...], width: int, n_classes: int, ks: Sequence[int] | None = None
    ) -> CompressionAUC:
        return CompressionAUC(
            layers,
            check_ranks(ks or self.ks, width),
            width=width,
            n_classes=n_classes,
            method=self.method,
            batch_size=self.per_class,
            max_iter=self.max_iter,
            seed=self.seed,
        )

    def _images(self, trainer: Trainer, module: LightningModule, index: Any) -> Tensor:
        assert self._sample is not None
        images: Tensor = trainer.precision_plugin.convert_input(self._sample.images[index].to(module.device))
        return images

    def _measure(self, trainer: Trainer, pl_module: LightningModule, epoch: float) -> None:
        with self.schedule.measuring(trainer):
            curves = self._curves(trainer, pl_module)
        if curves is None:
            return
        self.curve_ = curve = curves[""]
        values = {"auc": curve.auc, "relative_auc": curve.relative_auc, "full_accuracy": curve.full_accuracy}
        row = {"epoch": float(epoch), "step": float(trainer.global_step), **values}
        total = curve.counts.total
        row |= {"n_images": float(total.sum()), "chance": float(total.max() / total.sum())}
        self.history_.append({**row, "seconds": self.schedule.last_seconds})
        logged = {self.key if name == "auc" else f"{self.name}/{name}": value for name, value in values.items()}
        logged |= {f"{self.name}/layer_auc/{name}": curves[name].auc for name in curves if name}
        if self.log_per_class:
            logged |= {f"{self.name}/class_auc/{i}": v for i, v in enumerate(curve.class_auc.tolist()) if v == v}
        logged |= self._checked(trainer, pl_module)
        logged |= {f"{self.name}/seconds": self.schedule.last_seconds, f"{self.name}/overhead": self.schedule.overhead}
        log_values(trainer, pl_module, {**logged, f"{self.name}/bytes": float(self._held_bytes())})
        if self.log_figures:
            log_figure(trainer, f"{self.name}/curve", lambda: plot_compression_curve(curve))

    def _curves(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, CompressionCurve] | None:
        """Measure this rank's share of the batches and reduce; None, with a warning, if any rank failed."""
        failure = None
        try:
            with preserved_rng(), trainer.precision_plugin.forward_context():
                self._update(trainer, pl_module)
        except (RuntimeError, ValueError) as error:  # NaN weights, out of memory: a check is lost, not the run
            failure = error
        if not trainer.strategy.reduce_boolean_decision(failure is None, all=True):
            reason = failure or "another rank failed"
            text = f"{type(self).__name__} could not measure at step {trainer.global_step}, training goes on: {reason}"
            warnings.warn(text, MeasurementWarning, stacklevel=2)
            return None
        return {name: metric.curve() for name, metric in self._metrics.items()}

    def _update(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert self._sample is not None
        batches = group_batches(self._sample.labels, batch_size=self.per_class, single_class=True)
        mine = batches[trainer.global_rank :: trainer.world_size]
        index = torch.cat(mine) if mine else torch.empty(0, dtype=torch.long)
        images, labels = self._images(trainer, pl_module, index), self._sample.labels[index].to(pl_module.device)
        for metric in self._metrics.values():
            metric.reset()
            metric.update(pl_module, images, labels)
