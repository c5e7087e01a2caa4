"""Oxford5k, Paris6k and their revisited versions: find the pictures that show the same building."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from torch import Tensor

from lightning_interp._checks import check_choice
from lightning_interp.datasets.oxford_paris_files import (
    LANDMARKS,
    PARIS_CORRUPT,
    JudgedQuery,
    find_pictures,
    find_revisited,
    read_original,
    read_revisited,
)
from lightning_interp.datasets.retrieval_images import RetrievalImages, RetrievalQuery
from lightning_interp.exceptions import DatasetNotFoundError

OxfordParisName = Literal["oxford5k", "paris6k", "roxford5k", "rparis6k"]


class OxfordParis(RetrievalImages):
    """Photographs of 11 landmarks of Oxford or Paris, and queries with a box around one of them.

    The originals have 55 queries, and 5063 and 6392 pictures: 20 files of Paris hold no picture, are known by name and
    left out, of the ground truth too. The picture of a query is part of the database and counts as found, as in the
    official protocol. The revisited sets have 70 queries each, which are not part of their 4993 and 6322 pictures, and
    are judged by three protocols.

    Pictures lie in ``<root>/<name>/jpg``, ``<root>/jpg``, ``<root>/oxbuild_images`` or ``<root>/paris/<landmark>``; the
    revisited sets take those of the originals. The text files of the originals lie in ``gt_files_170407``,
    ``paris_120310``, ``lab``, ``gt`` or beside the pictures; ``gnd_<name>.pkl`` of the others in ``root`` or
    ``<root>/<name>``.

    Args:
        root: holds all that.
        name: ``"oxford5k"``, ``"paris6k"``, ``"roxford5k"`` or ``"rparis6k"``.
        image_size: the smaller side is scaled to it; None leaves it as it is.
        transform: applied to the image, a float tensor ``(3, h, w)`` in [0, 1]; it must not move pixels.

    Attributes:
        name: as given.
        files, names, queries, protocols: as in ``RetrievalImages``.

    Raises:
        DatasetNotFoundError: files are missing or damaged.
        ValueError: an unknown name, or an option out of range.
        TypeError: an option of another type.

    Reference:
        Philbin et al., Object retrieval with large vocabularies and fast spatial matching, CVPR 2007. Philbin et al.,
        Lost in quantization, CVPR 2008. Radenovic et al., Revisiting Oxford and Paris, CVPR 2018. Thesis, section 5.3.
    """

    def __init__(
        self,
        root: str | Path,
        name: OxfordParisName,
        *,
        image_size: int | None = 512,
        transform: Callable[[Tensor], Any] | None = None,
    ) -> None:
        self.name: Any = check_choice(name, "name", "OxfordParis", get_args(OxfordParisName))
        pictures = find_pictures(root, name)
        judged, names = _ground_truth(root, name)
        if names is None:
            names = [each for each in pictures if name != "paris6k" or each not in PARIS_CORRUPT]
        _check_present(root, name, pictures, [*names, *(each.name for each in judged)])
        super().__init__(
            [pictures[each] for each in names],
            names=names,
            queries=_by_index(judged, pictures, names),
            protocols=("original",) if name in LANDMARKS else ("easy", "medium", "hard"),
            image_size=image_size,
            transform=transform,
        )


def _ground_truth(root: str | Path, name: str) -> tuple[list[JudgedQuery], list[str] | None]:
    """Queries, and the names of the database where the ground truth has them."""
    if name in LANDMARKS and (judged := read_original(root, name)) is not None:
        return judged, None
    file = find_revisited(root, name)
    if file is None:
        texts = f"texts like '{LANDMARKS[name][0]}_1_query.txt' or " if name in LANDMARKS else ""
        raise DatasetNotFoundError(
            f"There is no ground truth of {name} in {str(root)!r}: {texts}'gnd_{name}.pkl' was looked for. Put it"
            " there, or pass `download=True` to the datamodule."
        )
    truth = read_revisited(file)
    grade = "ok" if name in LANDMARKS else "easy"
    if not truth.queries or any(grade not in query.grades for query in truth.queries):
        raise DatasetNotFoundError(f"The file {str(file)!r} is not the ground truth of {name}. Fetch it again.")
    return truth.queries, truth.names


def _check_present(root: str | Path, name: str, pictures: Mapping[str, Path], names: Sequence[str]) -> None:
    missing = [each for each in names if each not in pictures]
    if missing:
        raise DatasetNotFoundError(
            f"{len(missing)} of {len(names)} pictures of the database and queries of {name} are not under"
            f" {str(root)!r}, among them '{missing[0]}.jpg'. Unpack the archives again."
        )


def _by_index(
    judged: Sequence[JudgedQuery], pictures: Mapping[str, Path], names: Sequence[str]
) -> list[RetrievalQuery]:
    """Indices in the place of names; judged pictures that are not there are left out with one warning."""
    index = {name: i for i, name in enumerate(names)}
    unknown = {name for query in judged for known in query.grades.values() for name in known} - index.keys()
    lost = sorted(unknown - PARIS_CORRUPT)
    if lost:
        warnings.warn(
            f"{len(lost)} judged pictures are not in the database and are left out of the ground truth, among them"
            f" {lost[0]!r}: the results are not comparable to published ones. Unpack the archives again.",
            UserWarning,
            stacklevel=3,
        )
    return [
        RetrievalQuery(
            name=query.name,
            file=pictures[query.name],
            box=query.box,
            index=index.get(query.name),
            grades={
                g: tuple(sorted(index[name] for name in known & index.keys())) for g, known in query.grades.items()
            },
        )
        for query in judged
    ]
