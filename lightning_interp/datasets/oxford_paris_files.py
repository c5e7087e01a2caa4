"""The files of Oxford5k, Paris6k and their revisited ground truth: where they lie and what they say."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lightning_interp.datasets.restricted_pickle import load_plain_pickle
from lightning_interp.datasets.retrieval_images import Box
from lightning_interp.exceptions import DatasetNotFoundError

LANDMARKS = {
    "oxford5k": (
        "all_souls", "ashmolean", "balliol", "bodleian", "christ_church", "cornmarket", "hertford", "keble", "magdalen",
        "pitt_rivers", "radcliffe_camera",
    ),
    "paris6k": (
        "defense", "eiffel", "invalides", "louvre", "moulinrouge", "museedorsay", "notredame", "pantheon", "pompidou",
        "sacrecoeur", "triomphe",
    ),
}  # fmt: skip
ORIGINALS = {"oxford5k": "oxford5k", "paris6k": "paris6k", "roxford5k": "oxford5k", "rparis6k": "paris6k"}
CORRUPT = {  # by tag; the archive has a web page in the place of these pictures
    "louvre": (136, 146),
    "moulinrouge": (422,),
    "museedorsay": (1059,),
    "notredame": (188,),
    "pantheon": (284, 960, 974),
    "pompidou": (195, 196, 201, 467, 640),
    "sacrecoeur": (299, 330, 353),
    "triomphe": (662, 833, 863, 867),
}
PARIS_CORRUPT = frozenset(f"paris_{tag}_{number:06d}" for tag, numbers in CORRUPT.items() for number in numbers)
GRADES = ("good", "ok", "junk")
_PICTURES = {"oxford5k": "oxbuild_images", "paris6k": "paris"}
_TRUTH = ("gt_files_170407", "paris_120310", "lab", "gt", ".")


class JudgedQuery(NamedTuple):
    """A query as it is written down: the name of its picture, its box, and judged names by grade."""

    name: str
    box: Box
    grades: Mapping[str, frozenset[str]]


class RevisitedTruth(NamedTuple):
    """A pickle of ground truth: names of the database in order, and the queries."""

    names: list[str]
    queries: list[JudgedQuery]


def picture_folders(root: str | Path, name: str) -> list[Path]:
    """Where pictures may lie, the surest place first: one root may hold Oxford and Paris."""
    original = ORIGINALS[name]
    own = [Path(root, base) for base in dict.fromkeys((name, original))]
    places = [folder / inner for folder in own for inner in ("jpg", _PICTURES[original])]
    return [*places, Path(root, _PICTURES[original]), Path(root, "jpg"), *own, Path(root)]


def find_pictures(root: str | Path, name: str) -> dict[str, Path]:
    """All pictures of a set, sorted by name; those of Paris may lie in one folder for each landmark.

    Raises:
        DatasetNotFoundError: there are none, or two have one name.
    """
    folders = picture_folders(root, name)
    found = next((files for files in map(_pictures, folders) if files), None)
    if found is None:
        raise DatasetNotFoundError(
            f"There are no pictures (*.jpg) of {name} in {' or '.join(repr(str(folder)) for folder in folders)}. Pass"
            " the right `root`, or `download=True` to the datamodule."
        )
    named = {file.stem: file for file in found}
    if len(named) < len(found):
        twice = next(file for file in found if named[file.stem] != file)
        raise DatasetNotFoundError(
            f"Two pictures have one name: {str(twice)!r} and {str(named[twice.stem])!r}. Delete one of them."
        )
    return dict(sorted(named.items()))


def _pictures(folder: Path) -> list[Path]:
    # the folders of landmarks; below a root there may be anything, so only its own pictures count there
    files = [*folder.glob("*"), *(folder.glob("*/*") if folder.name == "paris" else ())]
    return [file for file in files if file.suffix.lower() in (".jpg", ".jpeg") and not file.name.startswith(".")]


def read_original(root: str | Path, name: str) -> list[JudgedQuery] | None:
    """The 55 queries of Oxford5k or Paris6k, from their text files; None where there are no such files.

    Raises:
        DatasetNotFoundError: files are missing or damaged.
    """
    queries = [f"{landmark}_{number}" for landmark in LANDMARKS[name] for number in range(1, 6)]
    bases = [Path(root, name), Path(root), *picture_folders(root, name)]
    folders = [base / folder for base in bases for folder in _TRUTH]
    folder = next((each for each in folders if any((each / f"{q}_query.txt").is_file() for q in queries)), None)
    return None if folder is None else [_read_query(folder, query) for query in queries]


def _read_query(folder: Path, query: str) -> JudgedQuery:
    file = folder / f"{query}_query.txt"
    words = _read(file).split()
    if len(words) != 5:
        raise _damaged(file, f"has {len(words)} words instead of a name and four numbers")
    name = words[0].removeprefix("oxc1_")  # of Oxford's files only; no picture of Paris is called like that
    grades = {grade: frozenset(_read(folder / f"{query}_{grade}.txt").split()) for grade in GRADES}
    _check_names(file, [name, *(each for names in grades.values() for each in names)])
    return JudgedQuery(name, _box(file, words[1:]), grades)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(file, f"cannot be read ({error})") from error


def find_revisited(root: str | Path, name: str) -> Path | None:
    """The file ``gnd_<name>.pkl``, None where there is none."""
    file = f"gnd_{name}.pkl"
    return next((path for path in (Path(root, name, file), Path(root, file)) if path.is_file()), None)


def read_revisited(file: Path) -> RevisitedTruth:
    """Read ``gnd_<name>.pkl``, of the revisited sets or of the originals.

    Args:
        file: a dictionary: ``imlist`` (names of the database), ``qimlist`` (names of the queries) and ``gnd`` (for each
            query a dictionary: ``bbx``, and indices into ``imlist`` as ``easy``, ``hard`` and ``junk``, or as ``ok``
            and ``junk`` under the old protocol).

    Raises:
        DatasetNotFoundError: it is missing or damaged, or holds anything but plain data.
    """
    truth = load_plain_pickle(file)
    try:
        names, queries, judged = (list(truth[key]) for key in ("imlist", "qimlist", "gnd"))
        _check_names(file, [*names, *queries])
        if len(set(names)) < len(names) or len(queries) != len(judged):
            raise ValueError("names come twice in imlist, or qimlist and gnd are not of one length")
        found = [_judged(file, names, *pair) for pair in zip(queries, judged, strict=True)]
    except (LookupError, TypeError, ValueError) as error:
        raise _damaged(file, f"is no ground truth ({type(error).__name__}: {error})") from error
    return RevisitedTruth(names, found)


def _judged(file: Path, names: Sequence[str], query: str, item: Mapping[str, Any]) -> JudgedQuery:
    keys = ("easy", "hard", "junk") if "easy" in item else ("ok", "junk")
    grades = {key: frozenset(names[i] for i in _indices(item[key], len(names))) for key in keys}
    return JudgedQuery(query, _box(file, item["bbx"]), grades if "easy" in item else {"good": frozenset(), **grades})


def _indices(values: Any, size: int) -> Iterator[int]:
    for value in np.asarray(values).ravel().tolist():
        if not isinstance(value, int) or not 0 <= value < size:
            raise ValueError(f"{value!r} is no index of {size} pictures")
        yield value


def _box(file: Path, values: Iterable[Any]) -> Box:
    try:
        left, top, right, bottom = (float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise _damaged(file, f"has a box that is not four numbers ({error})") from error
    if not (left < right and top < bottom and math.isfinite(left + top + right + bottom)):
        raise _damaged(file, f"has the box {(left, top, right, bottom)}, which is empty")
    return left, top, right, bottom


def _check_names(file: Path, names: Sequence[Any]) -> None:
    odd = [name for name in names if not (isinstance(name, str) and re.fullmatch(r"\w[\w-]*", name))]
    if odd:
        raise _damaged(file, f"names {str(odd[0])[:80]!r}, which is no name of a picture")


def _damaged(file: Path, problem: str) -> DatasetNotFoundError:
    return DatasetNotFoundError(f"The ground truth {str(file)!r} {problem}. Unpack or fetch it again.")
