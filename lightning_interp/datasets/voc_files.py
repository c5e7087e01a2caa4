"""The files of PASCAL VOC: where they lie, the lists of pictures, and what a picture shows."""

import re
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from lightning_interp._checks import suggestion
from lightning_interp.exceptions import DatasetNotFoundError

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
_KITS = ("VOCdevkit", "TrainVal/VOCdevkit", ".")  # the archive of 2011 has one folder more
_LARGEST = 2**20  # no picture has more pixels in a row


class VOCObject(NamedTuple):
    """One object: its class from 1, its box as left, top, right, bottom (right and bottom exclusive), and its flags."""

    label: int
    box: tuple[int, int, int, int]
    difficult: bool
    truncated: bool


def find_voc(root: str | Path, year: int) -> Path:
    """The folder ``VOC<year>`` under ``root`` or its ``VOCdevkit``.

    Raises:
        DatasetNotFoundError: there is none.
    """
    places = [Path(root, kit, f"VOC{year}") for kit in _KITS]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise DatasetNotFoundError(
            f"There is no folder {' or '.join(repr(str(place)) for place in places)}. Pass the right `root`, or"
            " `download=True` to the datamodule."
        )
    return found


def read_ids(file: str | Path) -> list[str]:
    """Names of the pictures on a list, one in a line.

    Raises:
        DatasetNotFoundError: there is no list, it is empty, or a name is not made of letters, digits and ``_-.``: names
            become paths, and those stay in the dataset.
    """
    try:
        lines = Path(file).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetNotFoundError(
            f"The list {str(file)!r} cannot be read ({error}). Unpack the archive again; the test list of 2007 has"
            " one of its own, and other years have none."
        ) from error
    ids = [line.strip() for line in lines if line.strip()]
    odd = [name for name in ids if not re.fullmatch(r"[\w-][\w.-]*", name)]
    if odd or not ids:
        problem = f"names {odd[0][:80]!r}, which is no name of a picture" if odd else "is empty"
        raise DatasetNotFoundError(f"The list {str(file)!r} {problem}. Unpack the archive again.")
    return ids


def read_objects(file: str | Path) -> list[VOCObject]:
    """Read the objects of one picture; the parts of a person are not objects.

    Args:
        file: its annotation, of any year: tags are found by name, and flags that are not there are 0.

    Returns:
        The objects in the order of the file. Coordinates count from 0, fractions are cut off.

    Raises:
        DatasetNotFoundError: the file is missing, no XML, declares a document type, or an object makes no sense.
    """
    try:
        root = ElementTree.parse(file, ElementTree.XMLParser(target=_WithoutDoctype())).getroot()
        return [_object(node) for node in root.findall("object")]
    except (OSError, ValueError, ArithmeticError, LookupError, ElementTree.ParseError) as error:
        raise DatasetNotFoundError(
            f"The annotation {str(file)!r} cannot be read ({error}). Unpack the archive again, or take the picture off"
            " the lists in ImageSets/Main."
        ) from error


class _WithoutDoctype(ElementTree.TreeBuilder):
    """Entities are declared in the document type: without one there is nothing to expand, and nothing to fetch."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError(f"it declares the document type {name!r}, which annotations of VOC do not")


def _object(node: ElementTree.Element) -> VOCObject:
    name = (node.findtext("name") or "").strip()
    if name not in VOC_CLASSES:
        hint = suggestion(name, VOC_CLASSES)
        raise ValueError(f"an object has the class {name[:80]!r}, none of VOC's{hint and '.'}{hint}")
    left, top, right, bottom = (_pixel(node, tag) for tag in ("xmin", "ymin", "xmax", "ymax"))
    box = (max(left - 1, 0), max(top - 1, 0), right, bottom)  # the first pixel is 1, and the last one belongs to it
    if not (box[0] < right <= _LARGEST and box[1] < bottom <= _LARGEST):
        raise ValueError(f"a {name} reaches from column {left} to {right} and from row {top} to {bottom}")
    difficult, truncated = ((node.findtext(flag) or "0").strip() == "1" for flag in ("difficult", "truncated"))
    return VOCObject(1 + VOC_CLASSES.index(name), box, difficult, truncated)


def _pixel(node: ElementTree.Element, tag: str) -> int:
    text = node.findtext(f"bndbox/{tag}")
    if text is None:
        raise ValueError(f"an object has no {tag}")
    return int(float(text))
