"""``lightning-interp index``: describe the pictures of a folder, to find them with ``lightning-interp search``."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import torch
from jsonargparse import ArgumentParser, Namespace
from rich.console import Console
from rich.progress import Progress
from safetensors import SafetensorError
from torch import Tensor, nn

from lightning_interp._checks import check_int, message
from lightning_interp.cli._pictures import picture_files, printable, read_upright
from lightning_interp.cli._recipe import Recipe, about_of
from lightning_interp.cli._stamps import append_stamps, read_stamps, stamp
from lightning_interp.datasets.folder_images import EXTENSIONS
from lightning_interp.exceptions import DatasetNotFoundError
from lightning_interp.functional.retrieval.describer import Describer, DescriptorMethod
from lightning_interp.functional.retrieval.descriptors import described_batches, learn_whitening
from lightning_interp.functional.retrieval.index import ImageIndex
from lightning_interp.functional.retrieval.whitening import Whitening

__all__ = ["index"]

_IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
_OWNER = "lightning-interp index"
_LISTED = 10
_ASKED = 100  # queries that tell how good an approximate search is


def index(args: Sequence[str] = ()) -> None:
    """Describe the pictures of a folder that are new or have changed, and save each batch in its index.

    Args:
        args: Command-line arguments; ``--help`` lists them.
    """
    options, about = _parse(args)
    check_int(options.batch_size, "batch_size", _OWNER)
    console = Console(markup=False, highlight=False, emoji=False)
    folder, out = Path(options.folder).resolve(), Path(options.out)
    files = {file.relative_to(folder).as_posix(): file for file in _pictures(folder)}
    recipe = _recipe(options)
    if about is not None:
        _check_same(recipe, folder, about, out)
    net = recipe.network().to(options.device)
    recipe = replace(recipe, layer=_layer(recipe, net))
    whitening = _whitening(recipe, net, options.batch_size) if about is None else recipe.load_whitening(out)
    describer = recipe.describer(net, whitening)
    found = _opened(out, recipe, describer, folder)
    n_new, skipped = _update(found, files, recipe, describer, options.batch_size, console)
    gone = [name for name in found.names if name not in files]
    n_there = len(files) - n_new - len(skipped)
    console.print(f"{n_new} pictures are new or changed, {n_there} were there.", soft_wrap=True)
    _list(console, "cannot be described", [f"{name} ({reason})" for name, reason in skipped.items()])
    _list(console, "dropped" if options.prune else "not in the folder any more (--prune drops them)", gone)
    if options.prune:
        found.remove(gone)
    if 2 * n_new > len(found):  # many files become one; the work of it stays in proportion to what was added
        found.compact()
    text = f"The index {str(out)!r} has {len(found)} pictures: {recipe.method} of layer {recipe.layer}."
    console.print(text, soft_wrap=True)
    if found.approximate:
        share = found.recall(found.vectors[:_ASKED])
        console.print(f"It outgrows memory: searches are approximate and find {share:.0%} of the ten nearest pictures.")


def _parse(args: Sequence[str]) -> tuple[Namespace, Mapping[str, Any] | None]:
    """Options, and what is known about the index where there is one: its options are then the defaults."""
    parser = _parser()
    options = parser.parse_args(list(args))
    about = about_of(Path(options.out))
    if about is None:
        return options, None
    parser.set_defaults(asdict(Recipe.read(about, Path(options.out))))
    return parser.parse_args(list(args)), about


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog=_OWNER,
        description=f"{__doc__} For a folder that has an index, options that are not given are those of the index.",
    )
    parser.add_argument("folder", type=str, help="with pictures, also in folders inside it")
    parser.add_argument("--out", type=str, default="index", help="folder of the index")
    parser.add_argument("--model", type=str, default="squeezenet1_1", help="of torchvision or ours, or an import path")
    parser.add_argument("--model_args", type=dict | None, default=None, help="arguments of its constructor")
    parser.add_argument("--ckpt", type=str | None, default=None, help="Lightning checkpoint, .pth or .safetensors")
    parser.add_argument("--weights", type=str | None, default=None, help="DEFAULT for torchvision's, or random")
    parser.add_argument("--layer", type=str | None, default=None, help="a layer with maps; the last one by default")
    methods = ", ".join(get_args(DescriptorMethod))
    parser.add_argument("--method", type=DescriptorMethod, default="nmf_v", help=f"one of {methods}")
    parser.add_argument("-k", "--k", type=int, default=4, help="factors of a picture, for NMF")
    parser.add_argument("--image_size", type=int, default=512, help="smaller side that pictures are scaled to")
    parser.add_argument("--mean", type=list[float], default=_IMAGENET[0], help="of the network's images; ImageNet's")
    parser.add_argument("--std", type=list[float], default=_IMAGENET[1])
    parser.add_argument(
        "--whiten", type=str | None, default=None, help="folder of other pictures to learn it on, or a file"
    )
    parser.add_argument("--dim", type=int | None, default=None, help="dimensions that whitening keeps; all by default")
    parser.add_argument("--batch_size", type=int, default=32, help="pictures that are described and saved at a time")
    parser.add_argument("--device", type=str, default="cpu", help="such as cuda")
    parser.add_argument("--prune", action="store_true", help="drop pictures that are not in the folder any more")
    return parser


def _pictures(folder: Path) -> list[Path]:
    files = picture_files(folder)
    if not files:
        raise SystemExit(f"There is no picture ({', '.join(EXTENSIONS)}) in {str(folder)!r} or the folders inside it.")
    return files


def _recipe(options: Namespace) -> Recipe:
    names = Recipe.__dataclass_fields__
    absolute = {name: str(Path(options[name]).resolve()) for name in ("ckpt", "whiten") if options[name] is not None}
    return Recipe(**{**{name: options[name] for name in names}, **absolute})


def _check_same(recipe: Recipe, folder: Path, about: Mapping[str, Any], out: Path) -> None:
    """Refuse another folder and other options; a checkpoint may lie elsewhere, its content is compared later."""
    for name, value in asdict(recipe).items():
        moved = name == "ckpt" and None not in (value, about[name])
        if value != about[name] and not moved:
            must = f"{about[name]!r}, as for the index in {str(out)!r}"
            raise ValueError(f"{message(name, _OWNER, must, value)} Set --out to make another index.")
    before = Path(about["pictures"])
    if before != folder and before.is_dir():
        must = f"{str(before)!r}, of which the index in {str(out)!r} is"
        raise ValueError(f"{message('folder', _OWNER, must, str(folder))} Set --out to make another.")


def _layer(recipe: Recipe, net: nn.Module) -> str | None:
    """The layer, found where none is named; by a square, which networks with a fixed size of input take, too."""
    describer = recipe.describer(net, None)
    describer(_blank(recipe))
    return describer.layer


def _blank(recipe: Recipe) -> Tensor:
    return torch.zeros(1, 3, recipe.image_size, recipe.image_size)


def _whitening(recipe: Recipe, net: nn.Module, batch_size: int) -> Whitening | None:
    if recipe.whiten is None:
        return None
    given = Path(recipe.whiten)
    if given.is_file():
        try:
            return Whitening.load(given)
        except SafetensorError as error:
            must = "a folder with pictures, or a file written by Whitening.save"
            raise ValueError(message("whiten", _OWNER, must, recipe.whiten)) from error
    files = _pictures(given)
    batches = (_read(files[i : i + batch_size], recipe)[0] for i in range(0, len(files), batch_size))
    return learn_whitening(net, batches, recipe.method, layer=recipe.layer, k=recipe.k, dim=recipe.dim)


def _opened(out: Path, recipe: Recipe, describer: Describer, folder: Path) -> ImageIndex:
    fingerprint = recipe.fingerprint(describer)
    about = {**asdict(recipe), "pictures": str(folder)}
    try:
        return ImageIndex.open(out, fingerprint=fingerprint, about=about)
    except FileNotFoundError:
        recipe.save_whitening(describer.whitening, out)
        dim = describer(_blank(recipe))[0].shape[1]
        return ImageIndex.create(out, dim=dim, fingerprint=fingerprint, about=about)


def _update(
    found: ImageIndex,
    files: Mapping[str, Path],
    recipe: Recipe,
    describer: Describer,
    batch_size: int,
    console: Console,
) -> tuple[int, dict[str, str]]:
    """Add what is new or has changed, batch by batch: how many, and why others could not be described."""
    stamps, known = {name: stamp(file) for name, file in files.items()}, read_stamps(found.folder)
    new = [name for name in files if name not in found or known.get(name) != stamps[name]]
    skipped: dict[str, str] = {}
    with Progress(console=console) as progress:
        task = progress.add_task("describing", total=len(new))
        for start in range(0, len(new), batch_size):
            names = new[start : start + batch_size]
            images, problems = _read([files[name] for name in names], recipe)
            part = next(described_batches(describer, [images]))
            order = part.positions.argsort()
            described = [names[i] for i in part.positions[order].tolist()]
            if described:
                found.add(described, part.vectors[order], replace=True)
                append_stamps(found.folder, {name: stamps[name] for name in described})
            skipped |= {names[i]: reason for i, reason in {**part.skipped, **problems}.items()}
            progress.advance(task, len(names))
    return len(new) - len(skipped), skipped


def _read(files: Sequence[Path], recipe: Recipe) -> tuple[list[Tensor | None], dict[int, str]]:
    """Images as the network takes them, None for what cannot be read, and why it cannot."""
    with ThreadPoolExecutor() as threads:
        read = list(threads.map(lambda file: _image(file, recipe), files))
    problems = {i: image for i, image in enumerate(read) if isinstance(image, str)}
    return [None if isinstance(image, str) else image for image in read], problems


def _image(file: Path, recipe: Recipe) -> Tensor | str:
    try:
        return recipe.space.to_network(read_upright(file, side=recipe.image_size)[0][None])[0]
    except DatasetNotFoundError as error:
        return str(error.__cause__ or error).replace(str(file), file.name)


def _list(console: Console, what: str, names: Sequence[str]) -> None:
    if names:
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        listed = ", ".join(printable(name) for name in names[:_LISTED])
        console.print(f"{len(names)} {what}: {listed}{more}.", soft_wrap=True)
