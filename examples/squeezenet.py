"""Look into SqueezeNet, trained on ImageNet: what excites its units, and what it remembers of pictures.

python examples/squeezenet.py
python examples/squeezenet.py --weights squeezenet1_0.safetensors --pictures FOLDER

Writes to ``squeezenet_example``: ``deconvnet_<layer>.png``, ``classes.png``, ``channels.png``, ``inversion.png`` and
``style_transfer.png``. Weights are those of ``torchvision.models.squeezenet1_0`` as safetensors; pictures may lie in
folders of FOLDER.
"""

import argparse
from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path

import torch
from matplotlib.figure import Figure
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import squeezenet1_0
from torchvision.transforms.v2.functional import center_crop, pil_to_tensor, resize

from lightning_interp.functional import deconvnet, invert, maximize_activation, style_transfer
from lightning_interp.functional.synthesis import Jitter, PixelSpace, TotalVariation, channel, logit
from lightning_interp.plots import plot_maximization, plot_pictures, plot_projections, plot_reconstructions

IMAGENET = PixelSpace((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SPACE = {"mean": IMAGENET.mean, "std": IMAGENET.std}
CLASSES = {386: "African elephant", 340: "zebra", 949: "strawberry", 970: "alp", 130: "flamingo", 954: "banana"}
LAYERS = ("features.3", "features.7", "features.12")


def choose(folder: Path, n_of_each: int) -> list[Path]:
    """The first pictures of each folder."""
    files = [file for file in folder.rglob("*") if file.suffix.lower() in {".jpg", ".jpeg", ".png"}]
    groups = groupby(sorted(files, key=lambda file: (file.parent, file.name)), key=lambda file: file.parent)
    return [file for _, group in groups for file in islice(group, n_of_each)]


def read(files: Sequence[Path], size: int) -> Tensor:
    """The middle of pictures, ``(N, 3, size, size)`` in [0, 1]."""
    pixels = [pil_to_tensor(Image.open(file).convert("RGB")).float() / 255 for file in files]
    return torch.stack([center_crop(resize(each, [size], antialias=True), [size]) for each in pixels])


def look(net: nn.Module, pictures: Tensor, steps: int) -> Iterator[tuple[str, Figure]]:
    """Figure by figure, each with its name."""
    images = IMAGENET.to_network(pictures)
    projections = [deconvnet(net, images, layer, n_units=4) for layer in LAYERS]  # of the most active units
    for each in projections:
        yield f"deconvnet_{each.layer}", plot_projections(each, pictures=pictures)

    # Scores and activations of this network are in the hundreds, and so is what makes a penalty of them.
    options = {"image_shape": images.shape[1:], "regularizers": [Jitter(), TotalVariation(50.0)], **SPACE}
    classes = maximize_activation(net, [logit(i, name=name) for i, name in CLASSES.items()], steps=steps, **options)
    yield "classes", plot_maximization(classes)
    units = [channel(each.layer, unit) for each in projections for unit in each.units]  # the same ones
    channels = maximize_activation(net, units, steps=steps // 2, **options)
    yield "channels", plot_maximization(channels, n_columns=4)

    found = {layer: invert(net, images, layer, steps=steps, **SPACE) for layer in LAYERS[:2]}
    reconstructions = {layer: each.reconstructions for layer, each in found.items()}
    yield "inversion", plot_reconstructions(images, reconstructions, pictures=IMAGENET.to_pixels)

    content, style = images[-1:], images[1:2]
    painted = style_transfer(
        net,
        content,
        style,
        content_layers=LAYERS[1],
        style_layers=["features.1", "features.3", "features.5", "features.7"],
        style_weight=1.0,
        regularizers=[TotalVariation(1e-2)],
        steps=steps // 2,
        **SPACE,
    )
    row = torch.cat([IMAGENET.to_pixels(content), IMAGENET.to_pixels(style), painted.pixels])
    yield "style_transfer", plot_pictures(row, ["content", "style", "transfer"])


def main(
    weights: str = "../shared/weights/squeezenet1_0_imagenet.safetensors",
    pictures: str = "../shared/data/icoseg",
    size: int = 160,
    steps: int = 64,
    n_of_each: int = 2,
    folder: str = "squeezenet_example",
) -> list[str]:
    """Draw all figures; returns their names."""
    files = choose(Path(pictures), n_of_each)
    for option, path, is_there in (("weights", weights, Path(weights).is_file()), ("pictures", pictures, files)):
        if not is_there:
            print(f"Looked for {option} in {path!r} and found none: pass your own with --{option}.")
            return []
    net = squeezenet1_0()
    net.load_state_dict(load_file(weights))
    drawn = []
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, figure in look(net, read(files, size), steps):
        figure.savefig(Path(folder) / f"{name}.png", dpi=200)
        print(f"{folder}/{name}.png", flush=True)
        drawn.append(name)
    return drawn


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="../shared/weights/squeezenet1_0_imagenet.safetensors", help="a file")
    parser.add_argument("--pictures", default="../shared/data/icoseg", help="a folder of pictures, or of such folders")
    parser.add_argument("--size", type=int, default=160, help="side of all images in pixels")
    parser.add_argument("--steps", type=int, default=64, help="of gradient ascent")
    parser.add_argument("--folder", default="squeezenet_example", help="where figures go")
    main(**vars(parser.parse_args()))
