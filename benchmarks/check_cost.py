"""What one NMF-AuC check with default settings costs, as a share of an epoch of full-size CIFAR-10.

    python -m benchmarks.check_cost --root data_cache/cifar10

Trains the full-width network of table 3.1 on all 50000 pictures for some hundred steps and extrapolates their time to
the 500 steps of an epoch; the check is measured as it is.
"""

import argparse
import time
from pathlib import Path

from benchmarks._results import write_results
from lightning_interp._lightning import Callback, LightningModule, Trainer, seed_everything
from lightning_interp.callbacks import CompressionMonitor
from lightning_interp.datamodules import ImageFolderDataModule
from lightning_interp.models import CIFAR10CNN
from lightning_interp.modules import Classifier


class StepClock(Callback):
    """Seconds of every training step, data loading included."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        self.ends.append(time.perf_counter())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("data_cache/cifar10"))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--width", type=int, default=64)
    args = parser.parse_args()
    seed_everything(0, verbose=False)
    data = ImageFolderDataModule(args.root, in_memory=True, batch_size=100)
    data.setup()
    steps_per_epoch = len(data.train_dataset) // 100
    monitor, clock = CompressionMonitor(log_figures=False), StepClock()
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "auto"}
    trainer = Trainer(max_epochs=1, limit_train_batches=args.steps, callbacks=[clock, monitor], devices=1, **options)
    trainer.fit(Classifier(CIFAR10CNN(width=args.width), lr=7e-4), datamodule=data)
    step = (clock.ends[-1] - clock.ends[0]) / (len(clock.ends) - 1)
    check = monitor.schedule.last_seconds
    row = {
        "seconds per step": step,
        "steps measured": len(clock.ends) - 1,
        "seconds per epoch (extrapolated)": step * steps_per_epoch,
        "seconds per check": check,
        "check / epoch": check / (step * steps_per_epoch),
        "images read / epoch": monitor.history["n_images"][0] / len(data.train_dataset),
        "ks": " ".join(map(str, monitor.curve_.ks)),
        "layers": len(monitor.curve_.layers),
    }
    notes = f"Network of table 3.1 at width {args.width}, {len(data.train_dataset)} training images, batches of 100."
    print(write_results("check_cost", [row], seeds=[0], notes=notes).read_text())


if __name__ == "__main__":
    main()
