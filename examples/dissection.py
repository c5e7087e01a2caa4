"""Which concepts do units learn, with batch norm and without? Two trainings on toy scenes, dissected as they go.

python examples/dissection.py

Writes ``dissection_example/comparison.png`` and ``comparison.csv``; every run logs its figures and tables there too.
"""

import argparse
from pathlib import Path

import pandas as pd
import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger
from torch import nn

from lightning_interp.callbacks import NetworkDissectionMonitor
from lightning_interp.datamodules import ToyScenesDataModule
from lightning_interp.modules import Classifier
from lightning_interp.plots import plot_detector_comparison


def network(n_classes: int, width: int, *, batch_norm: bool) -> nn.Sequential:
    """Four convolutions, the last two at a quarter of the resolution."""
    layers: list[nn.Module] = []
    for i, (before, after) in enumerate([(3, width), (width, width), (width, 2 * width), (2 * width, 2 * width)]):
        norm = [nn.BatchNorm2d(after)] if batch_norm else []
        layers += [nn.Conv2d(before, after, 3, padding=1), *norm, nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if i in (0, 1) else []
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(2 * width, n_classes))


def main(
    max_epochs: int = 12,
    every_n_epochs: int = 3,
    n_train: int = 1200,
    n_concepts: int = 400,
    width: int = 24,
    folder: str | Path = "dissection_example",
) -> pd.DataFrame:
    """Train both networks from one seed; returns the number of detected concepts by condition, epoch and category."""
    histories = {}
    for name, batch_norm in (("plain", False), ("batch norm", True)):
        pl.seed_everything(0)
        data = ToyScenesDataModule(n_train=n_train, n_test=n_concepts, batch_size=50)
        monitor = NetworkDissectionMonitor(every_n_epochs=every_n_epochs)  # of the test images
        trainer = pl.Trainer(
            max_epochs=max_epochs,
            callbacks=[monitor],
            logger=TensorBoardLogger(folder, name=name.replace(" ", "_")),
            enable_checkpointing=False,
        )
        module = Classifier(network(data.n_classes, width, batch_norm=batch_norm), lr=2e-3)
        trainer.fit(module, datamodule=data)
        trainer.test(module, datamodule=data)
        histories[name] = monitor.history
    table = pd.concat({name: history.drop(columns="seconds") for name, history in histories.items()}, names=["network"])
    table = table.droplevel(1).reset_index().astype({"epoch": int, "step": int})
    plot_detector_comparison(histories).savefig(Path(folder) / "comparison.png")
    table.to_csv(Path(folder) / "comparison.csv", index=False)
    print(table.to_string(index=False))
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max_epochs", type=int, default=12)
    parser.add_argument("--folder", default="dissection_example", help="where logs, figure and table go")
    main(**vars(parser.parse_args()))
