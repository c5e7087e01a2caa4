"""Paint one picture in the style of another, with a small network trained on toy scenes.

python examples/style_transfer.py                                       # two toy scenes
python examples/style_transfer.py --content photo.jpg --style painting.jpg

Writes ``style_transfer_example/style_transfer.png``: content, style, and transfers of ever more style.
"""

import argparse
from collections import OrderedDict
from pathlib import Path

import pandas as pd
import pytorch_lightning as pl
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.v2.functional import center_crop, pil_to_tensor, resize

from lightning_interp.datamodules import ToyScenesDataModule
from lightning_interp.datasets import ToyScenes
from lightning_interp.functional import style_transfer
from lightning_interp.modules import Classifier
from lightning_interp.plots import plot_pictures

STYLE_WEIGHTS = (1.0, 10.0, 100.0)  # content weighs 1


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


def picture(path: str | None, scene: int, size: int) -> Tensor:
    """A file, or a toy scene where there is none: ``(3, size, size)`` in [0, 1]."""
    if path is None:
        return ToyScenes(scene + 1, size=size, split="test")[scene][0]
    pixels = pil_to_tensor(Image.open(path).convert("RGB")).float() / 255
    return center_crop(resize(pixels, [size], antialias=True), [size])


def main(
    content: str | None = None,
    style: str | None = None,
    size: int = 96,
    steps: int = 60,
    max_epochs: int = 8,
    n_train: int = 2400,
    width: int = 24,
    folder: str = "style_transfer_example",
) -> pd.DataFrame:
    """Train, then transfer; returns how far content and style are from what was asked for."""
    pl.seed_everything(0)
    data = ToyScenesDataModule(n_train=n_train, n_test=240, batch_size=50)
    module = Classifier(network(data.n_classes, width), "adamw", lr=3e-3, weight_decay=1.0, schedule="cosine")
    trainer = pl.Trainer(max_epochs=max_epochs, logger=False, enable_checkpointing=False)
    trainer.fit(module, datamodule=data)

    pictures = [picture(content, 7, size), picture(style, 11, size)]
    images = [data.normalize(each).unsqueeze(0) for each in pictures]
    titles, rows = ["content", "style"], {}
    for weight in STYLE_WEIGHTS:
        found = style_transfer(
            module.net.cpu(),
            *images,
            content_layers="block3",
            style_layers=["block1", "block2", "block3"],
            style_weight=weight,
            steps=steps,
            mean=data.mean,
            std=data.std,
        )
        pictures.append(found.pixels[0])
        titles.append(f"style weight {weight:g}")
        rows[weight] = {"content loss": float(found.content_losses), "style loss": float(found.style_losses)}
    Path(folder).mkdir(parents=True, exist_ok=True)
    plot_pictures(pictures, titles).savefig(Path(folder) / "style_transfer.png")
    table = pd.DataFrame(rows).T.rename_axis("style weight")
    print(table.round(3).to_string())
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--content", help="picture file; a toy scene by default")
    parser.add_argument("--style", help="picture file; another toy scene by default")
    parser.add_argument("--size", type=int, default=96, help="side of the result in pixels")
    parser.add_argument("--steps", type=int, default=60, help="of L-BFGS")
    parser.add_argument("--folder", default="style_transfer_example", help="where the figure goes")
    main(**vars(parser.parse_args()))
