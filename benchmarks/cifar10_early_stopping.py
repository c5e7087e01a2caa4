"""One honest run per noise level on real CIFAR-10 pictures: where would each rule have stopped, and what did it keep?

    python -m benchmarks.cifar10_early_stopping --root data_cache/cifar10

Trains the network of table 3.1 (narrower, no batch norm) to the last epoch, measures the compression curve of
training images after every epoch, and only then replays the stopping rules on what was measured. The test set is
looked at for scoring alone.
"""

import argparse
import json
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from benchmarks._results import RESULTS, write_results
from lightning_interp._lightning import Callback, LightningModule, Trainer, seed_everything
from lightning_interp.callbacks import CompressionMonitor
from lightning_interp.datamodules import ImageFolderDataModule
from lightning_interp.functional import decide_stop, uninformative_checks
from lightning_interp.hooks import evaluating, preserved_rng
from lightning_interp.models import CIFAR10CNN
from lightning_interp.modules import Classifier
from lightning_interp.plots import plot_compression_history

KS = tuple(2**i for i in range(8))
RULES = {  # name: signal and options of decide_stop
    "default: the relative AuC falls below one": (
        "relative_auc",
        {"criterion": "below_one", "smoothing": 1, "patience": 2, "min_delta": 0.04},
    ),
    "thesis: first maximum of the AuC": ("auc", {"criterion": "first_maximum"}),
    "first maximum of the relative AuC": ("relative_auc", {"criterion": "first_maximum"}),
    "half of the relative AuC's excess gone": ("relative_auc", {"criterion": "half_excess", "smoothing": 1}),
}


class Score(Callback):
    """Test loss and accuracy after every epoch."""

    def __init__(self, data: ImageFolderDataModule) -> None:
        self.data, self.rows = data, []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        with preserved_rng(), evaluating(pl_module):
            batches = [(pl_module(x.to(pl_module.device)).cpu(), y) for x, y in self.data.test_dataloader()]
        scores, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
        self.rows.append({"test_loss": loss(scores, labels), "test_accuracy": accuracy(scores, labels)})
        print(self.data.label_noise, {"epoch": trainer.current_epoch + 1, **self.rows[-1]}, flush=True)


def loss(scores: Tensor, labels: Tensor) -> float:
    return float(torch.nn.functional.cross_entropy(scores, labels))


def accuracy(scores: Tensor, labels: Tensor) -> float:
    return float((scores.argmax(1) == labels).double().mean())


def run(args: argparse.Namespace, noise: float) -> pd.DataFrame:
    """Train to the last epoch; one row per epoch."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // len(args.noise)))
    seed_everything(args.seed, verbose=False)
    data = ImageFolderDataModule(
        args.root, train_size=args.train_size, label_noise=noise, in_memory=True, seed=args.seed, batch_size=100
    )
    data.setup()
    monitor, score = CompressionMonitor(ks=KS, max_iter=15, log_figures=False), Score(data)
    module = Classifier(CIFAR10CNN(width=args.width), lr=args.lr)
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "auto"}
    Trainer(max_epochs=args.epochs, callbacks=[monitor, score], devices=1, **options).fit(module, datamodule=data)
    history = pd.concat([monitor.history, pd.DataFrame(score.rows)], axis=1).assign(noise=noise)
    history["overhead"] = monitor.schedule.overhead
    return history


def replay(history: pd.DataFrame) -> list[dict[str, object]]:
    """What each rule would have done, seeing one check after the other."""
    test, full = history["test_accuracy"].tolist(), history["full_accuracy"].tolist()
    sample = {"chance": history["chance"][0], "n_images": int(history["n_images"][0])}
    rows = []
    for rule, (signal, options) in RULES.items():
        values = history[signal].tolist()
        stop = best = len(values) - 1
        for n in range(3, len(values) + 1):
            decision = decide_stop(values[:n], skip=uninformative_checks(full[:n], **sample), **options)
            if decision.stop:
                stop, best = n - 1, decision.best
                break
        rows.append(
            {"rule": rule, "stops after epoch": stop + 1, "returns epoch": best + 1, "test accuracy": test[best]}
        )
    rows.append({"rule": "train to the end", "stops after epoch": len(test), "returns epoch": len(test)})
    rows[-1]["test accuracy"] = test[-1]
    for row in rows:
        row["regret"] = max(test) - row["test accuracy"]
    return [{"noise p": float(history["noise"][0]), **row, "best possible": max(test)} for row in rows]


def train(args: argparse.Namespace) -> list[pd.DataFrame]:
    """One process per noise level."""
    with ProcessPoolExecutor(len(args.noise), mp_context=get_context("spawn")) as pool:
        return list(pool.map(run, [args] * len(args.noise), args.noise))


def read_curves() -> list[pd.DataFrame]:
    """The curves of the run before, one table per noise level."""
    rows = json.loads((RESULTS / "cifar10_early_stopping_curves.json").read_text())["rows"]
    return [part.reset_index(drop=True) for _, part in pd.DataFrame(rows).groupby("noise")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("data_cache/cifar10"))
    parser.add_argument("--width", type=int, default=24)
    parser.add_argument("--train-size", type=int, default=8000)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--lr", type=float, default=7e-4)
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 0.4])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--replay", action="store_true", help="no training: replay the rules on the curves written before"
    )
    args = parser.parse_args()
    histories = read_curves() if args.replay else train(args)
    rules = [row for history in histories for row in replay(history)]
    notes = (
        f"CIFAR-10 pictures (JPEG), {args.train_size} training and 10000 test images, network of table 3.1 at width "
        f"{args.width} without batch norm, Adam {args.lr:g}, batches of 100, {args.epochs} epochs, one seed. Label "
        "noise: uniform redraw, true class included. Signal: NMF, K = 1, 2, 4, ... 128, 15 iterations, 3 x 50 images "
        "per class, last 3 layers."
    )
    write_results("cifar10_early_stopping", rules, seeds=[args.seed], notes=notes)
    if not args.replay:
        curves = pd.concat(histories).drop(columns="step").to_dict("records")
        write_results("cifar10_early_stopping_curves", curves, seeds=[args.seed], notes=notes)
    for history in histories:
        figure = plot_compression_history(history)
        figure.suptitle(f"CIFAR-10, label noise p = {history['noise'][0]:g}")
        figure.savefig(RESULTS / f"cifar10_early_stopping_p{history['noise'][0]:g}.png", dpi=80)


if __name__ == "__main__":
    main()
