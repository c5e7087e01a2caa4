"""What does a network still know of an image, layer by layer? Reconstructions on toy scenes, two ways.

python examples/inversion.py

Images with the same activations are searched for each image anew; decoders are trained once for all images, and also
show which part of the activations carries the image. Writes to ``inversion_example``: ``searched.png``,
``decoded.png``, ``perturbed.png``, ``errors.png`` and ``errors.csv``.
"""

import argparse
from collections import OrderedDict
from pathlib import Path

import pandas as pd
import pytorch_lightning as pl
import torch
from torch import nn

from lightning_interp.datamodules import ToyScenesDataModule
from lightning_interp.functional import invert
from lightning_interp.functional.synthesis import PixelSpace, TotalVariation, perturbation_errors
from lightning_interp.modules import Classifier, Inverter
from lightning_interp.plots import plot_inversion_errors, plot_reconstructions

DECODED = ("block1", "block3", "scores")


def network(n_classes: int, width: int) -> nn.Sequential:
    """Four convolutions. They start from smaller weights than usual: less noise is left in the filters."""
    widths = [3, width, width, 2 * width, 2 * width]
    blocks: OrderedDict[str, nn.Module] = OrderedDict()
    for i, size in enumerate([5, 3, 3, 3]):
        conv = nn.Conv2d(widths[i], widths[i + 1], size, padding=size // 2)
        nn.init.normal_(conv.weight, std=0.03)
        pool = [nn.MaxPool2d(2)] if i < 2 else []
        blocks[f"block{i + 1}"] = nn.Sequential(conv, nn.BatchNorm2d(widths[i + 1]), nn.ReLU(), *pool)
    blocks["scores"] = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(2 * width, n_classes))
    return nn.Sequential(blocks)


def main(
    max_epochs: int = 8,
    n_train: int = 2400,
    n_test: int = 240,
    width: int = 24,
    n_images: int = 8,
    steps: int = 200,
    folder: str = "inversion_example",
) -> pd.DataFrame:
    """Train a network, invert it; returns the error of the decoders by layer and perturbation."""
    pl.seed_everything(0)
    data = ToyScenesDataModule(n_train=n_train, n_test=n_test, batch_size=50)

    def train(module: pl.LightningModule, epochs: int) -> None:
        trainer = pl.Trainer(max_epochs=epochs, logger=False, enable_checkpointing=False, enable_model_summary=False)
        trainer.fit(module, datamodule=data)
        trainer.test(module, datamodule=data)
        module.cpu()

    module = Classifier(network(data.n_classes, width), "adamw", lr=3e-3, weight_decay=1.0, schedule="cosine")
    train(module, max_epochs)
    net, images = module.net, torch.stack([image for image, _ in data.test_dataset])
    shown, space = images[:n_images], PixelSpace(tuple(data.mean), tuple(data.std))

    layers = [name for name, _ in net.named_children()]
    options = {"regularizers": [TotalVariation(0.05)], "steps": steps, "mean": data.mean, "std": data.std}
    found = {name: invert(net, shown, name, **options) for name in layers}
    inverters = {name: Inverter(net, name, width=width // 3) for name in DECODED}
    for inverter in inverters.values():
        train(inverter, max_epochs // 4)
    decoders = {name: inverter.decoder for name, inverter in inverters.items()}
    errors = perturbation_errors(net, decoders, images, keep_reconstructions=True)
    decoded = dict(zip(DECODED, errors.reconstructions[:, :, :n_images], strict=True))
    by_kind = {f"{DECODED[1]}, {kind}": row for kind, row in zip(errors.kinds, decoded[DECODED[1]], strict=True)}

    figures = {
        "searched": plot_reconstructions(
            shown,
            {name: each.reconstructions for name, each in found.items()},
            errors={name: each.pixel_errors for name, each in found.items()},
            pictures=space.to_pixels,
        ),
        "decoded": plot_reconstructions(
            shown, {name: rows[0] for name, rows in decoded.items()}, pictures=space.to_pixels
        ),
        "perturbed": plot_reconstructions(shown, by_kind, pictures=space.to_pixels),
        "errors": plot_inversion_errors(errors),
    }
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        figure.savefig(Path(folder) / f"{name}.png")
    table = errors.to_dataframe()
    table.to_csv(Path(folder) / "errors.csv")
    print(table.round(3).to_string())
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max_epochs", type=int, default=8)
    parser.add_argument("--steps", type=int, default=200, help="of the search")
    parser.add_argument("--folder", default="inversion_example", help="where figures and table go")
    main(**vars(parser.parse_args()))
