"""Pictures as the commands read them: upright, in colours, and scaled before they become numbers."""

import struct
from collections.abc import Sequence
from math import ceil
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from lightning_interp.datasets.concept_files import DAMAGE
from lightning_interp.datasets.folder_images import EXTENSIONS, Size
from lightning_interp.exceptions import DatasetNotFoundError
from lightning_interp.functional.retrieval.boxes import check_boxes

__all__ = ["picture_files", "printable", "read_upright"]

_LONGEST = 10  # side of a strip that is scaled, over the other: a longer one would not fit into memory


def picture_files(folder: Path) -> list[Path]:
    """All pictures in a folder and those inside it, in order; hidden ones are left out."""

    def is_picture(path: Path) -> bool:
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        return path.suffix.lower() in EXTENSIONS and not hidden and path.is_file()

    return sorted(path for path in folder.rglob("*") if is_picture(path))


def printable(name: str) -> str:
    """A file's name as it can be written; file systems allow what is no text."""
    return name.encode(errors="replace").decode()


def read_upright(file: Path, *, side: int | None = None, box: Sequence[float] | None = None) -> tuple[Tensor, Size]:
    """Read one picture, turned as its camera was held.

    Args:
        file: Its path.
        side: Scale it, after the cut, so that its smaller side is this.
        box: Cut it to this: left, top, right and bottom in pixels of the upright picture.

    Returns:
        Floats ``(3, h, w)`` in [0, 1], and height and width of the whole upright picture before it was scaled.

    Raises:
        DatasetNotFoundError: It cannot be decoded, or is to be scaled and more than ten times as long as wide.
        ValueError: The box is not inside.
    """
    try:
        with Image.open(file) as opened:
            upright = ImageOps.exif_transpose(opened)
        # a palette with transparency loses its colours when it goes to RGB directly
        image = (upright.convert("RGBA") if upright.mode == "P" else upright).convert("RGB")
    except (*DAMAGE, struct.error, TypeError) as error:  # the last two from damaged EXIF tags
        text = f"The picture {str(file)!r} cannot be decoded ({error}): it is missing, truncated or no picture."
        raise DatasetNotFoundError(text) from error
    size = (image.height, image.width)
    if box is not None:
        left, top, right, bottom = check_boxes([list(box)], [size], "search", parameter="box")[0].tolist()
        image = image.crop((int(left), int(top), ceil(right), ceil(bottom)))
    if side is not None:
        short, long = sorted(image.size)
        if long > _LONGEST * short:
            text = (
                f"The picture {str(file)!r} is a strip of {image.width} x {image.height} pixels: too long to be scaled."
            )
            raise DatasetNotFoundError(text)
        scale = side / short
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div_(255), size
