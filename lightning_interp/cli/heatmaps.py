"""``lightning-interp heatmaps``: what the pictures of a folder have in common, painted over them."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from jsonargparse import ArgumentParser, Namespace
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torchvision.transforms.v2.functional import resize

from lightning_interp.cli._pictures import read_upright
from lightning_interp.cli.networks import load_network
from lightning_interp.datasets.folder_images import EXTENSIONS
from lightning_interp.exceptions import DatasetNotFoundError
from lightning_interp.functional.localization import Heatmaps, factor_importance, nmf_heatmaps
from lightning_interp.functional.synthesis import PixelSpace
from lightning_interp.plots.heatmap import overlay, plot_factor_maps, plot_heatmaps
from lightning_interp.plots.pictures import save_png

__all__ = ["heatmaps"]

_IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def heatmaps(args: Sequence[str] = ()) -> None:
    """Factorise the activations of all pictures together, and write overlays, a figure and the factors.

    Args:
        args: Command-line arguments; ``--help`` lists them.
    """
    options = _parse(args)
    console = Console()
    net = load_network(options.model, arguments=options.model_args, ckpt=options.ckpt, weights=options.weights)
    files, pictures = _pictures(Path(options.images))
    space = PixelSpace(tuple(options.mean), tuple(options.std))
    size = [options.image_size, options.image_size]
    shown = torch.stack([resize(picture, size, antialias=True).clamp(0, 1) for picture in pictures])
    images = space.to_network(shown)
    k = options.k if options.k == "auto" else int(options.k)
    found = nmf_heatmaps(net, images, k, layer=options.layer, method=options.method, padding=options.padding)
    worth = _importance(net, images, found)
    console.print(
        f"{len(files)} pictures, layer {found.layer}, {found.k} factors, relative error {found.error:.3f}, "
        f"pixels normalised by mean {options.mean} and std {options.std}."
    )
    console.print(_table(found, worth))
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    if found.method == "nmf":  # signed maps cannot be laid over each other
        for i, (file, picture) in enumerate(zip(files, pictures, strict=True)):
            maps = found.maps_of(i, size=(picture.shape[1], picture.shape[2]))
            save_png(overlay(picture, maps, found.colors), out / f"{file.stem}.png")
    figure = plot_heatmaps(found, shown, importance=worth) if found.method == "nmf" else plot_factor_maps(found, shown)
    figure.savefig(out / "heatmaps.figure.png")
    found.save(out / "heatmaps.safetensors")
    console.print(f"Overlays, the figure heatmaps.figure.png and the factors are in {out}.", soft_wrap=True)


def _parse(args: Sequence[str]) -> Namespace:
    parser = ArgumentParser(prog="lightning-interp heatmaps", description=__doc__)
    parser.add_argument("--images", type=str, required=True, help="folder with pictures, of any sizes")
    parser.add_argument("-k", "--k", type=str, default="4", help="number of factors, or auto")
    parser.add_argument("--model", type=str, default="squeezenet1_1", help="of torchvision or ours, or an import path")
    parser.add_argument("--model_args", type=dict | None, default=None, help="arguments of its constructor")
    parser.add_argument("--ckpt", type=str | None, default=None, help="Lightning checkpoint, .pth or .safetensors")
    parser.add_argument("--weights", type=str | None, default=None, help="DEFAULT for torchvision's, or random")
    parser.add_argument("--layer", type=str | None, default=None, help="a layer with maps; the last one by default")
    parser.add_argument("--method", type=str, default="nmf", help="nmf or pca")
    parser.add_argument("--padding", type=str, default="zeros", help="reflect for networks with batch norm")
    parser.add_argument("--image_size", type=int, default=224, help="pictures are scaled to this square")
    parser.add_argument("--mean", type=list[float], default=_IMAGENET[0], help="of the network's images; ImageNet's")
    parser.add_argument("--std", type=list[float], default=_IMAGENET[1])
    parser.add_argument("--out", type=str, default="heatmaps", help="folder to write to")
    return parser.parse_args(list(args))


def _pictures(folder: Path) -> tuple[list[Path], list[Tensor]]:
    """Files and their pixels ``(3, H, W)``; what cannot be read is left out with a warning."""
    files = sorted(file for file in folder.glob("*") if file.suffix.lower() in EXTENSIONS)
    read = [(file, _picture(file)) for file in files]
    found = [(file, picture) for file, picture in read if picture is not None]
    if not found:
        raise SystemExit(f"There is no picture ({', '.join(EXTENSIONS)}) in {str(folder)!r}: set --images.")
    return [file for file, _ in found], [picture for _, picture in found]


def _picture(file: Path) -> Tensor | None:
    try:
        return read_upright(file)[0]
    except DatasetNotFoundError as error:
        warnings.warn(f"Left out: {error}", UserWarning, stacklevel=3)
        return None


def _importance(net: nn.Module, images: Tensor, found: Heatmaps) -> Tensor | None:
    try:
        return factor_importance(net, images, found)
    except TypeError:  # a network without class scores
        return None


def _table(found: Heatmaps, worth: Tensor | None) -> Table:
    table = Table("factor", "share of the activation", "class score without it")
    power = found.factorization.u.sum(0) * found.v.sum(1)
    for j in range(found.k):
        fall = "" if worth is None else f"{-float(worth[:, j].mean()):+.2f}"
        table.add_row(str(j), f"{float(power[j] / power.sum()):.0%}", fall)
    return table
