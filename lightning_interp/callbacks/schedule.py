"""When a callback measures, and what measuring costs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning_interp._checks import check_int, check_number
from lightning_interp._lightning import Trainer

__all__ = ["Schedule"]


class Schedule:
    """Every so many epochs or optimizer steps, put off while measuring would exceed its share of the training time.

    Args:
        every_n_epochs: Measure at the end of every n-th epoch.
        every_n_train_steps: Measure every n optimizer steps instead.
        max_overhead: Largest share of the training time to spend on measuring; no limit by default.
        owner: Name of the callback, for error messages.
    """

    def __init__(
        self, every_n_epochs: int, every_n_train_steps: int | None, max_overhead: float | None, *, owner: str
    ) -> None:
        self.every_n_epochs = check_int(every_n_epochs, "every_n_epochs", owner)
        if every_n_train_steps is not None:
            check_int(every_n_train_steps, "every_n_train_steps", owner)
        if max_overhead is not None:
            check_number(max_overhead, "max_overhead", owner)
        self.every_n_train_steps = every_n_train_steps
        self.max_overhead = max_overhead
        self.reset()

    def reset(self) -> None:
        """Forget everything: a new run starts."""
        self.last_step = -1
        self.measuring_seconds = 0.0
        self.last_seconds = 0.0
        self._earlier_seconds = 0.0
        self._started: float | None = None

    def start(self) -> None:
        """Start the clock that measuring is compared with."""
        self._started = time.perf_counter()

    def stop(self) -> None:
        """Stop the clock: training has ended."""
        if self._started is not None:
            self._earlier_seconds += time.perf_counter() - self._started
            self._started = None

    @property
    def training_seconds(self) -> float:
        """Seconds since the start that were not spent measuring, interrupted runs included."""
        running = 0.0 if self._started is None else time.perf_counter() - self._started
        return max(0.0, self._earlier_seconds + running - self.measuring_seconds)

    @property
    def overhead(self) -> float:
        """Seconds spent measuring as a share of the seconds spent training."""
        return self.measuring_seconds / max(self.training_seconds, 1e-9)

    def due_after_step(self, trainer: Trainer) -> bool:
        """Whether to measure now that a batch has ended."""
        n, step = self.every_n_train_steps, trainer.global_step
        # With gradient accumulation several batches end at the same step.
        return n is not None and step > 0 and step % n == 0 and step != self.last_step and self._affordable(trainer)

    def due_after_epoch(self, trainer: Trainer) -> bool:
        """Whether to measure now that an epoch has ended."""
        if self.every_n_train_steps is not None:
            return False
        return (trainer.current_epoch + 1) % self.every_n_epochs == 0 and self._affordable(trainer)

    @contextmanager
    def measuring(self, trainer: Trainer) -> Iterator[None]:
        """Time what happens inside."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.last_seconds = time.perf_counter() - began
            self.measuring_seconds += self.last_seconds
            self.last_step = trainer.global_step

    def state_dict(self) -> dict[str, Any]:
        """Clocks and the last measured step."""
        return {
            "last_step": self.last_step,
            "measuring_seconds": self.measuring_seconds,
            "last_seconds": self.last_seconds,
            "elapsed_seconds": self.training_seconds + self.measuring_seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.last_step = state["last_step"]
        self.measuring_seconds, self.last_seconds = state["measuring_seconds"], state["last_seconds"]
        self._earlier_seconds = state["elapsed_seconds"]

    def _affordable(self, trainer: Trainer) -> bool:
        if self.max_overhead is None or self.last_step < 0:
            return True
        total = self.measuring_seconds + self.last_seconds
        # Clocks differ between ranks; all follow rank zero.
        return bool(trainer.strategy.broadcast(total <= self.max_overhead * self.training_seconds))
