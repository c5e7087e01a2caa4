"""The files of PASCAL-Part: one MATLAB structure per picture, with its objects and their parts."""

import re
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lightning_interp._checks import suggestion
from lightning_interp.datasets.voc_files import VOC_CLASSES
from lightning_interp.exceptions import DatasetNotFoundError

_ANIMAL = "head leye reye lear rear"
_LEGS = "lfuleg lflleg rfuleg rflleg lbuleg lblleg rbuleg rblleg"
_CAT = f"{_ANIMAL} nose torso neck lfleg lfpa rfleg rfpa lbleg lbpa rbleg rbpa tail"
_COW = f"{_ANIMAL} muzzle lhorn rhorn torso neck {_LEGS} tail"
_CAR = (
    "frontside leftside rightside backside roofside leftmirror rightmirror fliplate bliplate door*10 wheel*10"
    " headlight*10 window*20"
)
_TRAIN = (
    "head hfrontside hleftside hrightside hbackside hroofside headlight*10 coach*10 cfrontside*10 cleftside*10"
    " crightside*10 cbackside*10 croofside*10"
)
_PARTS = {  # wheel*10: wheel_1 to wheel_10; boat, chair, diningtable and sofa have none
    "aeroplane": "body stern lwing rwing tail engine*10 wheel*10",
    "bicycle": "fwheel bwheel saddle handlebar chainwheel headlight*10",
    "bird": "head leye reye beak torso neck lwing rwing lleg lfoot rleg rfoot tail",
    "bottle": "cap body",
    "bus": _CAR,
    "car": _CAR,
    "cat": _CAT,
    "cow": _COW,
    "dog": f"{_CAT} muzzle",
    "horse": f"{_COW.replace('lhorn rhorn ', '')} lfho rfho lbho rbho",
    "motorbike": "fwheel bwheel handlebar saddle headlight*10",
    "person": f"{_ANIMAL} lebrow rebrow nose mouth hair torso neck llarm luarm lhand rlarm ruarm rhand llleg luleg"
    " lfoot rlleg ruleg rfoot",
    "pottedplant": "pot plant",
    "sheep": _COW,
    "train": _TRAIN,
    "tvmonitor": "screen",
}
_HEADER, _COMPRESSED = 128, 15  # of the format MAT 5
_LARGEST = 2**29  # a picture's masks take some MB
_CALLED_BY_VOC = {"table": "diningtable"}


class PartObject(NamedTuple):
    """One object: its class as VOC calls it, its mask ``(h, w)`` bool, and its parts by official name with masks.

    A part is named with its class, like ``"car/wheel_1"``; masks of parts overlap.
    """

    name: str
    mask: Tensor
    parts: list[tuple[str, Tensor]]


def _expanded(name: str, part: str) -> list[str]:
    base, _, count = part.partition("*")
    return [f"{name}/{base}_{k}" for k in range(1, int(count) + 1)] if count else [f"{name}/{base}"]


PART_NAMES = tuple(each for name, parts in _PARTS.items() for part in parts.split() for each in _expanded(name, part))


def unnumbered(part: str) -> str:
    """The name of a part without its number.

    >>> unnumbered("car/wheel_2"), unnumbered("dog/head")
    ('car/wheel', 'dog/head')
    """
    return re.sub(r"_\d+$", "", part)


def find_annotations(root: str | Path) -> Path:
    """The folder ``Annotations_Part`` under ``root``.

    Raises:
        DatasetNotFoundError: there is none.
    """
    places = [Path(root, folder, "Annotations_Part") for folder in (".", "VOCdevkit/VOC2010", "VOC2010")]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise DatasetNotFoundError(
            f"There is no folder {' or '.join(repr(str(place)) for place in places)}. Pass the right `root`, or unpack"
            " trainval.tar.gz of PASCAL-Part there."
        )
    return found


def read_part_objects(file: Path) -> list[PartObject]:
    """Read the annotation of one picture.

    Args:
        file: path of a .mat file.

    Returns:
        The objects in the order of the file; those of classes without parts, and some others, have none.

    Raises:
        DatasetNotFoundError: the file is missing, damaged or has another structure, or a class or part is unknown.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        # squeeze_me would turn single objects and parts into something else
        objects = loadmat(_unpacked(file), variable_names=["anno"])["anno"][0, 0]["objects"]
        return [_object(each) for each in objects.flat]
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        MatReadError,
        RuntimeError,  # SciPy's, on structures it does not know
        zlib.error,
    ) as error:
        raise DatasetNotFoundError(
            f"The annotation {str(file)!r} cannot be read ({error}). Unpack the archive again."
        ) from error


def _unpacked(file: Path) -> BytesIO:
    """The same file, not compressed: its checksum comes first, since SciPy may hang or crash on damaged structures."""
    content = file.read_bytes()
    header, packed = content[:_HEADER], content[_HEADER + 8 :]
    if header[-4:] != b"\0\1IM" or content[_HEADER : _HEADER + 8] != struct.pack("<II", _COMPRESSED, len(packed)):
        raise ValueError("it is not one compressed MATLAB structure, or it is truncated")
    unpacker = zlib.decompressobj()
    structure = unpacker.decompress(packed, _LARGEST)
    if not unpacker.eof:
        raise ValueError(f"it is truncated, or larger than {_LARGEST} bytes")
    return BytesIO(header + structure)


def _object(structure: Any) -> PartObject:
    found = str(structure["class"][0])
    name, mask = _CALLED_BY_VOC.get(found, found), _mask(structure["mask"])
    if name not in VOC_CLASSES:
        raise ValueError(f"an object has the class {found[:80]!r}, none of VOC's{_hint(found, VOC_CLASSES)}")
    parts = [(f"{name}/{part['part_name'][0]}", _mask(part["mask"])) for part in structure["parts"].flat]
    for part, part_mask in parts:
        if part not in PART_NAMES:
            raise ValueError(f"a {name} has the part {part[:80]!r}, none of PASCAL-Part's{_hint(part, PART_NAMES)}")
        if part_mask.shape != mask.shape:
            raise ValueError(f"the masks of a {name} and of {part!r} are of different sizes")
    return PartObject(name, mask, parts)


def _mask(values: Any) -> Tensor:
    if values.ndim != 2 or values.dtype.kind not in "bu":
        raise ValueError(f"a mask is {values.dtype} of shape {values.shape}, not bytes (h, w)")
    return torch.from_numpy(np.ascontiguousarray(values != 0))


def _hint(name: str, known: tuple[str, ...]) -> str:
    close = suggestion(name, known)
    return f".{close}" if close else ""
