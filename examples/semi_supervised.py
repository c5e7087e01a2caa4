"""Learn from unlabelled pictures: three ways to go on from one network, side by side.

A network learns from the labelled pictures alone. Then it goes on three times from there, for equally many steps: on
the labelled pictures, and with pseudo-labels chosen anew after every second epoch by image score, and by softmax.

python examples/semi_supervised.py                                    # generated pictures, nothing to download
python examples/semi_supervised.py --data FOLDER --labeled 2000       # FOLDER/train/<class>, FOLDER/test/<class>
"""

import argparse
import warnings
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger
from rich.console import Console
from rich.table import Table

from lightning_interp.callbacks import PseudoLabelSelection
from lightning_interp.datamodules import ClassificationDataModule, ImageFolderDataModule, ToyScenesDataModule
from lightning_interp.models import SVHNCNN
from lightning_interp.modules import Classifier

WAYS = {"labelled pictures only": None, "pseudo-labels by image score": "image_score", "by softmax": "softmax"}


def main(
    *,
    data: str | None = None,
    labeled: int = 480,
    pool: int = 1920,
    n_test: int = 1200,
    epochs: int = 20,
    width: int = 16,
    size: int = 32,
    fraction: float = 0.3,
    seed: int = 0,
    log_dir: str = "semi_supervised_logs",
) -> dict[str, float]:
    """Train, print the table, and give back the test accuracy of each way."""
    for category in (UserWarning, FutureWarning):  # Lightning's advice on workers, and on its own code
        warnings.filterwarnings("ignore", category=category, module="(pytorch_lightning|lightning)")
    pl.seed_everything(seed, verbose=False)
    options: dict[str, Any] = {"labeled_size": labeled, "train_size": labeled + pool, "augment": True, "seed": seed}
    pictures: ClassificationDataModule = (
        ToyScenesDataModule(n_train=labeled + pool, n_test=n_test, size=size, batch_size=40, **options)
        if data is None
        else ImageFolderDataModule(data, size=size, in_memory=True, batch_size=40, **options)
    )
    pictures.setup()

    def network() -> Classifier:
        return Classifier(SVHNCNN(pictures.n_classes, width, image_size=size, batch_norm=True), lr=2e-3)

    def train(module: Classifier, name: str, callbacks: list[Any]) -> float:
        trainer = pl.Trainer(
            max_epochs=epochs,
            callbacks=callbacks,
            logger=TensorBoardLogger(log_dir, name=name.replace(" ", "_")),
            enable_checkpointing=False,
            enable_model_summary=False,
            log_every_n_steps=10,
        )
        trainer.fit(module, datamodule=pictures)
        return trainer.test(module, datamodule=pictures, verbose=False)[0]["test/accuracy"]

    start = network()
    accuracy = {"the start of all": train(start, "start", [])}
    table = Table(title=f"{labeled} labelled pictures, {pool} without labels, {pictures.n_classes} classes")
    for column in ("", "test accuracy", "pseudo-labels", "of them right"):
        table.add_column(column, justify="right" if column else "left")
    table.add_row("the start of all", f"{accuracy['the start of all']:.1%}", "", "")
    for name, score in WAYS.items():
        module = network()
        module.load_state_dict(start.state_dict())
        selection = PseudoLabelSelection(fraction, score, every_n_epochs=2) if score else None
        accuracy[name] = train(module, name, [selection] if selection else [])
        last = selection.history.iloc[-1] if selection else None
        chosen = ("", "") if last is None else (f"{last['n_chosen']:.0f}", f"{last['purity']:.1%}")
        table.add_row(name, f"{accuracy[name]:.1%}", *chosen)
    console = Console()
    console.print(table)
    console.print(f"Which pictures were chosen, and how good the labels are: tensorboard --logdir {log_dir}")
    return accuracy


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder with train/<class> and test/<class>; generated pictures by default")
    parser.add_argument("--labeled", type=int, default=480, help="pictures with a label")
    parser.add_argument("--pool", type=int, default=1920, help="pictures without")
    parser.add_argument("--epochs", type=int, default=20, help="of the start, and of each way to go on")
    parser.add_argument("--seed", type=int, default=0)
    main(**vars(parser.parse_args()))
