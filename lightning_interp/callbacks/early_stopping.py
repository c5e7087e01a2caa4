"""Stop training without a validation set, from the compressibility of the activations of training images."""

from typing import Any, Literal, NamedTuple, get_args

from torch import Tensor

from lightning_interp._checks import check_choice, check_int, check_number
from lightning_interp._lightning import LightningModule, Trainer
from lightning_interp.callbacks.compression import CompressionMonitor
from lightning_interp.callbacks.logs import log_figure
from lightning_interp.functional.early_stopping import (
    Criterion,
    Signal,
    StopDecision,
    decide_stop,
    trailing_mean,
    uninformative_checks,
)
from lightning_interp.hooks import LayerSpec
from lightning_interp.plots import plot_compression_history

__all__ = ["NMFEarlyStopping"]

Rule = Literal["default", "thesis"]


class _Rule(NamedTuple):
    signal: Signal
    criterion: Criterion
    smoothing: int
    patience: int
    min_delta: float


# The default comes from the calibration runs of benchmarks/early_stopping.py: the middle of the range of settings that
# do equally well there. With batch norm, where the ratio is below one from the start, it lets the run go on.
_RULES = {
    "default": _Rule("relative", "below_one", smoothing=1, patience=2, min_delta=0.04),
    "thesis": _Rule("plain", "first_maximum", smoothing=3, patience=3, min_delta=0.0),
}


class NMFEarlyStopping(CompressionMonitor):
    """Stops the run when compressed activations say that the network has begun to memorise.

    Measures and logs everything :class:`CompressionMonitor` does, plus ``compression/smoothed``, the signal the
    decision rests on. The place in the list of callbacks does not matter. After the run ``stopped_reason`` says why
    it ended, ``best_epoch`` which weights the module holds.

    Args:
        layers: Layers to compress, see :func:`lightning_interp.hooks.select_layers`.
        rule: ``"default"``: the relative AuC falls below one, after it was above one; ``"thesis"``: first maximum of
            the plain AuC, smoothed over three checks.
        signal: ``"plain"`` AuC or ``"relative"`` (AuC / full-rank accuracy); in place of the rule's.
        criterion: ``"first_maximum"``, ``"below_one"`` or ``"half_excess"``, see
            :func:`lightning_interp.functional.decide_stop`; in place of the rule's.
        smoothing: Checks in the trailing mean, in place of the rule's; 1 takes the values as they are.
        patience: Checks in a row that must confirm, in place of the rule's.
        min_delta: Changes up to this size do not count, in place of the rule's.
        min_epochs: No stop before so many epochs.
        restore_best_weights: Give the module the weights of the best check when the run is stopped. They are kept on
            the CPU and in the checkpoint. A run that reaches its end without a stop keeps its last weights.
        **kwargs: All other options of :class:`CompressionMonitor`.

    Raises:
        ValueError: If a number or name is out of range.

    Example:
        >>> stopper = NMFEarlyStopping(rule="thesis", every_n_train_steps=250)
        >>> stopper.signal, stopper.criterion
        ('plain', 'first_maximum')

    Reference:
        Thesis, section 3.5.3; the relative AuC and the other criteria are this project's own.
    """

    best_index_: int | None
    stopped_index_: int | None
    stopped_reason: str
    best_weights_: dict[str, Any] | None

    def __init__(
        self,
        layers: LayerSpec = "last_block",
        *,
        rule: Rule = "default",
        signal: Signal | None = None,
        criterion: Criterion | None = None,
        smoothing: int | None = None,
        patience: int | None = None,
        min_delta: float | None = None,
        min_epochs: int = 3,
        restore_best_weights: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(layers, **kwargs)
        owner = "NMFEarlyStopping"
        check_choice(rule, "rule", owner, list(_RULES))
        self.rule = rule
        known = _RULES[rule]
        self.signal: Signal = signal or known.signal
        self.criterion: Criterion = criterion or known.criterion
        check_choice(self.signal, "signal", owner, get_args(Signal))
        check_choice(self.criterion, "criterion", owner, get_args(Criterion))
        self.smoothing = check_int(known.smoothing if smoothing is None else smoothing, "smoothing", owner)
        self.patience = check_int(known.patience if patience is None else patience, "patience", owner)
        self.min_delta = check_number(known.min_delta if min_delta is None else min_delta, "min_delta", owner)
        self.min_epochs = check_int(min_epochs, "min_epochs", owner, low=0)
        self.restore_best_weights = restore_best_weights
        self._forget()

    @property
    def best_epoch(self) -> float | None:
        """Epochs finished at the best check."""
        return None if self.best_index_ is None else self.history_[self.best_index_]["epoch"]

    @property
    def stopped_epoch(self) -> float | None:
        """Epochs finished when the run was told to stop; None if it was not."""
        return None if self.stopped_index_ is None else self.history_[self.stopped_index_]["epoch"]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget an earlier run; a checkpoint being resumed is loaded after this."""
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            self._forget()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the best weights in, and draw the history of the run."""
        super().on_train_end(trainer, pl_module)
        if self.stopped_index_ is not None and self.best_weights_ is not None:
            pl_module.load_state_dict(self.best_weights_)
        if self.history_ and self.log_figures:
            history = self.history.assign(smoothed=self._smoothed())
            best = None if self.stopped_index_ is None else self.best_epoch
            log_figure(
                trainer,
                f"{self.name}/history",
                lambda: plot_compression_history(history, best=best, stopped=self.stopped_epoch),
            )

    def state_dict(self) -> dict[str, Any]:
        """The checks so far, the decision, and the best weights."""
        own = {
            "best_index": self.best_index_,
            "stopped_index": self.stopped_index_,
            "stopped_reason": self.stopped_reason,
            "best_weights": self.best_weights_,
        }
        return {**super().state_dict(), **own}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint with the same decisions as an uninterrupted run."""
        super().load_state_dict(state_dict)
        self.best_index_, self.stopped_index_ = state_dict["best_index"], state_dict["stopped_index"]
        self.stopped_reason, self.best_weights_ = state_dict["stopped_reason"], state_dict["best_weights"]

    def _checked(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, float]:
        if self.stopped_index_ is None:
            self._follow(self._decide(), trainer, pl_module)
        return {f"{self.name}/smoothed": self._smoothed()[-1]}

    def _decide(self) -> StopDecision:
        return decide_stop(
            self._values(),
            criterion=self.criterion,
            smoothing=self.smoothing,
            patience=self.patience,
            min_delta=self.min_delta,
            skip=self._uninformative(),
        )

    def _uninformative(self) -> int:
        chance, n_images = self.history_[-1]["chance"], int(self.history_[-1]["n_images"])
        return uninformative_checks([row["full_accuracy"] for row in self.history_], chance=chance, n_images=n_images)

    def _values(self) -> list[float]:
        column = "relative_auc" if self.signal == "relative" else "auc"
        return [row[column] if row["full_accuracy"] > 0 else 0.0 for row in self.history_]

    def _smoothed(self) -> list[float]:
        """The signal the decision rests on; as measured while the network still guesses."""
        values, skip = self._values(), self._uninformative()
        return values[:skip] + trailing_mean(values[skip:], self.smoothing)

    def _follow(self, decision: StopDecision, trainer: Trainer, module: LightningModule) -> None:
        self.best_index_ = decision.best
        if self.restore_best_weights and decision.best == len(self.history_) - 1:
            self.best_weights_ = {name: _to_cpu(value) for name, value in module.state_dict().items()}
        stop = decision.stop and self.history_[-1]["epoch"] >= self.min_epochs
        # All ranks hold the same reduced curve; this only makes sure that none is left behind.
        if trainer.strategy.reduce_boolean_decision(stop, all=False):
            trainer.should_stop = True
            self.stopped_index_ = len(self.history_) - 1
            self.stopped_reason = self._reason(decision)

    def _reason(self, decision: StopDecision) -> str:
        kind = "relative AuC" if self.signal == "relative" else "AuC"
        kept = "restored" if self.restore_best_weights else "were best"
        return (
            f"Stopped after epoch {self.stopped_epoch:g}: {kind} of {self.method.upper()}-compressed activations: "
            f"{decision.reason}; the weights of epoch {self.best_epoch:g} {kept}."
        )

    def _held_bytes(self) -> int:
        tensors = (value for value in (self.best_weights_ or {}).values() if isinstance(value, Tensor))
        return super()._held_bytes() + sum(tensor.nbytes for tensor in tensors)

    def _forget(self) -> None:
        self.best_index_ = self.stopped_index_ = self.best_weights_ = None
        self.stopped_reason = ""


def _to_cpu(value: Any) -> Any:
    return value.detach().cpu().clone() if isinstance(value, Tensor) else value
