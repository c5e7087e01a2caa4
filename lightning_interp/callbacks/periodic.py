"""What all callbacks share: a schedule, a history, costs, and checks whose failure does not end the run."""

import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from torch import Tensor

from lightning_interp._lightning import Callback, LightningModule, Trainer
from lightning_interp.callbacks.logs import log_values
from lightning_interp.callbacks.schedule import Schedule
from lightning_interp.exceptions import MeasurementWarning
from lightning_interp.hooks import preserved_rng

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PeriodicCallback"]

R = TypeVar("R")
T = TypeVar("T")


class PeriodicCallback(Callback):
    """Does something every so often and keeps one row per time.

    A subclass says what to prepare (``_plan``) and what to do (``_measure``).

    Args:
        name: First part of the logged names.
        every_n_epochs: Act at the end of every n-th epoch.
        every_n_train_steps: Act every n optimizer steps instead.
        max_overhead: Put it off while it would exceed this share of the training time; it then depends on the clock.
        log_figures: Draw figures.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        *,
        name: str,
        every_n_epochs: int = 1,
        every_n_train_steps: int | None = None,
        max_overhead: float | None = None,
        log_figures: bool = True,
    ) -> None:
        super().__init__()
        self.name, self.log_figures = name, log_figures
        self.schedule = Schedule(every_n_epochs, every_n_train_steps, max_overhead, owner=type(self).__name__)
        self.history_: list[dict[str, float]] = []

    @property
    def state_key(self) -> str:
        """Key of this callback's state in a checkpoint."""
        return self._generate_state_key(name=self.name)

    @property
    def history(self) -> "pd.DataFrame":
        """One row per check."""
        import pandas as pd  # here, because importing it takes a second

        return pd.DataFrame(self.history_)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget an earlier run; a checkpoint being resumed is loaded after this."""
        if stage == "fit":
            self.history_ = []
            self.schedule.reset()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Prepare and try the measurement once, so that a bad option fails now, not in an hour."""
        self._refuse_same_name(trainer)
        with preserved_rng():
            self._plan(trainer, pl_module)
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

    @abstractmethod
    def _plan(self, trainer: Trainer, module: LightningModule) -> None:
        """Prepare for the checks of a run."""

    @abstractmethod
    def _measure(self, trainer: Trainer, pl_module: LightningModule, epoch: float) -> None:
        """Measure, remember and log."""

    @abstractmethod
    def _held_bytes(self) -> int:
        """What the callback keeps in memory."""

    def _attempt(self, trainer: Trainer, measure: Callable[[], R], reduce: Callable[[R], T]) -> T | None:
        """``reduce(measure())``, its seconds counted; None, with a warning, if measuring failed on any rank."""
        failure, result = None, None
        with self.schedule.measuring(trainer):
            try:
                with preserved_rng(), trainer.precision_plugin.forward_context():
                    result = measure()
            except (RuntimeError, ValueError) as error:  # NaN weights, out of memory: a check is lost, not the run
                failure = error
            if trainer.strategy.reduce_boolean_decision(failure is None, all=True):
                return reduce(cast("R", result))
        self._warn_of_loss(trainer, failure or "another rank failed")
        return None

    def _warn_of_loss(self, trainer: Trainer, reason: object) -> None:
        text = f"{type(self).__name__} could not measure at step {trainer.global_step}, training goes on: {reason}"
        warnings.warn(text, MeasurementWarning, stacklevel=3)

    def _record(self, trainer: Trainer, module: LightningModule, epoch: float, values: Mapping[str, float]) -> None:
        """Remember and log the numbers of a check."""
        row = {"epoch": float(epoch), "step": float(trainer.global_step), **values}
        self.history_.append({**row, "seconds": self.schedule.last_seconds})
        logged = {f"{self.name}/{key}": value for key, value in values.items()}
        log_values(trainer, module, {**logged, **self._costs()})

    def _costs(self) -> dict[str, float]:
        """What the checks cost, as values to log."""
        seconds, share = self.schedule.last_seconds, self.schedule.overhead
        held = float(self._held_bytes())
        return {f"{self.name}/seconds": seconds, f"{self.name}/overhead": share, f"{self.name}/bytes": held}

    def _refuse_same_name(self, trainer: Trainer) -> None:
        callbacks: list[Any] = vars(trainer)["callbacks"]  # set by a connector, unknown to type checkers
        others = (c for c in callbacks if isinstance(c, PeriodicCallback) and c is not self)
        for other in others:
            if other.name == self.name:
                kinds = f"{type(self).__name__} and {type(other).__name__}"
                raise ValueError(
                    f"The `name` parameter of {kinds} must differ, both measure and log. Got {self.name!r} twice. "
                    f"Remove one of them, or set `name=` of one."
                )

    @staticmethod
    def _converted(images: Tensor, trainer: Trainer, module: LightningModule) -> Tensor:
        """Images as the network takes them: on its device, in its precision."""
        converted: Tensor = trainer.precision_plugin.convert_input(images.to(module.device))
        return converted
