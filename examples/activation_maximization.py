"""What do the units and classes of a network respond to most? Images made for them, during a training and after it.

python examples/activation_maximization.py

Writes to ``activation_maximization_example``: ``evolution.png`` (classes over the training), ``first_layer.png``
(filters and the patterns that maximise them), ``channels.png`` (of each layer), ``factors.png`` (directions that NMF
finds), ``classes.png`` (without and with the prior of a decoder), and logs for TensorBoard.
"""

import argparse
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from matplotlib.figure import Figure
from pytorch_lightning.loggers import TensorBoardLogger
from torch import nn

from lightning_interp.callbacks import ActivationMaximizationMonitor
from lightning_interp.datamodules import ToyScenesDataModule
from lightning_interp.functional import fold, maximize_activation, nmf
from lightning_interp.functional.synthesis import (
    AlphaNorm,
    GeneratedImages,
    Jitter,
    TotalVariation,
    channel,
    direction,
    filter_patterns,
    logit,
)
from lightning_interp.hooks import forward_to
from lightning_interp.modules import Classifier, Inverter
from lightning_interp.plots import plot_filter_patterns, plot_maximization, plot_pictures


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


def natural_images(net: nn.Module, data: ToyScenesDataModule, layer: str, width: int) -> GeneratedImages:
    """The prior: images that a decoder makes of activations, which stay where those of real images are."""
    inverter = Inverter(net, layer, width=width)
    pl.Trainer(max_epochs=2, logger=False, enable_checkpointing=False, enable_model_summary=False).fit(inverter, data)
    codes = inverter.cpu().features(torch.stack([image for image, _ in data.test_dataset]))
    start = codes.mean(0).expand(data.n_classes, *codes.shape[1:])
    return GeneratedImages(inverter.decoder, start, l2=1.0, bounds=(0.0, codes.mean(0) + 3 * codes.std(0)))


def plot_factors(net: nn.Module, layer: str, k: int, *, data: ToyScenesDataModule, **options: Any) -> Figure:
    """What the directions that NMF finds in a layer stand for, beside the image each is strongest in."""
    images = torch.stack([image for image, _ in data.test_dataset])
    with forward_to(net, layer) as features, torch.no_grad():
        factors = nmf(fold(features(images)[layer])[0], k)
    found = maximize_activation(net, [direction(layer, row) for row in factors.v], **options)
    strongest = factors.u.view(len(images), -1, k).amax(1).argmax(0)
    pictures = torch.cat([found.pixels, data.normalize.invert(images[strongest]).clamp(0, 1)])
    titles = [f"factor {i}" for i in range(k)] + [""] * k
    return plot_pictures(pictures, titles, rows=["maximises it", "has most of it"])


def main(
    max_epochs: int = 8,
    n_train: int = 2400,
    n_test: int = 240,
    width: int = 24,
    n_units: int = 6,
    steps: int = 128,
    folder: str = "activation_maximization_example",
) -> pd.DataFrame:
    """Train, watch, and look at the finished network; returns the scores that images reach, class by class."""
    pl.seed_everything(0)
    data = ToyScenesDataModule(n_train=n_train, n_test=n_test, batch_size=50)
    smooth = [Jitter(), TotalVariation(0.5)]
    monitor = ActivationMaximizationMonitor(every_n_epochs=2, steps=steps // 2, lr=0.1, regularizers=smooth)
    module = Classifier(network(data.n_classes, width), "adamw", lr=3e-3, weight_decay=1.0, schedule="cosine")
    trainer = pl.Trainer(
        max_epochs=max_epochs,
        callbacks=[monitor],
        logger=TensorBoardLogger(folder, name="logs"),
        enable_checkpointing=False,
    )
    trainer.fit(module, datamodule=data)
    trainer.test(module, datamodule=data)
    net = module.net.cpu()

    space = {"mean": data.mean, "std": data.std}  # the network takes normalised images
    free = {**space, "steps": steps, "lr": 0.1, "image_shape": (3, 32, 32)}
    channels = [channel(f"block{i}", unit) for i in (1, 2, 3, 4) for unit in range(n_units)]
    found = maximize_activation(net, channels, regularizers=[Jitter(), TotalVariation(0.1)], **free)
    classes = [logit(i, name=name) for i, name in enumerate(data.classes)]
    without = maximize_activation(net, classes, regularizers=smooth, **free)
    prior = natural_images(net, data, "block4", width=width // 3)
    in_range = [AlphaNorm(1.0, scale=2.0)]  # pixels of a decoder have no bounds, and the network likes extremes
    within = maximize_activation(net, classes, parameters=prior, regularizers=in_range, steps=steps, lr=0.03, **space)
    figures = {
        "evolution": monitor.evolution.figure(),
        "first_layer": plot_filter_patterns(filter_patterns(net)),
        "channels": plot_maximization(found, n_columns=n_units),
        "factors": plot_factors(
            net, "block4", n_units, data=data, regularizers=[Jitter(), TotalVariation(0.01)], **free
        ),
        "classes": plot_pictures(
            torch.cat([without.pixels, within.pixels]),
            [*data.classes, *[""] * data.n_classes],
            rows=["without prior", "with prior"],
        ),
    }
    for name, figure in figures.items():
        figure.savefig(Path(folder) / f"{name}.png")
    scores = {"without prior": without.activations.tolist(), "with prior": within.activations.tolist()}
    table = pd.DataFrame(scores, index=pd.Index(data.classes, name="class"))
    print(table.round(1).to_string())
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max_epochs", type=int, default=8)
    parser.add_argument("--steps", type=int, default=128, help="of gradient ascent")
    parser.add_argument("--folder", default="activation_maximization_example", help="where figures and logs go")
    main(**vars(parser.parse_args()))
