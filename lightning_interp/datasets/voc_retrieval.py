"""PASCAL VOC for retrieval: find the pictures that show a thing of the same class."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor

from lightning_interp._checks import check_choice, check_int
from lightning_interp.datasets.concept_files import check_files
from lightning_interp.datasets.retrieval_images import RetrievalImages, RetrievalQuery
from lightning_interp.datasets.voc_detection import ImageSet
from lightning_interp.datasets.voc_files import VOC_CLASSES, VOCObject, find_voc, read_ids, read_objects
from lightning_interp.exceptions import DatasetNotFoundError

Corners = tuple[int, int, int, int]


class _Picture(NamedTuple):
    name: str
    objects: list[VOCObject]
    main: VOCObject


class VOCRetrieval(RetrievalImages):
    """Semantic retrieval: given one bicycle, find all bicycles.

    The main object of a picture is the one with the largest box. Pictures whose main object is difficult or truncated
    are left out. A query is a picture whose main object is of a class; all pictures with an object of the class are to
    be found. Its box is the largest one after overlapping boxes of the class are merged. The picture of a query stays
    in the database and counts as found, as in Oxford5k. Queries are ordered by class.

    The paper chose its five queries for each class by hand and does not list them; here the seed draws them.

    Args:
        root: holds ``VOCdevkit/VOC<year>``, or is the folder ``VOCdevkit``.
        year: 2007 to 2012.
        image_set: a list in ``ImageSets/Main``.
        n_queries: for each class; where there are fewer pictures all are taken, with a warning.
        seed: draws the queries.
        image_size: the smaller side is scaled to it; None leaves it as it is.
        transform: applied to the image, a float tensor ``(3, h, w)`` in [0, 1]; it must not move pixels.

    Attributes:
        classes: names of the 20 classes.
        labels: class of every query, from 1.
        files, names, queries, protocols: as in ``RetrievalImages``.

    Raises:
        DatasetNotFoundError: a list, picture or annotation is missing or damaged, or no picture remains.
        ValueError: an option out of range.
        TypeError: an option of another type.

    Reference:
        Thesis, section 5.4: 100 queries on the list ``"trainval"`` of 2010.
    """

    classes = VOC_CLASSES

    def __init__(
        self,
        root: str | Path,
        *,
        year: int = 2010,
        image_set: ImageSet = "trainval",
        n_queries: int = 5,
        seed: int = 0,
        image_size: int | None = 512,
        transform: Callable[[Tensor], Any] | None = None,
    ) -> None:
        owner = "VOCRetrieval"
        folder = find_voc(root, check_int(year, "year", owner, low=2007, high=2012))
        check_choice(image_set, "image_set", owner, get_args(ImageSet))
        check_int(n_queries, "n_queries", owner)
        pictures = _with_clear_main(folder, image_set)
        files = [folder / "JPEGImages" / f"{picture.name}.jpg" for picture in pictures]
        check_files(files, "pictures")
        chosen = _choose(pictures, n_queries, seed=check_int(seed, "seed", owner, low=0))
        self.labels = [pictures[i].main.label for i in chosen]
        queries = [_query(pictures, files[i], i) for i in chosen]
        options: Any = {"image_size": image_size, "transform": transform}
        super().__init__(files, names=[p.name for p in pictures], queries=queries, protocols=("semantic",), **options)


def merge_boxes(boxes: Iterable[Corners]) -> list[Corners]:
    """Put boxes that overlap into one box around them, until none overlap.

    Args:
        boxes: left, top, right, bottom, the last two exclusive: boxes that touch do not overlap.

    Returns:
        The boxes that remain, sorted.

    Reference:
        Thesis, section 5.4.

    >>> merge_boxes([(0, 0, 4, 4), (3, 3, 9, 9), (20, 0, 22, 2)])
    [(0, 0, 9, 9), (20, 0, 22, 2)]
    """
    merged: list[Corners] = []
    for box in boxes:
        while near := [other for other in merged if _overlap(box, other)]:  # grown, it may reach more of them
            merged = [other for other in merged if other not in near]
            left, top, right, bottom = zip(box, *near, strict=True)
            box = min(left), min(top), max(right), max(bottom)
        merged.append(box)
    return sorted(merged)


def _overlap(a: Corners, b: Corners) -> bool:
    return max(a[0], b[0]) < min(a[2], b[2]) and max(a[1], b[1]) < min(a[3], b[3])


def _area(box: Corners) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _with_clear_main(folder: Path, image_set: str) -> list[_Picture]:
    """The pictures on a list whose main object is neither difficult nor truncated."""
    pictures = []
    for name in read_ids(folder / "ImageSets" / "Main" / f"{image_set}.txt"):
        objects = read_objects(folder / "Annotations" / f"{name}.xml")
        main = max(objects, key=lambda each: _area(each.box), default=None)
        if main is not None and not (main.difficult or main.truncated):
            pictures.append(_Picture(name, objects, main))
    if not pictures:
        raise DatasetNotFoundError(
            f"No picture on the list {image_set!r} in {str(folder)!r} has a main object that is neither difficult nor"
            " truncated. Pass another list, or unpack the archive again."
        )
    return pictures


def _choose(pictures: Sequence[_Picture], n_queries: int, *, seed: int) -> list[int]:
    """Pictures for the queries of every class, drawn among those whose main object is of it."""
    chosen, few = [], []
    for label, name in enumerate(VOC_CLASSES, 1):
        own = [i for i, picture in enumerate(pictures) if picture.main.label == label]
        # a generator for every class: the draw of one does not depend on how many pictures the others have
        order = torch.randperm(len(own), generator=torch.Generator().manual_seed((seed * 32 + label) % 2**63))
        chosen += sorted(own[i] for i in order[:n_queries].tolist())
        few += [f"{name} ({len(own)})"] if len(own) < n_queries else []
    if few:
        warnings.warn(
            f"{len(few)} classes have fewer than {n_queries} pictures to take queries from: {', '.join(few)}. Lower"
            " `n_queries`, or take a larger list.",
            UserWarning,
            stacklevel=3,
        )
    return chosen


def _query(pictures: Sequence[_Picture], file: Path, index: int) -> RetrievalQuery:
    picture = pictures[index]
    label = picture.main.label
    return RetrievalQuery(
        name=picture.name,
        file=file,
        box=max(merge_boxes(each.box for each in picture.objects if each.label == label), key=_area),
        index=index,
        grades={"relevant": tuple(i for i, p in enumerate(pictures) if any(o.label == label for o in p.objects))},
    )
