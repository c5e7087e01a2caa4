"""``lightning-interp search``: the pictures of an index that are most similar to a query, or to a part of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeAlias

import torch
from jsonargparse import ArgumentParser, Namespace
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from lightning_interp._checks import check_int, message
from lightning_interp.cli._pictures import printable, read_upright
from lightning_interp.cli._recipe import Recipe, about_of
from lightning_interp.datasets.folder_images import Size
from lightning_interp.exceptions import DatasetNotFoundError
from lightning_interp.functional.localization import nmf_heatmaps
from lightning_interp.functional.retrieval.boxes import check_boxes
from lightning_interp.functional.retrieval.describer import Describer
from lightning_interp.functional.retrieval.index import ImageIndex
from lightning_interp.functional.retrieval.localize import localize
from lightning_interp.functional.retrieval.query_expansion import expand_query
from lightning_interp.plots.retrieval import plot_ranking, plot_ranking_factors

__all__ = ["search"]

_OWNER = "lightning-interp search"
_SIDE = 224  # the smaller one of pictures that are shown and localised in
_N_FACTORS_OF = 6  # finds, the best ones
_NO_BOX = (-1.0, -1.0, -1.0, -1.0)
Box: TypeAlias = Sequence[float]  # left, top, right, bottom


@dataclass(frozen=True)
class _Query:
    """Pixels to show ``(3, h, w)``, a box in them, and the same box in the file."""

    name: str
    pixels: Tensor
    box: Box | None
    file_box: Box | None


@dataclass(frozen=True)
class _Find:
    """Pixels to show ``(3, h, w)`` if the picture is there, its size in the file, and a box in the pixels."""

    name: str
    score: float
    pixels: Tensor | None = None
    file_size: Size = (1, 1)
    box: Box = _NO_BOX


def search(args: Sequence[str] = ()) -> None:
    """Describe a picture as those of the index were described, list the most similar ones and draw them.

    Args:
        args: Command-line arguments; ``--help`` lists them.
    """
    options = _parser().parse_args(list(args))
    console = Console(markup=False, highlight=False, emoji=False)
    recipe, describer, index = _opened(Path(options.index), options.ckpt)
    query = _query(Path(options.query), options.box)
    vector = _described(options, recipe, describer, query.file_box, console)
    if check_int(options.expand, "expand", _OWNER, low=0):
        vector = expand_query(vector, index.vectors, n=options.expand)
    hits = index.search(vector, check_int(options.top, "top", _OWNER))
    root = Path(options.pictures or index.about["pictures"])
    finds = [_find(root, name, score) for name, score in zip(hits.names[0], hits.scores[0].tolist(), strict=True)]
    if options.localize:
        finds = _localized(recipe, describer.model, query, finds)
    console.print(_table(finds))
    missing = sum(find.pixels is None for find in finds)
    if missing:
        text = f"{missing} of these are not in {str(root)!r} or cannot be read; if they have moved, set --pictures."
        console.print(text, soft_wrap=True)
    out = Path(options.out)
    _save(_ranking(query, finds), out, console)
    if options.localize and missing < len(finds):
        figure = _factors(recipe, describer.model, query, finds[:_N_FACTORS_OF])
        _save(figure, out.with_suffix(f".factors{out.suffix}"), console)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="lightning-interp search", description=__doc__)
    parser.add_argument("query", type=str, help="a picture")
    parser.add_argument("--index", type=str, default="index", help="folder that lightning-interp index has made")
    parser.add_argument("--box", type=str | None, default=None, help="what is meant: left,top,right,bottom in pixels")
    text = (
        "keep the factors inside the box (NMF only), or cut the picture to it; factors by default, where there are any"
    )
    parser.add_argument("--box_use", type=Literal["factors", "crop"] | None, default=None, help=text)
    parser.add_argument("--top", type=int, default=10, help="number of pictures to find")
    parser.add_argument("--expand", type=int, default=0, help="search again with the mean of query and so many finds")
    text = "draw the factors of query and finds and, with --box, where in the finds is what it encloses"
    parser.add_argument("--localize", action="store_true", help=text)
    parser.add_argument("--out", type=str, default="search.png", help="the figure")
    parser.add_argument("--pictures", type=str | None, default=None, help="folder of the pictures, if it has moved")
    parser.add_argument("--ckpt", type=str | None, default=None, help="the network's checkpoint, if it has moved")
    return parser


def _opened(folder: Path, ckpt: str | None) -> tuple[Recipe, Describer, ImageIndex]:
    """An index, and what describes pictures as its own were described."""
    about = about_of(folder)
    if about is None:
        raise SystemExit(
            f"There is no index in {str(folder)!r}: make one with `lightning-interp index`, or set --index."
        )
    recipe = Recipe.read(about, folder)
    recipe = recipe if ckpt is None else replace(recipe, ckpt=ckpt, weights=None)
    describer = recipe.describer(recipe.network(), recipe.load_whitening(folder))
    now = {**about, "ckpt": recipe.ckpt, "weights": recipe.weights}
    return recipe, describer, ImageIndex.open(folder, fingerprint=recipe.fingerprint(describer), about=now)


def _query(file: Path, box: str | None) -> _Query:
    pixels, size = read_upright(file, side=_SIDE)
    if box is None:
        return _Query(file.name, pixels, None, None)
    try:
        edges = [float(edge) for edge in box.strip("[]()").split(",")]
    except ValueError:
        edges = []
    if len(edges) != 4:
        raise ValueError(message("box", _OWNER, "four numbers, such as --box=10,20,200,180", box))
    checked = check_boxes([edges], [size], _OWNER, parameter="box")[0].tolist()
    return _Query(file.name, pixels, _scaled(checked, size, pixels.shape[1:]), checked)


def _scaled(box: Box, size: Sequence[int], to: Sequence[int]) -> Box:
    """A box in a picture of one height and width, in pixels of another."""
    down, across = to[0] / size[0], to[1] / size[1]
    return [edge * scale for edge, scale in zip(box, (across, down, across, down), strict=True)]


def _described(options: Namespace, recipe: Recipe, describer: Describer, box: Box | None, console: Console) -> Tensor:
    """The descriptor of the query, ``(1, D)``."""
    use = options.box_use or ("factors" if describer.is_nmf else "crop")
    if use == "factors" and not describer.is_nmf:
        must = f"'crop' for the index's method, {recipe.method!r}: only NMF has factors to choose from"
        raise ValueError(message("box_use", _OWNER, must, use))
    cut = box if use == "crop" else None
    pixels, size = read_upright(Path(options.query), side=recipe.image_size, box=cut)
    inside = None if box is None or cut else torch.tensor([_scaled(box, size, pixels.shape[1:])])
    vector, missed = describer(recipe.space.to_network(pixels[None]), inside)
    if bool(missed.any()):
        text = f"No factor has more than {describer.share:.0%} of its activation inside the box: all of them are used."
        console.print(f"{text} A larger box or --box_use crop may do better.", soft_wrap=True)
    if not bool(vector.any()):
        raise ValueError(f"Layer {describer.layer!r} does not respond to {options.query!r}: it cannot be searched for.")
    return vector


def _find(root: Path, name: str, score: float) -> _Find:
    """A picture of the index, with its pixels if it is there."""
    inside = PurePosixPath(name)  # an index of a stranger must not lead out of the folder
    try:
        if inside.is_absolute() or ".." in inside.parts:
            raise DatasetNotFoundError(f"{name!r} is outside of the folder.")
        return _Find(name, score, *read_upright(root / inside, side=_SIDE))
    except DatasetNotFoundError:
        return _Find(name, score)


def _localized(recipe: Recipe, net: nn.Module, query: _Query, finds: Sequence[_Find]) -> list[_Find]:
    """Finds with a box around what the query's box encloses."""
    there = {i: find.pixels for i, find in enumerate(finds) if find.pixels is not None}
    if query.box is None or not there:
        return list(finds)
    first, *images = _images(recipe, [query.pixels, *there.values()])
    found = localize(net, first, query.box, images, layer=recipe.layer, k=recipe.k, image_size=_side(recipe))
    boxes = dict(zip(there, found.boxes.double().tolist(), strict=True))
    return [replace(find, box=boxes.get(i, _NO_BOX)) for i, find in enumerate(finds)]


def _images(recipe: Recipe, pictures: Sequence[Tensor]) -> list[Tensor]:
    """As the network takes them."""
    return [recipe.space.to_network(picture[None])[0] for picture in pictures]


def _side(recipe: Recipe) -> int:
    return min(_SIDE, recipe.image_size)


def _table(finds: Sequence[_Find]) -> Table:
    boxed = any(find.box != _NO_BOX for find in finds)
    table = Table("rank", "name", "score", *(["box"] if boxed else []))
    for rank, find in enumerate(finds, 1):
        row = [str(rank), printable(find.name), f"{find.score:.4f}"]
        if find.pixels is not None and find.box[2] > 0:
            edges = _scaled(find.box, find.pixels.shape[1:], find.file_size)
            row.append(",".join(f"{edge:.0f}" for edge in edges))
        table.add_row(*row)
    return table


def _ranking(query: _Query, finds: Sequence[_Find]) -> Figure:
    boxes = [find.box for find in finds]
    return plot_ranking(
        query.pixels,
        [find.pixels for find in finds],
        query_box=query.box,
        boxes=boxes if any(box != _NO_BOX for box in boxes) else None,
        **_captions(query, finds),
    )


def _factors(recipe: Recipe, net: nn.Module, query: _Query, finds: Sequence[_Find]) -> Figure:
    there = [find.pixels for find in finds if find.pixels is not None]
    images = _images(recipe, [query.pixels, *there])
    found = nmf_heatmaps(net, images, recipe.k, layer=recipe.layer, image_size=_side(recipe))
    return plot_ranking_factors(query.pixels, [find.pixels for find in finds], found, **_captions(query, finds))


def _captions(query: _Query, finds: Sequence[_Find]) -> dict[str, Any]:
    titles = [printable(find.name) for find in finds]
    return {"scores": [find.score for find in finds], "titles": titles, "query_title": printable(query.name)}


def _save(figure: Figure, out: Path, console: Console) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)
    console.print(f"The figure is {str(out)!r}.", soft_wrap=True)
