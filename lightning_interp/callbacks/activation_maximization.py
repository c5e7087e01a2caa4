"""Watch, during training, what units and classes respond to most."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch

from lightning_interp._checks import check_choice, check_int, check_number, message
from lightning_interp._lightning import LightningModule, Trainer, rank_zero_info
from lightning_interp.callbacks.snapshots import SnapshotMonitor
from lightning_interp.functional.synthesis import (
    Jitter,
    Maximization,
    Objective,
    Regularizer,
    channel,
    logit,
    maximize_activation,
)
from lightning_interp.hooks import OUTPUT, forward_to
from lightning_interp.plots.activation_maximization import plot_maximization

__all__ = ["ActivationMaximizationMonitor"]


class ActivationMaximizationMonitor(SnapshotMonitor):
    """Makes the images that the same units respond to most, every few epochs, from the same noise.

    One line in ``Trainer(callbacks=[ActivationMaximizationMonitor({"features.10": [0, 1, 2]})])``. Training is
    bit-identical with and without it. Logged:

    - figures ``activation_maximization/images``, and ``activation_maximization/evolution``: a row per unit, a column
      per snapshot
    - ``activation_maximization/mean`` of the activations that were reached
    - ``activation_maximization/seconds`` of the last snapshot, ``activation_maximization/overhead`` (measuring /
      training time so far), ``activation_maximization/bytes`` held between snapshots

    Every snapshot writes the images as PNG files to ``<log_dir>/activation_maximization/epoch_005``, where the Trainer
    has a logger. The last ones stay in ``maximization_``. Ctrl-C during a snapshot ends the training as ever.

    Args:
        units: Layer name -> units, of which the mean over the map is maximised; or objectives, see
            :mod:`lightning_interp.functional.synthesis.objectives`; the scores of the first eight classes by default.
        every_n_epochs: Make images at the end of every n-th epoch.
        steps: Steps of gradient ascent.
        lr: Their size.
        parameters: ``"fourier"`` or ``"pixel"``.
        regularizers: See :mod:`lightning_interp.functional.synthesis.regularizers`.
        mean: Of the normalisation of the images; that of the datamodule, where it has one, by default.
        std: Likewise.
        name: First part of the logged names, and folder of the pictures.
        **kwargs: What all monitors take: ``every_n_train_steps``, ``max_overhead``, ``log_figures``, ``dataset``,
            ``batch_transform``, ``seed``; see :class:`lightning_interp.callbacks.monitor.Monitor`.

    Raises:
        ValueError: If a number is out of range, or there is nothing to maximise.

    Example:
        >>> monitor = ActivationMaximizationMonitor({"features.7": [0, 5]}, every_n_epochs=2, steps=64)
        >>> monitor.history.empty
        True

    Reference:
        Erhan et al., 2009; survey, section 3.
    """

    def __init__(
        self,
        units: Mapping[str, Sequence[int]] | Sequence[Objective] | None = None,
        *,
        every_n_epochs: int = 5,
        steps: int = 128,
        lr: float = 0.05,
        parameters: Literal["fourier", "pixel"] = "fourier",
        regularizers: Sequence[Regularizer] = (Jitter(),),
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        name: str = "activation_maximization",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, every_n_epochs=every_n_epochs, **kwargs)
        owner = type(self).__name__
        self.steps, self.lr = check_int(steps, "steps", owner), check_number(lr, "lr", owner)
        check_choice(parameters, "parameters", owner, ("fourier", "pixel"))
        self.parameters: Literal["fourier", "pixel"] = parameters
        self.units, self.regularizers, self.mean, self.std = units, tuple(regularizers), mean, std
        self._objectives = None if units is None else _objectives(units)
        self.maximization_: Maximization | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget an earlier run; a checkpoint being resumed is loaded after this."""
        super().setup(trainer, pl_module, stage)
        if stage == "fit":
            self.maximization_ = None

    def _plan(self, trainer: Trainer, module: LightningModule) -> None:
        """Find out how images look, and try one step: what does not work must be told now."""
        super()._plan(trainer, module)
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]  # set by a connector
        own = self.mean is None and self.std is None
        self._normalization = [
            getattr(datamodule, name, None) if own else getattr(self, name) for name in ("mean", "std")
        ]
        with trainer.precision_plugin.forward_context():
            if self._objectives is None:
                image = self._converted(self._drawn().images[:1], trainer, module)
                with forward_to(module, OUTPUT) as features, torch.no_grad():
                    n_classes = features(image)[OUTPUT].shape[1]
                names = getattr(datamodule, "classes", None) or [f"class {index}" for index in range(n_classes)]
                self._objectives = [logit(index, name=names[index]) for index in range(min(8, n_classes))]
            self._maximize(module, steps=1)
        told = ", ".join(objective.name for objective in self._objectives)
        rank_zero_info(f"{type(self).__name__}: {told}")

    def _maximize(self, module: LightningModule, steps: int) -> Maximization:
        assert self._objectives is not None, "known when training starts"
        mean, std = self._normalization
        found = maximize_activation(
            module,
            self._objectives,
            image_shape=self._drawn().images.shape[1:],
            parameters=self.parameters,
            regularizers=self.regularizers,
            steps=steps,
            lr=self.lr,
            mean=mean,
            std=std,
            seed=self.seed,
        )
        if found.stopped == "interrupted":
            raise KeyboardInterrupt  # meant for the training
        return found

    def _measure(self, trainer: Trainer, pl_module: LightningModule, epoch: float) -> None:
        found = self._attempt(trainer, lambda: self._maximize(pl_module, self.steps), lambda result: result)
        if found is None:
            return
        self.maximization_ = found
        self._snapshot(
            trainer,
            pl_module,
            epoch,
            values={"mean": float(found.activations.mean())},
            pictures=dict(zip(found.names, found.pixels.cpu(), strict=True)),
            figures={"images": lambda: plot_maximization(found)},
        )

    def _held_bytes(self) -> int:
        held = 0 if self.maximization_ is None else self.maximization_.images.nbytes + self.maximization_.trace.nbytes
        return super()._held_bytes() + held


def _objectives(units: Mapping[str, Sequence[int]] | Sequence[Objective]) -> list[Objective]:
    if isinstance(units, Mapping):
        found = [channel(layer, index) for layer, indices in units.items() for index in indices]
    else:
        found = list(units)
    if not found or not all(isinstance(each, Objective) for each in found):
        must = "a mapping from layers to units, or objectives, at least one"
        raise ValueError(message("units", "ActivationMaximizationMonitor", must, units))
    return found
