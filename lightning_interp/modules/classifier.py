"""The training step of an image classifier."""

from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR

from lightning_interp._checks import check_choice, check_int, check_number
from lightning_interp._lightning import LightningModule

__all__ = ["Classifier"]

OptimizerName = Literal["adam", "adamw", "sgd"]
ScheduleName = Literal["constant", "cosine"]


class Classifier(LightningModule):
    """Trains any network that maps images to class scores, with cross entropy.

    Logs ``train/loss``, ``train/accuracy`` and, where the datamodule has such loaders, ``val/...`` and ``test/...``.

    Args:
        net: The network: images ``(N, C, H, W)`` to class scores ``(N, n_classes)``.
        optimizer: ``"adam"``, ``"adamw"`` or ``"sgd"``.
        lr: Learning rate.
        momentum: Momentum of SGD; the others ignore it.
        weight_decay: L2 penalty (decoupled for ``"adamw"``).
        schedule: ``"constant"``, or ``"cosine"`` down to 0 over the whole run.
        label_smoothing: Share of the target spread over all classes.

    Raises:
        ValueError: If an option has an unknown name or a number is out of range.

    Example:
        >>> from lightning_interp.models import CIFAR10CNN
        >>> classifier = Classifier(CIFAR10CNN(width=4), optimizer="sgd", lr=0.01)
        >>> classifier(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        net: nn.Module,
        optimizer: OptimizerName = "adam",
        lr: float = 1e-3,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        schedule: ScheduleName = "constant",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.net = net
        self.optimizer = check_choice(optimizer, "optimizer", "Classifier", get_args(OptimizerName))
        self.schedule = check_choice(schedule, "schedule", "Classifier", get_args(ScheduleName))
        self.lr = check_number(lr, "lr", "Classifier")
        self.momentum = check_number(momentum, "momentum", "Classifier", high=1)
        self.weight_decay = check_number(weight_decay, "weight_decay", "Classifier")
        self.label_smoothing = check_number(label_smoothing, "label_smoothing", "Classifier", high=1)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores ``(N, n_classes)``."""
        scores: Tensor = self.net(images)
        return scores

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Cross entropy of one batch ``(x, y, ...)``."""
        return self._step(batch, "train")

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Log loss and accuracy on one validation batch."""
        self._step(batch, "val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Log loss and accuracy on one test batch."""
        self._step(batch, "test")

    def configure_optimizers(self) -> Any:
        """The chosen optimizer, with its schedule."""
        optimizer = self._optimizer()
        if self.schedule == "constant":
            return optimizer
        epochs = check_int(self.trainer.max_epochs, "max_epochs", "Trainer (needed by schedule='cosine')")
        return [optimizer], [CosineAnnealingLR(optimizer, T_max=epochs)]

    def _optimizer(self) -> Optimizer:
        if self.optimizer == "sgd":
            return torch.optim.SGD(
                self.parameters(), lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay
            )
        kind = torch.optim.AdamW if self.optimizer == "adamw" else torch.optim.Adam
        return kind(self.parameters(), lr=self.lr, weight_decay=self.weight_decay)

    def _step(self, batch: Any, stage: str) -> Tensor:
        images, labels = batch[0], batch[1]
        scores = self(images)
        smoothing = self.label_smoothing if stage == "train" else 0.0
        loss = cross_entropy(scores, labels, label_smoothing=smoothing)
        accuracy = (scores.argmax(1) == labels).float().mean()
        values = {f"{stage}/loss": loss, f"{stage}/accuracy": accuracy}
        # Lightning weights the mean by batch size and reduces it over ranks.
        self.log_dict(values, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(labels), sync_dist=True)
        return loss
