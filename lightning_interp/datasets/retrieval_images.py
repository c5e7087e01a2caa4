"""Pictures to search in, and queries to search for."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from lightning_interp._checks import check_choice, check_int, message
from lightning_interp.datasets.concept_files import read_picture
from lightning_interp.exceptions import DatasetNotFoundError

Box = tuple[float, float, float, float]
BoxUse = Literal["factors", "crop"]
Relevance = tuple[tuple[int, ...], tuple[int, ...]]
PROTOCOLS = {  # grades that must be found, and grades that count neither way
    "original": (("good", "ok"), ("junk",)),
    "easy": (("easy",), ("hard", "junk")),
    "medium": (("easy", "hard"), ("junk",)),
    "hard": (("hard",), ("easy", "junk")),
    "semantic": (("relevant",), ()),
}


@dataclass(frozen=True)
class RetrievalQuery:
    """One thing to search for: a box in a picture, and which pictures of the database show it.

    Attributes:
        name: of the picture.
        file: of the picture.
        box: left, top, right, bottom in pixels of the file.
        index: of the picture in the database, None where it is no part of it.
        grades: indices of judged pictures of the database, by grade: ``{"good": (3, 8), "ok": (), "junk": (4,)}``.

    Raises:
        ValueError: the box is empty or not finite.
    """

    name: str
    file: Path
    box: Box
    index: int | None
    grades: Mapping[str, tuple[int, ...]]

    def __post_init__(self) -> None:
        left, top, right, bottom = self.box
        if not (all(map(math.isfinite, self.box)) and left < right and top < bottom):
            must = "finite, and left of right and top above bottom"
            raise ValueError(f"{message('box', 'RetrievalQuery', must, self.box)} It is of the query {self.name!r}.")

    def relevance(self, protocol: str) -> Relevance:
        """Which pictures count as found, and which are removed from a ranking before it is measured.

        Args:
            protocol: ``"original"`` (good and ok; junk is removed), ``"easy"``, ``"medium"`` or ``"hard"`` (the other
                grades of the revisited sets are removed), ``"semantic"`` (of the same class). One of the dataset's.

        Returns:
            Positives and junk: sorted indices of the database.

        Raises:
            ValueError: no such protocol, or it needs grades that were not judged here.

        >>> query = RetrievalQuery("a", Path("a.jpg"), (0, 0, 9, 9), None, {"easy": (1,), "hard": (4, 2), "junk": ()})
        >>> query.relevance("hard")
        ((2, 4), (1,))
        """
        known = [name for name, sides in PROTOCOLS.items() if {*sides[0], *sides[1]} <= self.grades.keys()]
        sides = PROTOCOLS[check_choice(protocol, "protocol", "RetrievalQuery.relevance", known)]
        positives, junk = (tuple(sorted({i for grade in side for i in self.grades[grade]})) for side in sides)
        return positives, junk


class RetrievalImages(Dataset[tuple[Any, int]]):
    """A database of pictures of many sizes: yields ``(image, index)``.

    ``image`` is a float tensor ``(3, h, w)``, or None when the file cannot be decoded: a search among thousands must
    not end at one of them. Marks that a picture is to be turned (EXIF) are ignored: boxes count stored pixels.

    Args:
        files: of the pictures.
        names: one for each; those of the files without extension when None.
        queries: what is searched for.
        protocols: by which it may be judged.
        image_size: the smaller side is scaled to it, up or down, with the aspect ratio kept; None leaves it as it is.
        transform: applied to the image, in [0, 1] until then; it must not move pixels.

    Attributes:
        files: of the pictures.
        names: of the pictures.
        queries: what is searched for.
        protocols: names that ``RetrievalQuery.relevance`` takes.

    Raises:
        ValueError: there are no pictures, not as many names, or an option is out of range.
        TypeError: an option of another type.
    """

    def __init__(
        self,
        files: Sequence[Path],
        *,
        names: Sequence[str] | None = None,
        queries: Sequence[RetrievalQuery] = (),
        protocols: Sequence[str] = (),
        image_size: int | None = 512,
        transform: Callable[[Tensor], Any] | None = None,
    ) -> None:
        owner = type(self).__name__
        self.files = list(files)
        self.names = [file.stem for file in self.files] if names is None else list(names)
        if not self.files:
            raise ValueError(message("files", owner, "one picture or more", files))
        if len(self.names) != len(self.files):
            must = f"as many as the {len(self.files)} files"
            raise ValueError(message("names", owner, must, f"{len(self.names)} names"))
        self.queries, self.protocols, self.transform = tuple(queries), tuple(protocols), transform
        self.image_size = None if image_size is None else check_int(image_size, "image_size", owner)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        index = range(len(self))[index]
        try:
            picture, size = read_picture(self.files[index])
        except DatasetNotFoundError:
            return None, index
        return self._finish(picture, size), index

    def query_images(self, box: BoxUse = "factors") -> "QueryImages":
        """The pictures of the queries.

        Args:
            box: ``"factors"`` gives the whole picture, so that the box can choose among its factors; ``"crop"`` what
                lies inside of the box.

        Raises:
            ValueError: another use, or there are no queries.
        """
        return QueryImages(self, box)

    def _finish(self, picture: Tensor, size: tuple[int, int]) -> Any:
        """Scale ``(3, h, w)`` as a picture of ``size`` is scaled, and transform it."""
        if self.image_size is not None:
            scale = self.image_size / min(size)
            sides = [max(1, round(side * scale)) for side in picture.shape[1:]]
            picture = functional.interpolate(picture[None], sides, mode="bilinear", antialias=True)[0].clamp_(0, 1)
        return self.transform(picture) if self.transform else picture


class QueryImages(Dataset[tuple[Any, Tensor, int]]):
    """The pictures of the queries: yields ``(image, box, index)``.

    ``image`` is a float tensor ``(3, h, w)``; ``box`` ``(4,)`` are left, top, right and bottom in its pixels; ``index``
    counts queries. What of a box lies outside of the picture is cut off.

    Args:
        images: the database.
        box: ``"factors"`` gives the whole picture; ``"crop"`` the box, rounded outwards, at the scale that the whole
            picture would have (things in it are then as large as in the database), and ``box`` is all of it.

    Raises:
        ValueError: another use of the box, or there are no queries.
        DatasetNotFoundError: when it is met: a picture cannot be decoded, or more than half of its box lies outside.
    """

    def __init__(self, images: RetrievalImages, box: BoxUse = "factors") -> None:
        self.box: Any = check_choice(box, "box", "QueryImages", get_args(BoxUse))
        if not images.queries:
            raise ValueError(message("images", "QueryImages", "a database with queries", images.queries))
        self.images = images

    def __len__(self) -> int:
        return len(self.images.queries)

    def __getitem__(self, index: int) -> tuple[Any, Tensor, int]:
        index = range(len(self))[index]
        query = self.images.queries[index]
        picture, (height, width) = read_picture(query.file)
        left, top, right, bottom = box = _inside(query, width, height)
        if self.box == "crop":
            picture = picture[:, math.floor(top) : math.ceil(bottom), math.floor(left) : math.ceil(right)]
            box = (0, 0, picture.shape[2], picture.shape[1])
        image = self.images._finish(picture, (height, width))
        scale = torch.tensor([image.shape[-1] / picture.shape[2], image.shape[-2] / picture.shape[1]])
        return image, torch.tensor(box, dtype=torch.float32) * scale.repeat(2), index


def collate_images(items: Sequence[tuple[Any, int]]) -> tuple[list[Any], Tensor]:
    """Images of every size, None for those that cannot be decoded, in a list, and their indices ``(b,)``."""
    images, indices = zip(*items, strict=True)
    return list(images), torch.tensor(indices)


def collate_queries(items: Sequence[tuple[Any, Tensor, int]]) -> tuple[list[Any], Tensor, Tensor]:
    """Images of every size in a list, their boxes ``(b, 4)`` and indices ``(b,)``."""
    images, boxes, indices = zip(*items, strict=True)
    return list(images), torch.stack(boxes), torch.tensor(indices)


def _inside(query: RetrievalQuery, width: int, height: int) -> Box:
    left, top, right, bottom = query.box
    cut = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    area = max(cut[2] - cut[0], 0) * max(cut[3] - cut[1], 0)
    if area < (right - left) * (bottom - top) / 2:
        raise DatasetNotFoundError(
            f"The box {query.box} of the query {query.name!r} lies outside of its picture {str(query.file)!r}, which is"
            f" {width} pixels wide and {height} high. Take the picture in the size that the ground truth is for."
        )
    return cut
