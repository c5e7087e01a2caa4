"""Measure, during training, how well the network classifies with compressed activations."""

import warnings
from collections.abc import Sequence
from typing import Any, get_args

import torch

from lightning_interp._checks import check_choice, check_int
from lightning_interp._lightning import LightningModule, Trainer, rank_zero_info
from lightning_interp.callbacks.logs import log_figure, log_values
from lightning_interp.callbacks.monitor import Monitor
from lightning_interp.exceptions import MeasurementWarning
from lightning_interp.functional.compression import CompressionCurve, check_ranks, group_batches, inspect_layers
from lightning_interp.functional.factorization import FactorizationMethod
from lightning_interp.hooks import LayerSpec, evaluating
from lightning_interp.metrics import CompressionAUC
from lightning_interp.plots import plot_compression_curve

__all__ = ["CompressionMonitor"]


class CompressionMonitor(Monitor):
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
        max_iter: Iterations of the NMF solver.
        log_per_class: Log the AuC of each class.
        log_per_layer: Log the AuC of each layer compressed alone; costs one more sweep per layer.
        name: First part of the logged names.
        **kwargs: What all monitors take: ``per_class`` (images factorised together), ``batches_per_class`` (more make
            the curve smoother), ``n_classes``, ``every_n_epochs``, ``every_n_train_steps``, ``dataset``,
            ``batch_transform``, ``seed``, ``log_figures``, ``max_overhead``; see
            :class:`lightning_interp.callbacks.monitor.Monitor`.

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
        max_iter: int = 12,
        log_per_class: bool = False,
        log_per_layer: bool = False,
        name: str = "compression",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        owner = type(self).__name__
        self.layers, self.ks = layers, ks
        self.method: FactorizationMethod = method
        check_choice(method, "method", owner, get_args(FactorizationMethod))
        self.max_iter = check_int(max_iter, "max_iter", owner)
        self.log_per_class, self.log_per_layer = log_per_class, log_per_layer
        self.curve_: CompressionCurve | None = None
        self._metrics: dict[str, CompressionAUC] = {}

    @property
    def key(self) -> str:
        """Name under which the AuC is logged."""
        return f"{self.name}/{self.method}_auc"

    @property
    def state_key(self) -> str:
        """Key of this callback's state in a checkpoint."""
        return self._generate_state_key(name=self.name, method=self.method)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget an earlier run; a checkpoint being resumed is loaded after this."""
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            self.curve_ = None

    def _checked(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, float]:
        """Called after each check; what it returns is logged too."""
        return {}

    def _plan(self, trainer: Trainer, module: LightningModule) -> None:
        """Make the metrics, by layer name, ``""`` for all layers together, and try a short one."""
        super()._plan(trainer, module)
        sample = self._drawn()
        if len(sample.labels.unique()) == 1:
            text = "The training set has a single class: its AuC cannot tell anything."
            warnings.warn(text, MeasurementWarning, stacklevel=2)
        with trainer.precision_plugin.forward_context(), evaluating(module):
            image = self._converted(sample.images[:1], trainer, module)
            names, width, n_classes = inspect_layers(module, self.layers, image)
            alone = {name: inspect_layers(module, name, image)[1] for name in names if self.log_per_layer}
        if int(sample.labels.max()) >= n_classes:
            raise ValueError(
                f"Labels must be below the {n_classes} class scores of the model. Got {int(sample.labels.max())}. "
                "Set `batch_transform=` to map them."
            )
        rank_zero_info(f"{type(self).__name__}: {len(sample.labels)} training images, layers {', '.join(names)}")
        self._metrics = {"": self._metric(names, width, n_classes).to(module.device)}
        for name, own in alone.items():  # a layer alone has its own width, and no rank beyond it
            ks = [k for k in self._metrics[""].options.ks if k <= own]
            self._metrics[name] = self._metric((name,), own, n_classes, ks=ks or [1]).to(module.device)
        trial = self._metric(names, width, n_classes, ks=[1])
        ends = self._converted(sample.images[[0, -1]], trainer, module)
        trial.update(module, ends, sample.labels[[0, -1]].to(module.device))

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

    def _measure(self, trainer: Trainer, pl_module: LightningModule, epoch: float) -> None:
        curves = self._attempt(trainer, lambda: self._update(trainer, pl_module), self._curves)
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
        log_values(trainer, pl_module, {**logged, **self._costs()})
        if self.log_figures:
            log_figure(trainer, f"{self.name}/curve", lambda: plot_compression_curve(curve))

    def _update(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count on this rank's share of the batches."""
        sample = self._drawn()
        batches = group_batches(sample.labels, batch_size=self.per_class, single_class=True)
        mine = batches[trainer.global_rank :: trainer.world_size]
        index = torch.cat(mine) if mine else torch.empty(0, dtype=torch.long)
        images = self._converted(sample.images[index], trainer, pl_module)
        for metric in self._metrics.values():
            metric.reset()
            metric.update(pl_module, images, sample.labels[index].to(pl_module.device))

    def _curves(self, _: None) -> dict[str, CompressionCurve]:
        """The curves of all ranks together."""
        return {name: metric.curve() for name, metric in self._metrics.items()}
