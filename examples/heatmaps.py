"""What do the pictures of a set have in common? NMF heatmaps, co-segmentation and boxes, without any label.

python examples/heatmaps.py

Toy scenes with a small network, for which masks are known; and, where ``--weights`` and ``--pictures`` are there, an
ImageNet SqueezeNet on photographs. Writes figures and palette masks to ``heatmaps_example``.
"""

import argparse
from pathlib import Path

import pytorch_lightning as pl
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.io import decode_image
from torchvision.models import squeezenet1_0
from torchvision.transforms.v2.functional import resize

from lightning_interp.datamodules import ToyScenesDataModule
from lightning_interp.functional import cosegment, factor_importance, heatmap_sweep
from lightning_interp.functional.localization import label_factors, object_iou
from lightning_interp.functional.synthesis import PixelSpace
from lightning_interp.modules import Classifier
from lightning_interp.plots import plot_heatmap_sweep, plot_heatmaps, save_label_pngs

SHARED = Path(__file__).parents[2] / "shared"


def network(n_classes: int, width: int) -> nn.Sequential:
    """Four convolutions; the last maps are a quarter of the image wide."""
    layers: list[nn.Module] = []
    for i, (before, after) in enumerate([(3, width), (width, width), (width, 2 * width), (2 * width, 2 * width)]):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if i in (0, 1) else []
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(2 * width, n_classes))


def draw(net: nn.Module, images: Tensor, pictures: Tensor, name: str, folder: Path, layer: str | None = None) -> None:
    """Heatmaps for k = 1 to 4, what each of four factors is worth to the prediction, and masks of named factors."""
    sweep = heatmap_sweep(net, images, [1, 2, 3, 4], layer=layer)
    plot_heatmap_sweep(sweep, pictures).savefig(folder / f"{name}_sweep.png")
    worth = factor_importance(net, images, sweep[-1])
    plot_heatmaps(sweep[-1], pictures, importance=worth).savefig(folder / f"{name}.png")
    errors = ", ".join(f"{found.error:.2f}" for found in sweep)
    falls = ", ".join(f"{-each:+.1f}" for each in worth.mean(0).tolist())
    print(f"{name}: relative error {errors} for k = 1 to 4; class score without each of four factors: {falls}")
    strongest = int(worth.mean(0).argmax())
    labels = label_factors(sweep[-1], {strongest: "what decides"}, threshold=0.4)
    save_label_pngs(labels.masks, folder / f"{name}_masks", names=labels.names)


def toy_scenes(folder: Path, max_epochs: int, n_train: int, width: int, n_images: int) -> float:
    """Train on toy scenes, then find the object that pictures of a class share; returns the mean IoU after one mask."""
    pl.seed_everything(0)
    data = ToyScenesDataModule(n_train=n_train, n_test=400, batch_size=50)
    module = Classifier(network(data.n_classes, width), lr=2e-3)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    pl.Trainer(max_epochs=max_epochs, **quiet).fit(module, datamodule=data)
    concepts, ious = data.concept_dataset, []
    for label, name in enumerate(data.classes):
        chosen = [i for i, target in enumerate(data.test_dataset.targets) if int(target) == label][:n_images]
        images = torch.stack([data.test_dataset[i][0] for i in chosen])
        number = concepts.concepts["object"].index(name)
        truth = torch.stack([concepts[i][1]["object"] for i in chosen]) == number
        options = {"threshold": 0.4, "scale": "image"}
        alone = cosegment(module.net, images, 1, **options)
        shown_one = cosegment(module.net, images, [2, 4, 6, 8], truth={0: truth[0]}, **options)
        ious.append([float(object_iou(found.masks[1:], truth[1:])) for found in (alone, shown_one)])
        if label == 0:
            draw(module.net, images, torch.stack([data.normalize.invert(image) for image in images]), name, folder)
    unsupervised, one_shot = torch.tensor(ious).mean(0).tolist()
    print(
        f"toy scenes: IoU of the object that {n_images} pictures share, mean over classes: {unsupervised:.2f} without "
        f"labels, {one_shot:.2f} after one mask was shown"
    )
    return one_shot


def photographs(folder: Path, weights: Path, pictures: Path, side: int) -> None:
    """The same picture groups through an ImageNet SqueezeNet."""
    if not (weights.exists() and pictures.exists()):
        print(f"No photographs: looked for {weights} and {pictures}; pass --weights and --pictures.")
        return
    net = squeezenet1_0()
    net.load_state_dict(load_file(weights))
    space = PixelSpace((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    for group in sorted(path for path in pictures.iterdir() if path.is_dir()):
        files = sorted(group.glob("*.jpg"))
        shown = torch.stack([resize(decode_image(str(file)) / 255.0, [side, side]).clamp(0, 1) for file in files])
        draw(net.eval(), space.to_network(shown), shown, group.name, folder, layer="features.12")


def main(
    folder: str | Path = "heatmaps_example",
    weights: str | Path = SHARED / "weights/squeezenet1_0_imagenet.safetensors",
    pictures: str | Path = SHARED / "data/icoseg",
    side: int = 384,
    max_epochs: int = 12,
    n_train: int = 1200,
    width: int = 24,
    n_images: int = 8,
) -> float:
    """Both; returns the mean IoU on toy scenes."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    iou = toy_scenes(Path(folder), max_epochs, n_train, width, n_images)
    photographs(Path(folder), Path(weights), Path(pictures), side)
    return iou


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", default="heatmaps_example", help="where figures and masks go")
    parser.add_argument("--weights", default=SHARED / "weights/squeezenet1_0_imagenet.safetensors")
    parser.add_argument("--pictures", default=SHARED / "data/icoseg", help="a folder per group of pictures")
    parser.add_argument("--side", type=int, default=384, help="photographs are scaled to this square")
    main(**vars(parser.parse_args()))
