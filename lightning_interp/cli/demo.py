"""``lightning-interp demo``: train on noisy labels, let the run stop itself, then show what going on costs."""

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from jsonargparse import ArgumentParser, Namespace
from rich.console import Console
from rich.table import Table

from lightning_interp._lightning import (
    Callback,
    LightningModule,
    Trainer,
    callbacks,
    loggers,
    seed_everything,
)
from lightning_interp.callbacks import NMFEarlyStopping
from lightning_interp.datamodules import ClassificationDataModule, ImageFolderDataModule, ToyScenesDataModule
from lightning_interp.datasets import LabeledSubset
from lightning_interp.hooks import evaluating, preserved_rng
from lightning_interp.models import CIFAR10CNN
from lightning_interp.modules import Classifier

__all__ = ["demo"]

_MOST_TEST_IMAGES = 2000  # scored after every epoch; the demo is to be short


class _TestAccuracy(Callback):
    """Writes the test accuracy of every epoch down for the closing table. The stopping callback never sees it."""

    def __init__(self, data: ClassificationDataModule) -> None:
        self.data = data
        self.by_epoch: dict[int, float] = {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.by_epoch[trainer.current_epoch + 1] = _test_accuracy(pl_module, self.data)


def demo(args: Sequence[str] = ()) -> None:
    """Run the demo.

    Args:
        args: Command-line arguments; ``--help`` lists them.
    """
    options = _parse(args)
    console = Console()
    for category in (UserWarning, FutureWarning):  # Lightning's advice on workers and folders, and on its own code
        warnings.filterwarnings("ignore", category=category, module="(pytorch_lightning|lightning)")
    seed_everything(options.seed, verbose=False)
    data = _data(options)
    data.prepare_data()
    data.setup()
    every = -(-len(data.test_dataset) // _MOST_TEST_IMAGES)
    data.test_dataset = LabeledSubset(data.test_dataset, indices=torch.arange(0, len(data.test_dataset), every))
    console.print(
        f"{len(data.train_dataset)} training images of {data.n_classes} classes, {options.label_noise:.0%} of the "
        f"labels redrawn at random. The test images are only for the closing table."
    )
    stopper, scores, log_dir = _run(options, data)
    console.print(_table(stopper, scores, options.epochs))
    console.print(stopper.stopped_reason or "The run did not stop itself within its epochs.")
    console.print(f"TensorBoard log: {log_dir}\nOpen it with: .venv/bin/tensorboard --logdir {log_dir}", soft_wrap=True)


def _parse(args: Sequence[str]) -> Namespace:
    parser = ArgumentParser(prog="lightning-interp demo", description=__doc__)
    parser.add_argument("--data", type=str | None, default=None, help="folder with train/<class> and test/<class>")
    parser.add_argument("--label_noise", type=float, default=0.4, help="probability that a training label is redrawn")
    parser.add_argument("--epochs", type=int, default=24, help="epochs of the run that goes on")
    parser.add_argument("--width", type=int, default=16, help="channels of the first of eleven conv layers")
    parser.add_argument("--train_size", type=int, default=2000, help="training images")
    parser.add_argument("--lr", type=float, default=1e-3, help="learning rate of Adam")
    parser.add_argument("--size", type=int, default=32, help="pixels a side, pictures are scaled to it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log_dir", type=str, default="demo_logs", help="where the logs go")
    parser.add_argument("--quick", action="store_true", help="a shortened demo that only shows that all of it runs")
    options = parser.parse_args(list(args))
    if options.quick:
        options.epochs, options.width, options.train_size = 3, 4, min(240, options.train_size)
    return options


def _data(options: Namespace) -> ClassificationDataModule:
    common = {"label_noise": options.label_noise, "seed": options.seed, "batch_size": 50}
    if options.data is None:
        return ToyScenesDataModule(n_train=options.train_size, n_test=1000, size=options.size, **common)
    folder = ImageFolderDataModule(options.data, size=options.size, in_memory=True, **common)
    folder.train_size = min(options.train_size, len(folder.read("train")))
    return folder


def _run(options: Namespace, data: ClassificationDataModule) -> tuple[NMFEarlyStopping, dict[int, float], Path]:
    """Train until the callback stops the run, then go on from there without it to the last epoch."""
    module = Classifier(CIFAR10CNN(data.n_classes, options.width, image_size=options.size), lr=options.lr)
    stopper = NMFEarlyStopping()
    tests = _TestAccuracy(data)
    logger = loggers.TensorBoardLogger(options.log_dir, name=None)
    with tempfile.TemporaryDirectory() as folder:
        last = callbacks.ModelCheckpoint(folder, filename="last")
        common = {"max_epochs": options.epochs, "accelerator": "auto", "devices": 1, "enable_model_summary": False}
        Trainer(callbacks=[stopper, tests, last], logger=logger, **common).fit(module, datamodule=data)
        restored = _test_accuracy(module, data)
        if stopper.stopped_epoch is not None:
            going_on = Trainer(callbacks=[tests], logger=False, enable_checkpointing=False, **common)
            going_on.fit(module, datamodule=data, ckpt_path=last.best_model_path)
    return stopper, {**tests.by_epoch, 0: restored}, Path(logger.log_dir)


def _test_accuracy(module: LightningModule, data: ClassificationDataModule) -> float:
    hits = total = 0
    with preserved_rng(), evaluating(module):
        for images, labels in data.test_dataloader():
            hits += int((module(images.to(module.device)).argmax(1).cpu() == labels).sum())
            total += len(labels)
    return hits / total


def _table(stopper: NMFEarlyStopping, scores: dict[int, float], epochs: int) -> Table:
    table = Table(title="What stopping without a validation set was worth")
    for column in ("", "epoch", "test accuracy"):
        table.add_column(column, justify="left" if not column else "right")
    by_epoch = {epoch: value for epoch, value in scores.items() if epoch}
    best = max(by_epoch, key=lambda epoch: by_epoch[epoch])
    stopped, kept = stopper.stopped_epoch, stopper.best_epoch
    table.add_row("stopped itself after", "-" if stopped is None else f"{stopped:g}", "")
    table.add_row("weights it returns", f"{epochs if stopped is None else kept:g}", f"{scores[0]:.1%}")
    table.add_row("last epoch of a run that goes on", str(epochs), f"{by_epoch[epochs]:.1%}")
    table.add_row("best epoch, chosen by the test set", str(best), f"{by_epoch[best]:.1%}")
    schedule = stopper.schedule
    table.add_section()
    spent = f"{schedule.measuring_seconds:.1f} s, {schedule.overhead:.0%} of {schedule.training_seconds:.0f} s training"
    table.add_row("spent measuring", f"{len(stopper.history)} checks", spent)
    return table
