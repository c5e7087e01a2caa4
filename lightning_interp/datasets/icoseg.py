"""iCoseg: groups of pictures of one thing, with masks of its pixels."""

import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from lightning_interp._checks import check_int, message, suggestion
from lightning_interp.datasets.concept_files import DAMAGE, check_shape, read_picture
from lightning_interp.datasets.concepts import VOID
from lightning_interp.datasets.folder_images import EXTENSIONS, Size
from lightning_interp.exceptions import DatasetNotFoundError

ARCHIVE = "CMU_Cornell_iCoseg_dataset.zip"
FOLDER = "dataset_public"


class ICoseg(Dataset[tuple[Any, Tensor]]):
    """One group of iCoseg, pictures of the same thing: yields ``(image, mask)``.

    ``image`` is a float tensor ``(3, h, w)`` in [0, 1]. ``mask`` is a LongTensor ``(h, w)``: 1 is the thing, 0 the
    background; all of it is -1, not annotated, where there is no mask, which a warning counts. The 38 groups have 643
    pictures. The 122 pictures that some papers take from 16 of them are not offered: no list of them was to be found.

    Args:
        root: holds the folder ``dataset_public`` of the archive, or is that folder.
        group: its number (``"021"``), a part of its name in any case (``"elephants"``), or the name of its folder.
        image_size: side, or height and width: pictures are scaled to just that, and nothing is cut off, so that a
            square stretches them; masks follow by nearest neighbour. None leaves both as they are: pictures of a group
            have several sizes. For overlaps at the size of the photographs take ``mask(index)``.
        transform: applied to the image; it must not move pixels.

    Attributes:
        group: name of its folder.
        files: paths of the pictures, sorted.
        annotated: for every picture, whether there is a mask.

    Raises:
        DatasetNotFoundError: there are no groups, or, when it is met, a picture or mask is damaged or they do not fit.
        ValueError: no group or several are called like that, the group has fewer than two pictures, or an option is
            out of range.
        TypeError: an option of another type.

    Reference:
        Batra et al., iCoseg: interactive co-segmentation with intelligent scribble guidance, CVPR 2010. Thesis, section
        4.3.
    """

    def __init__(
        self,
        root: str | Path,
        group: str,
        *,
        image_size: int | Size | None = None,
        transform: Callable[[Tensor], Any] | None = None,
    ) -> None:
        self.folder = find_icoseg(root)
        self.group = find_group(group, list_groups(self.folder))
        self.image_size, self.transform = _checked_size(image_size), transform
        self.files = sorted(file for file in (self.folder / "images" / self.group).iterdir() if _is_picture(file))
        if len(self.files) < 2:
            must = "a group of two pictures or more, since co-segmentation compares them"
            raise ValueError(f"{message('group', 'ICoseg', must, self.group)} It has {len(self.files)}.")
        self.annotated = [self._mask_file(index).is_file() for index in range(len(self))]
        self._report_missing()

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Any, Tensor]:
        image, size = read_picture(self.files[index])
        mask = self._read_mask(index, size)
        if self.image_size is not None:
            options: Any = {"mode": "bilinear", "antialias": True}
            image = functional.interpolate(image[None], self.image_size, **options)[0].clamp_(0, 1)
            mask = functional.interpolate(mask[None, None].float(), self.image_size, mode="nearest-exact")[0, 0].long()
        return self.transform(image) if self.transform else image, mask

    def mask(self, index: int) -> Tensor:
        """The mask of one picture at the size it has in the file, whatever ``image_size`` is.

        Args:
            index: of the picture.

        Returns:
            LongTensor ``(h, w)``: 1 the thing, 0 the background, -1 where there is no mask.

        Raises:
            DatasetNotFoundError: the picture or its mask is damaged, or they do not fit.
        """
        return self._read_mask(index, read_picture(self.files[index])[1])

    def _mask_file(self, index: int) -> Path:
        return self.folder / "ground_truth" / self.group / f"{self.files[index].stem}.png"

    def _read_mask(self, index: int, size: Size) -> Tensor:
        if not self.annotated[index]:
            return torch.full(size, VOID)
        file = self._mask_file(index)
        try:
            with Image.open(file) as opened:
                mask = torch.from_numpy(np.array(opened.convert("L")))  # of one bit, of 0 and 1, or of 0 and 255
        except DAMAGE as error:
            raise DatasetNotFoundError(
                f"The mask {str(file)!r} cannot be read ({error}). Unpack the archive again."
            ) from error
        check_shape(file, mask.shape, size, f"its picture {str(self.files[index])!r} has")
        return (mask > 0).long()

    def _report_missing(self) -> None:
        missing = self.annotated.count(False)
        if missing:
            warnings.warn(
                f"{missing} of {len(self)} pictures of the group {self.group!r} of iCoseg have no mask in"
                f" {str(self.folder / 'ground_truth')!r}: theirs is -1, not annotated.",
                UserWarning,
                stacklevel=3,
            )


def find_icoseg(root: str | Path) -> Path:
    """The folder with ``images`` and ``ground_truth`` under ``root``.

    Raises:
        DatasetNotFoundError: there is none.
    """
    places = [Path(root, folder) for folder in (FOLDER, f"{Path(ARCHIVE).stem}/{FOLDER}", ".")]
    found = next((place for place in places if (place / "images").is_dir()), None)
    if found is None:
        raise DatasetNotFoundError(
            f"There is no folder {' or '.join(repr(str(place / 'images')) for place in places)}. Pass the right `root`,"
            f" or put {ARCHIVE} of iCoseg's authors (CMU and Cornell) into it: `ICosegDataModule` unpacks it. There is"
            " no download, because its address is not stable."
        )
    return found


def list_groups(folder: Path) -> list[str]:
    """Names of all groups, sorted.

    Args:
        folder: holds ``images``.

    Raises:
        DatasetNotFoundError: there are none.
    """
    names = [path.name for path in (folder / "images").iterdir() if path.is_dir() and not path.name.startswith(".")]
    if not names:
        raise DatasetNotFoundError(f"The folder {str(folder / 'images')!r} has no groups. Unpack {ARCHIVE} again.")
    return sorted(names)


def find_group(group: str, known: Sequence[str], *, parameter: str = "group", owner: str = "ICoseg") -> str:
    """The one group that is meant.

    Args:
        group: a number at the front of a name, a part of a name in any case, or a name.
        known: names of all groups.
        parameter: whence ``group`` comes, for errors.
        owner: the class that takes it.

    Raises:
        TypeError: ``group`` is no text.
        ValueError: none is meant, or several.

    >>> find_group("21", ["002 Alaskan Brown Bear", "021 Elephants-safari June 2008", "brown_bear"])
    '021 Elephants-safari June 2008'
    """
    must = "the number or a part of the name of one group"
    if not isinstance(group, str):
        raise TypeError(message(parameter, owner, must, group))
    found = [group] if group in known else [name for name in known if _fits(group.strip().casefold(), name)]
    if len(found) == 1:
        return found[0]
    text = message(parameter, owner, must, group) + ("" if found else suggestion(group, _words(known)))
    raise ValueError(f"{text} {'It fits' if found else 'The groups are'} {', '.join(map(repr, found or known))}.")


def _fits(wanted: str, name: str) -> bool:
    if not wanted.isdecimal():
        return wanted in name.casefold()
    number = re.match(r"\d+", name)
    return number is not None and int(number[0]) == int(wanted)


def _words(known: Sequence[str]) -> set[str]:
    """Words in names, and what comes before their first dash: a typo is close to one of these, not to a whole name."""
    titles = {name.lstrip("0123456789 ").split("-")[0] for name in known}
    return titles.union(*(re.findall(r"\w+", name) for name in known))


def _is_picture(file: Path) -> bool:
    # Thumbs.db of Windows lies among them, and ._ files where a Mac unpacked them
    return file.suffix.lower() in EXTENSIONS and not file.name.startswith(".") and file.is_file()


def _checked_size(size: int | Size | None) -> Size | None:
    if size is None:
        return None
    height, width = (size, size) if isinstance(size, int) else size
    return check_int(height, "image_size", "ICoseg"), check_int(width, "image_size", "ICoseg")
