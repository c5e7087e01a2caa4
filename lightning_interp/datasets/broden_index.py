"""The tables of Broden, which picture has which annotations, and the numbers in its masks."""

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from lightning_interp.datasets.concept_files import DAMAGE
from lightning_interp.datasets.folder_images import Size
from lightning_interp.exceptions import DatasetNotFoundError

INDEX = "index.csv"
_SIDES = ("ih", "iw", "sh", "sw")
_OUTSIDE = re.compile(r"^$|^/|(^|/)\.\.(/|$)|[:\\]")  # on any system: empty, absolute, up, a drive, a backslash
_LARGEST = 2**16 - 1  # what red + 256 * green can say


class Row(NamedTuple):
    """One picture. Paths are relative to the folder ``images`` and do not leave it.

    ``annotations`` holds the categories that are annotated, of those asked for: files of masks and numbers of labels
    for the whole picture, dominant first.
    """

    line: int
    image: str
    split: str
    size: Size
    mask_size: Size
    annotations: dict[str, tuple[str, ...]]


class Labels(NamedTuple):
    """Labels of one category: names by code, and the code of every number that masks can hold, -1 where it has none."""

    names: list[str]
    codes: npt.NDArray[np.int64]


def read_categories(folder: Path) -> list[str]:
    """Names of the categories, as in ``category.csv``.

    Raises:
        DatasetNotFoundError: no table, one with other columns, or a name that is no part of a file name.
    """
    file = folder / "category.csv"
    names = [cells["name"] for _, cells in _read_table(file, ("name",))]
    odd = next((name for name in names if not re.fullmatch(r"[\w-]+", name)), None)
    if odd is not None:
        raise DatasetNotFoundError(
            f"The table {str(file)!r} of Broden has the category {odd[:80]!r}, which is no name. Unpack the archive"
            " again."
        )
    return names


def read_labels(folder: Path, category: str) -> Labels:
    """Names and numbers of the labels of a category, as in ``c_<category>.csv``; their names as in ``label.csv`` too.

    Args:
        folder: holds the tables.
        category: one of ``read_categories``.

    Returns:
        ``names[0]`` is "unlabelled", and ``codes[0]`` is 0.

    Raises:
        DatasetNotFoundError: no table, one with other columns, or the two disagree; the message names line and file.
    """
    file = folder / f"c_{category}.csv"
    known = {cells["number"]: cells["name"] for _, cells in _read_table(folder / "label.csv", ("number", "name"))}
    names, codes = ["unlabelled"], np.full(_LARGEST + 1, -1)
    codes[0] = 0
    for line, cells in _read_table(file, ("code", "number", "name")):
        code, number, name = cells["code"], cells["number"], cells["name"]
        if code != str(len(names)) or known.get(number) != name or not _is_label(number) or codes[int(number)] >= 0:
            raise DatasetNotFoundError(
                f"Line {line} of {str(file)!r} must have the code {len(names)}, and a number and a name that label.csv"
                f" has too. Got {code[:20]!r}, {number[:20]!r}, {name[:80]!r}. Unpack the archive again."
            )
        codes[int(number)] = len(names)
        names.append(name)
    return Labels(names, codes)


def read_rows(folder: Path, categories: Sequence[str]) -> Iterator[Row | str]:
    """Read ``index.csv``.

    Args:
        folder: holds the tables.
        categories: the columns to keep.

    Yields:
        A ``Row``, or in place of one that makes no sense the problem, which names line and file.

    Raises:
        DatasetNotFoundError: no table, or one without these columns.
    """
    file = folder / INDEX
    for line, cells in _read_table(file, ("image", "split", *_SIDES, *categories)):
        problem = _problem(cells, categories)
        yield where(folder, line, problem) if problem else _row(line, cells, categories)


def read_numbers(file: Path) -> npt.NDArray[np.int64]:
    """Numbers of the labels in a mask of Broden: red + 256 * green.

    Args:
        file: path of a PNG.

    Returns:
        ``(h, w)``.

    Raises:
        DatasetNotFoundError: it cannot be decoded, or is no such mask.
    """
    try:
        with Image.open(file) as opened:
            if opened.mode != "RGB":
                raise ValueError(f"its mode is {opened.mode}, not RGB")
            red, green, blue = np.asarray(opened).astype(np.int64).transpose(2, 0, 1)  # bytes would overflow
    except DAMAGE as error:
        raise DatasetNotFoundError(f"The mask {str(file)!r} cannot be read ({error}).") from error
    if blue.any():
        raise DatasetNotFoundError(f"The mask {str(file)!r} is none of Broden's: there is blue in it.")
    numbers: npt.NDArray[np.int64] = red + 256 * green
    return numbers


def where(folder: Path, line: int, problem: object) -> str:
    """The one sentence in which a bad row is reported."""
    return f"Line {line} of {str(folder / INDEX)!r}: {problem}"


def _row(line: int, cells: dict[str, str], categories: Sequence[str]) -> Row:
    height, width, mask_height, mask_width = (int(cells[name]) for name in _SIDES)
    annotations = {category: tuple(cells[category].split(";")) for category in categories if cells[category]}
    return Row(line, cells["image"], cells["split"], (height, width), (mask_height, mask_width), annotations)


def _problem(cells: dict[str, str], categories: Sequence[str]) -> str:
    """What is wrong with a row; an empty string when it makes sense."""
    sides = [cells[name] for name in _SIDES]
    if not all(re.fullmatch(r"[1-9]\d{0,4}", side, re.ASCII) for side in sides):
        return f"ih, iw, sh and sw must be sizes in pixels. Got {','.join(sides)[:80]!r}."
    if _is_outside(cells["image"]):
        return f"the image {cells['image'][:80]!r} is no path inside of the folder images."
    for category in categories:
        for entry in cells[category].split(";") if cells[category] else ():
            if not entry:
                return f"the category {category!r} is empty between semicolons. Got {cells[category][:80]!r}."
            if entry.isdecimal() and entry != "0" and not _is_label(entry):  # 0 was a label too rare to be kept
                return f"the category {category!r} has the label {entry[:80]!r}, not one in [0, {_LARGEST}]."
            if _is_outside(entry):
                return f"the mask {entry[:80]!r} of the category {category!r} is no path inside of the folder images."
    return ""


def _is_outside(path: str) -> bool:
    return _OUTSIDE.search(path) is not None


def _is_label(text: str) -> bool:
    return re.fullmatch(r"[1-9]\d{0,4}", text, re.ASCII) is not None and int(text) <= _LARGEST


def _read_table(file: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Number of the line and cells by column of every row; rows end in CRLF, and some names are quoted."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream)
            header = next(reader, [])
            absent = [column for column in columns if column not in header]
            if absent:
                raise ValueError(f"it has no column {absent[0]!r}, only {','.join(header)[:200]!r}")
            for cells in filter(None, reader):
                if len(cells) != len(header):
                    raise ValueError(f"line {reader.line_num} has {len(cells)} cells, the first has {len(header)}")
                yield reader.line_num, dict(zip(header, cells, strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise DatasetNotFoundError(
            f"The table {str(file)!r} of Broden cannot be read ({error}). Pass the right `root`, or unpack the archive"
            " again."
        ) from error
