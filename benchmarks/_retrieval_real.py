"""The tables of chapter 5 of the thesis on real pictures, where data and weights are there."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks._localization_scenes import IMAGENET
from benchmarks._retrieval_paper import BOXES, CATEGORIES, CATEGORY_MEANS, INSTANCES, RMAC_BOXES
from benchmarks._synthesis_peers import quiet
from lightning_interp.cli.networks import load_network
from lightning_interp.datasets.oxford_paris import OxfordParis, OxfordParisName
from lightning_interp.datasets.retrieval_images import RetrievalImages, collate_images
from lightning_interp.datasets.voc_retrieval import VOCRetrieval
from lightning_interp.exceptions import DatasetNotFoundError
from lightning_interp.functional.retrieval.average_precision import average_precision
from lightning_interp.functional.retrieval.boxes import box_overlaps
from lightning_interp.functional.retrieval.cam_rows import class_weights
from lightning_interp.functional.retrieval.describer import DescriptorMethod
from lightning_interp.functional.retrieval.descriptors import describe_images, learn_whitening
from lightning_interp.functional.retrieval.localize import localize
from lightning_interp.functional.retrieval.query_expansion import expand_query
from lightning_interp.functional.retrieval.search import search
from lightning_interp.functional.retrieval.whitening import Whitening

Rows = list[dict[str, Any]]
LAYERS = {"vgg16": "features.29", "resnet50": "layer4"}  # the thesis does not say which; the last maps of each
METHODS: tuple[DescriptorMethod, ...] = ("mac", "rmac", "crow", "cam", "nmf_v", "nmf_vtu")
CATEGORY_METHODS: tuple[DescriptorMethod, ...] = ("mac", "crow", "rmac", "nmf_vtu", "nmf_v")
BUILDINGS: tuple[OxfordParisName, ...] = ("oxford5k", "paris6k")
Foreign: TypeAlias = Callable[[], OxfordParis | None]
_QUERIES = 5  # of a building
_K = 4  # factors: those of the thesis's figures


@dataclass(frozen=True)
class Sources:
    """Folders, which need not exist, and files of weights, which do.

    Attributes:
        oxford: Oxford5k.
        paris: Paris6k.
        voc: VOC.
        weights: by name of the network.
        side: smaller side of pictures.
        box_side: the same where boxes are searched.
        year: of VOC.
    """

    oxford: Path
    paris: Path
    voc: Path
    weights: dict[str, Path]
    side: int = 512
    box_side: int = 224
    year: int = 2010

    def buildings(self, name: OxfordParisName) -> OxfordParis:
        """Oxford5k or Paris6k."""
        root = self.oxford if name == "oxford5k" else self.paris
        return OxfordParis(root, name, image_size=self.side, transform=IMAGENET)

    def categories(self) -> VOCRetrieval:
        """VOC."""
        with quiet():  # it says where a class has fewer than five queries
            return VOCRetrieval(self.voc, year=self.year, image_size=self.side, transform=IMAGENET)

    def foreign(self, name: str) -> OxfordParis | None:
        """Pictures of another data set, to learn the whitening on, if they are there."""
        for other in BUILDINGS[::-1]:
            if other != name:
                with suppress(DatasetNotFoundError):
                    return self.buildings(other)
        return None


@dataclass(frozen=True)
class Network:
    """A network in eval mode and the layer that is described."""

    name: str
    net: nn.Module
    layer: str


def real_rows(sources: Sources) -> Iterator[tuple[str, Rows, str]]:
    """Name, rows and notes of every table that can be made, and at last what became of each."""
    states: Rows = []
    for table, name, read, make in _tables(sources):
        try:
            data = read()
            rows = [row for network in _networks(sources) for row in make(network, data)]
            state = f"written: retrieval_{name}" if rows else "skipped: no weights"
        except DatasetNotFoundError as error:
            rows, state = [], f"skipped: {str(error).split('. ')[0]}"
        states.append({"table": table, "data": name.split("_")[0], "state": state})
        if rows:
            yield name, rows, f"Table {table} of the thesis, percent; smaller side {sources.side}. {NOTES}"
    yield "real", states, "Tables of the thesis on real pictures: what could be measured here, and why not."


def _tables(sources: Sources) -> Iterator[tuple[str, str, Callable[[], Any], Callable[[Network, Any], Rows]]]:
    """Number, name, data and rows of each."""
    for name in BUILDINGS:
        read = partial(sources.buildings, name)
        yield "5.1", name, read, partial(building_rows, foreign=partial(sources.foreign, name))
        yield "5.2", f"{name}_boxes", read, partial(box_rows, side=sources.box_side)
    yield "5.3", "voc", sources.categories, partial(category_rows, foreign=partial(sources.foreign, "voc"))


NOTES = (
    f"k = {_K}; NMF chooses factors by the box of the query, the others cut it out. Whitening of Oxford is learned on"
    " Paris and that of Paris on Oxford; that of VOC on Paris, or on Oxford. mAP: finite sum, as in the thesis;"
    " official: trapezoid, as in the programs of the data sets. Boxes: the five queries of a building, each in the"
    " other four, smaller side 224. Layers: the last maps; the thesis does not name its own. Queries of VOC are drawn,"
    " those of the thesis were chosen by hand."
)


def building_rows(network: Network, data: OxfordParis, *, foreign: Foreign) -> Rows:
    """Table 5.1: mAP of one search, and after query expansion."""
    rows: Rows = []
    for method in _possible(METHODS, network, data):
        whitening = _whitening(network, foreign(), method)
        once, twice = rankings(network, data, method, whitening)
        row: dict[str, Any] = {"network": network.name, "data": data.name, "method": method}
        row |= {"whitened": "no" if whitening is None else "yes"}
        row |= {"mAP": mean_ap(data, once), "mAP, expanded": mean_ap(data, twice)}
        row |= {"official": mean_ap(data, once, rule="trapezoid")}
        paper = INSTANCES.get((network.name, data.name, method), ())
        rows.append(row | dict(zip(("thesis", "thesis, expanded"), paper, strict=False)))
    return rows


def box_rows(network: Network, data: OxfordParis, *, side: int) -> Rows:
    """Table 5.2: IoU of the boxes that one query of a building finds in its four others."""
    queries = data.query_images()
    overlaps = []
    options: dict[str, Any] = {"layer": network.layer, "k": _K, "image_size": side}
    for start in range(0, len(queries), _QUERIES):
        items = [queries[i] for i in range(start, min(start + _QUERIES, len(queries)))]
        images, boxes = [image.to(_device()) for image, _, _ in items], torch.stack([box for _, box, _ in items])
        for i, image in enumerate(images):
            others = [j for j in range(len(items)) if j != i]
            with quiet():  # it warns where no factor is inside of the box
                found = localize(network.net, image, boxes[i], [images[j] for j in others], **options)
            overlaps.append(box_overlaps(found.boxes, boxes[others]))
    iou = torch.cat(overlaps)
    row = {"network": network.name, "data": data.name, "pairs": len(iou), "IoU": 100 * float(iou.mean())}
    return [row | {"thesis": BOXES[network.name, data.name], "its exhaustive R-MAC": RMAC_BOXES[data.name]}]


def category_rows(network: Network, data: VOCRetrieval, *, foreign: Foreign) -> Rows:
    """Table 5.3: mAP@30 by class, and the mean over classes."""
    rows: Rows = []
    for method in CATEGORY_METHODS:
        whitening = _whitening(network, foreign(), method)
        found = rankings(network, data, method, whitening)[0]
        about = {"network": network.name, "method": method, "whitened": "no" if whitening is None else "yes"}
        own: Rows = []
        for label in sorted(set(data.labels)):
            chosen = [i for i, other in enumerate(data.labels) if other == label]
            row = about | {"class": data.classes[label - 1], "queries": len(chosen)}
            row["mAP@30"] = mean_ap(data, found, at=30, only=chosen)
            own.append(row | {"thesis": CATEGORIES[network.name, method][label - 1]})
        mean = sum(row["mAP@30"] for row in own) / len(own)
        last = about | {"class": "mean", "queries": len(data.labels), "mAP@30": mean}
        rows += [*own, last | {"thesis": CATEGORY_MEANS[network.name, method]}]
    return rows


def rankings(
    network: Network, data: RetrievalImages, method: DescriptorMethod, whitening: Whitening | None
) -> tuple[Tensor, Tensor]:
    """Pictures of the database by similarity to every query, one search and two, ``(Q, n)`` each."""
    options: dict[str, Any] = {"method": method, "layer": network.layer, "k": _K, "whitening": whitening}
    database = describe_images(network.net, _loader(data), **options)
    use = data.query_images("factors" if method.startswith("nmf") else "crop")
    images, boxes, _ = zip(*(use[i] for i in range(len(use))), strict=True)
    if use.box == "factors":
        options["boxes"] = torch.stack(boxes)
    with quiet():  # it warns of queries without a factor inside of their box
        queries = describe_images(network.net, [[image] for image in images], **options).vectors
    expanded = expand_query(queries, database.vectors)
    once, twice = (database.positions[search(each, database.vectors).indices] for each in (queries, expanded))
    return once, twice


def mean_ap(data: RetrievalImages, found: Tensor, *, only: list[int] | None = None, **options: Any) -> float:
    """Mean average precision of some queries, all by default, in percent."""
    (protocol,) = data.protocols
    chosen = range(len(data.queries)) if only is None else only
    each = [average_precision(found[i], *data.queries[i].relevance(protocol), **options) for i in chosen]
    return 100 * sum(each) / len(each)


def _networks(sources: Sources) -> Iterator[Network]:
    for name, file in sources.weights.items():
        yield Network(name, load_network(name, ckpt=file).to(_device()), LAYERS[name])


def _possible(
    methods: tuple[DescriptorMethod, ...], network: Network, data: RetrievalImages
) -> tuple[DescriptorMethod, ...]:
    """CAM wants a classifier of a global average and linear layers."""
    image = next(image for image, _ in data if image is not None)
    try:
        class_weights(network.net, network.layer, image[None].to(_device()))
    except ValueError:
        return tuple(method for method in methods if method != "cam")
    return methods


def _whitening(network: Network, foreign: OxfordParis | None, method: DescriptorMethod) -> Whitening | None:
    if foreign is None:
        return None
    return learn_whitening(network.net, _loader(foreign), method, layer=network.layer, k=_K)


def _loader(data: RetrievalImages) -> DataLoader[Any]:
    return DataLoader(data, batch_size=8, collate_fn=collate_images)


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
