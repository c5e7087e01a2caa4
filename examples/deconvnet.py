"""What excites the units of a network? Projections to the pixels, during a training on toy scenes and after it.

python examples/deconvnet.py

Writes to ``deconvnet_example``: ``evolution.png`` (units over the training), ``filters.png`` (of the first layer),
``block3.png`` and ``block4.png`` (the strongest units on the images that excite them most), and logs for TensorBoard.
"""

import argparse
from collections import OrderedDict
from pathlib import Path

import pandas as pd
import pytorch_lightning as pl
import torch
from matplotlib.figure import Figure
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor, nn

from lightning_interp.callbacks import DeconvNetMonitor, FilterHealthMonitor
from lightning_interp.datamodules import ToyScenesDataModule
from lightning_interp.functional import deconvnet
from lightning_interp.hooks import forward_to
from lightning_interp.modules import Classifier
from lightning_interp.plots import plot_filters, plot_pictures
from lightning_interp.plots.pictures import on_grey


def network(n_classes: int, width: int) -> nn.Sequential:
    """Four convolutions. They start from smaller weights than usual: less noise is left in the filters."""
    widths = [3, width, width, 2 * width, 2 * width]
    blocks: OrderedDict[str, nn.Module] = OrderedDict()
    for i, size in enumerate([5, 3, 3, 3]):
        conv = nn.Conv2d(widths[i], widths[i + 1], size, padding=size // 2)
        nn.init.normal_(conv.weight, std=0.03)
        pool = [nn.MaxPool2d(2)] if i < 2 else []
        blocks[f"block{i + 1}"] = nn.Sequential(conv, nn.BatchNorm2d(widths[i + 1]), nn.ReLU(), *pool)
    return nn.Sequential(blocks).append(
        nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(2 * width, n_classes))
    )


def plot_strongest(
    net: nn.Module, images: Tensor, layer: str, *, data: ToyScenesDataModule, n_units: int, n_images: int = 4
) -> Figure:
    """A row per unit: patches of the images that excite it most, each beside its projection."""
    with forward_to(net, layer) as features, torch.no_grad():
        strongest, which = features(images)[layer].amax((2, 3)).topk(n_images, dim=0)
    units = strongest.mean(0).topk(n_units).indices.tolist()
    pictures, titles = [], []
    for unit in units:
        found = deconvnet(net, images[which[:, unit]], layer, unit)
        for i, label in enumerate(data.test_dataset.targets[which[:, unit]].tolist()):
            patch, projection = found.crop(0, i)
            pictures += [data.normalize.invert(patch).clamp(0, 1), on_grey(projection)]
            titles += [data.classes[label], f"{found.activations[0, i]:.2f}"]
    return plot_pictures(pictures, titles, rows=[f"unit {unit}" for unit in units])


def main(
    max_epochs: int = 8,
    n_train: int = 2400,
    n_test: int = 480,
    width: int = 24,
    n_units: int = 6,
    folder: str = "deconvnet_example",
) -> pd.DataFrame:
    """Train, watch, and look at the finished network; returns the health of its filters, epoch by epoch."""
    pl.seed_everything(0)
    data = ToyScenesDataModule(n_train=n_train, n_test=n_test, batch_size=50)
    projections = DeconvNetMonitor(layers=["net.block2", "net.block4"], every_n_epochs=2, n_units=n_units // 2)
    health = FilterHealthMonitor()
    module = Classifier(network(data.n_classes, width), "adamw", lr=3e-3, weight_decay=1.0, schedule="cosine")
    trainer = pl.Trainer(
        max_epochs=max_epochs,
        callbacks=[projections, health],
        logger=TensorBoardLogger(folder, name="logs"),
        enable_checkpointing=False,
    )
    trainer.fit(module, datamodule=data)
    trainer.test(module, datamodule=data)
    net, images = module.net.cpu(), torch.stack([image for image, _ in data.test_dataset])
    first = next(layer for layer in net.modules() if isinstance(layer, nn.Conv2d))
    figures = {
        "evolution": projections.evolution.figure(),
        "filters": plot_filters(first.weight, dead=next(iter(health.dead_.values()))),
        **{layer: plot_strongest(net, images, layer, data=data, n_units=n_units) for layer in ("block3", "block4")},
    }
    for name, figure in figures.items():
        figure.savefig(Path(folder) / f"{name}.png")
    table = health.history[["epoch", "dead", "aliasing"]]  # shares: of silent units, of high frequencies
    print(table.round(3).to_string(index=False))
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max_epochs", type=int, default=8)
    parser.add_argument("--folder", default="deconvnet_example", help="where figures and logs go")
    main(**vars(parser.parse_args()))
