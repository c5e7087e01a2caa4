"""Pictures and masks of one field of view, as they come from files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lightning_interp._checks import check_int
from lightning_interp.datasets.folder_images import Size, decode
from lightning_interp.exceptions import DatasetNotFoundError

DAMAGE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def read_picture(file: Path, *, size: Size | None = None) -> tuple[Tensor, Size]:
    """Read one picture, scaled to cover ``size`` and cut to its centre.

    Args:
        file: its path.
        size: height and width; None leaves it as it is.

    Returns:
        Floats ``(3, h, w)`` in [0, 1], and the height and width in the file.

    Raises:
        DatasetNotFoundError: it cannot be decoded.
    """
    try:
        with Image.open(file) as opened:
            width, height = opened.size
        return decode(file, size=size).float().div_(255), (height, width)
    except DAMAGE as error:
        raise DatasetNotFoundError(
            f"The picture {str(file)!r} cannot be decoded ({error}): it is missing, truncated or no picture. Unpack the"
            " archive again."
        ) from error


def read_indices(file: Path) -> Tensor:
    """Read a mask whose pixels are numbers: with a palette, or grey as in redistributions without colours.

    Args:
        file: path of a PNG.

    Returns:
        uint8 ``(h, w)``.

    Raises:
        DatasetNotFoundError: it cannot be decoded, or its pixels are colours.
    """
    try:
        with Image.open(file) as opened:
            if opened.mode not in ("P", "L"):
                raise ValueError(f"its pixels are colours of mode {opened.mode}, not numbers")
            return torch.from_numpy(np.array(opened))
    except DAMAGE as error:
        raise DatasetNotFoundError(
            f"The mask {str(file)!r} cannot be read ({error}). Unpack the archive again."
        ) from error


def cut_to_centre(masks: Tensor, *, size: Size | None) -> Tensor:
    """The part of a mask that is left in a picture that was scaled to cover ``size`` and cut to its centre.

    Args:
        masks: ``(..., h, w)``, over the whole picture.
        size: height and width of the picture that was cut; None: it was not.

    Returns:
        A part ``(..., h1, w1)`` of the pixels, not scaled, with the aspect ratio of ``size`` up to half a pixel.
    """
    if size is None:
        return masks
    height, width = masks.shape[-2:]
    scale = max(size[0] / height, size[1] / width)
    rows, columns = min(height, max(1, round(size[0] / scale))), min(width, max(1, round(size[1] / scale)))
    top, left = (height - rows) // 2, (width - columns) // 2
    return masks[..., top : top + rows, left : left + columns].contiguous()


def check_shape(file: Path, found: Sequence[int], expected: Size, source: str) -> None:
    """Raise ``DatasetNotFoundError`` when a file has other sides than ``source`` ("its picture has") says."""
    if tuple(found) != tuple(expected):
        sizes = [" x ".join(map(str, shape)) for shape in (found, expected)]
        raise DatasetNotFoundError(
            f"The file {str(file)!r} has {sizes[0]} pixels (height x width), {source} {sizes[1]}. Unpack the archive"
            " again."
        )


def check_files(files: Sequence[Path], kind: str) -> None:
    """Raise ``DatasetNotFoundError`` when some of ``files`` are missing, before the first is opened."""
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise DatasetNotFoundError(
            f"{len(missing)} of {len(files)} {kind} are missing, among them {str(missing[0])!r}. Unpack the archive"
            " again."
        )


def checked_size(size: int | Size | None, owner: str) -> Size | None:
    """``size`` as height and width."""
    if size is None:
        return None
    height, width = (size, size) if isinstance(size, int) else size
    return check_int(height, "size", owner), check_int(width, "size", owner)
