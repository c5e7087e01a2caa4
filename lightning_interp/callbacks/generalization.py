"""Log, during training, other signs of generalisation that need no validation set."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.utils.data import Dataset

from lightning_interp._lightning import LightningModule, Trainer, rank_zero_info
from lightning_interp.callbacks.logs import log_figure, log_values
from lightning_interp.callbacks.monitor import Monitor
from lightning_interp.callbacks.sampling import TrainingSample
from lightning_interp.functional.generalization import SIGNALS, Snapshot, check_signals, measure_signals
from lightning_interp.hooks import LayerSpec
from lightning_interp.plots import plot_signals

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["GeneralizationMonitor"]

DEFAULT_SIGNALS = (
    "train_accuracy",
    "label_wave",
    "gradient_disparity",
    "head_evidence",
    "gwa_mean",
    "neuron_divergence",
    "weight_norm",
)


class GeneralizationMonitor(Monitor):
    """Logs validation-free signals of the literature beside each other, to compare them in one's own run.

    The names are those of :data:`lightning_interp.functional.generalization.SIGNALS`; each is logged as
    ``generalization/<name>`` and can be named in ``EarlyStopping(monitor=...)``. A value that is not finite is kept in
    the history and not logged. ``generalization/seconds``, ``generalization/overhead`` and ``generalization/bytes``
    say what they cost. After the run :attr:`stops` tells where each published rule would have stopped it.

    All signals look at the same images, drawn once from the Trainer's training set, as in
    :class:`CompressionMonitor`; every rank measures all of them. Training is bit-identical with and without.

    Args:
        signals: Names, or ``"all"``; by default cheap ones of several kinds: ``train_accuracy``, ``label_wave``,
            ``gradient_disparity``, ``head_evidence``, ``gwa_mean``, ``neuron_divergence``, ``weight_norm``.
        layers: Layers of the compression signals (``"nmf_auc"`` and kin).
        held_out: Images and given labels that are not trained on, for ``"held_out_loss"`` and
            ``"held_out_accuracy"``: the classical way, to compare with.
        name: First part of the logged names.
        **kwargs: What all monitors take, as in :class:`CompressionMonitor`.

    Raises:
        ValueError: If a name is unknown or a number out of range, or a hold-out signal has no ``held_out``.

    Example:
        >>> GeneralizationMonitor(["label_wave", "gwa"], every_n_epochs=2).signals
        ('label_wave', 'gwa')

    Reference:
        Each signal's own, see :mod:`lightning_interp.functional.generalization`.
    """

    def __init__(
        self,
        signals: Sequence[str] = DEFAULT_SIGNALS,
        *,
        layers: LayerSpec = "last_block",
        held_out: Dataset[Any] | None = None,
        name: str = "generalization",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        every = [name for name in SIGNALS if held_out is not None or not name.startswith("held_out")]
        self.signals = check_signals(every if signals == "all" else signals, type(self).__name__)
        self.layers, self.held_out = layers, held_out
        wanting = [name for name in self.signals if name not in every]
        if wanting:
            raise ValueError(
                f"The `held_out` parameter of `{type(self).__name__}` must be a dataset for {wanting[0]!r}. Got None."
            )
        self.memory_: dict[str, Tensor] = {}
        self._held_out: TrainingSample | None = None

    @property
    def stops(self) -> "pd.DataFrame":
        """Where the published rule of each signal would have stopped the run, and which epoch it would return."""
        import pandas as pd  # here, because importing it takes a second

        rows = []
        for name in self.signals if self.history_ else ():
            found = SIGNALS[name].rule.replay([row[name] for row in self.history_])
            epochs = [self.history_[i]["epoch"] for i in (found.stopped, found.best)]
            seconds = sum(row[f"{name}_seconds"] for row in self.history_)
            row = {"signal": name, "stops": found.triggered, "stops_after_epoch": epochs[0], "returns_epoch": epochs[1]}
            rows.append({**row, "seconds": seconds})
        return pd.DataFrame(rows)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget an earlier run; a checkpoint being resumed is loaded after this."""
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            self.memory_ = {}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw all signals over the run."""
        super().on_train_end(trainer, pl_module)
        if self.history_ and self.log_figures:
            log_figure(
                trainer,
                f"{self.name}/history",
                lambda: plot_signals(self.history[["epoch", *self.signals]], self.stops),
            )

    def state_dict(self) -> dict[str, Any]:
        """The checks so far, the clocks, and what signals remember from check to check."""
        return {**super().state_dict(), "memory": {key: value.cpu() for key, value in self.memory_.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        super().load_state_dict(state_dict)
        self.memory_ = dict(state_dict["memory"])

    def _plan(self, trainer: Trainer, module: LightningModule) -> None:
        """Draw the held-out images and measure once for nothing: what a signal lacks must be told now."""
        super()._plan(trainer, module)
        if self.held_out is not None:
            self._held_out = self._draw_sample(trainer, self.held_out)
        with trainer.precision_plugin.forward_context():
            self._values(trainer, module, memory={})
        rank_zero_info(f"{type(self).__name__}: {len(self._drawn().labels)} images, {', '.join(self.signals)}")

    def _measure(self, trainer: Trainer, pl_module: LightningModule, epoch: float) -> None:
        measured = self._attempt(trainer, lambda: self._values(trainer, pl_module, self.memory_), lambda result: result)
        if measured is None:
            return
        values, seconds = measured
        row = {"epoch": float(epoch), "step": float(trainer.global_step), **values}
        row |= {f"{name}_seconds": value for name, value in seconds.items()}
        self.history_.append({**row, "seconds": self.schedule.last_seconds})
        finite = {f"{self.name}/{name}": value for name, value in values.items() if math.isfinite(value)}
        log_values(trainer, pl_module, {**finite, **self._costs()})

    def _values(
        self, trainer: Trainer, module: LightningModule, memory: dict[str, Tensor]
    ) -> tuple[dict[str, float], dict[str, float]]:
        images, labels = self._placed(self._drawn(), trainer, module)
        snapshot = Snapshot(
            module,
            images,
            labels,
            held_out=None if self._held_out is None else self._placed(self._held_out, trainer, module),
            memory=memory,
            layers=self.layers,
            per_class=self.per_class,
            seed=self.seed,
        )
        return measure_signals(snapshot, self.signals)

    def _placed(self, sample: TrainingSample, trainer: Trainer, module: LightningModule) -> tuple[Tensor, Tensor]:
        return self._converted(sample.images, trainer, module), sample.labels.to(module.device)

    def _held_bytes(self) -> int:
        kept = list(self.memory_.values())
        if self._held_out is not None:
            kept += [self._held_out.images, self._held_out.labels]
        return super()._held_bytes() + sum(tensor.nbytes for tensor in kept)
