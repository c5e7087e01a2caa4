"""Pictures in class folders: ``<root>/<class>/**/*.jpg``."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from lightning_interp._checks import check_choice, check_int
from lightning_interp.datasets.image_tensors import ImageTransform
from lightning_interp.exceptions import DatasetNotFoundError

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
Size = tuple[int, int]
T = TypeVar("T")


class FolderImages(Dataset[tuple[Tensor, int]]):
    """Pictures sorted into one folder per class, as RGB.

    Args:
        root: holds one folder per class; folders inside those are searched too, hidden ones nowhere.
        size: side, or height and width: the picture is scaled to cover it and its centre is kept. None leaves pictures
            as they are; they must then all have one size.
        damaged: ``"error"`` names the file that cannot be decoded as soon as it is met; ``"skip"`` decodes every file
            once at the start, leaves the damaged ones out and says in a warning how many.
        in_memory: decode once and keep the bytes (``3 * height * width`` per picture).
        transform: applied to a float batch ``(b, 3, h, w)`` in [0, 1].

    Attributes:
        classes: folder names, sorted.
        files: path of every picture.
        targets: class of every picture, ``(n,)``.

    Raises:
        DatasetNotFoundError: no folder, no class, a class without pictures, a damaged picture.
        ValueError: pictures of different sizes, or an argument out of range.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        size: int | Size | None = None,
        damaged: Literal["error", "skip"] = "error",
        in_memory: bool = False,
        transform: ImageTransform | None = None,
    ) -> None:
        self.root, self.transform = Path(root), transform
        self.size = None if size is None else _checked_size(size)
        check_choice(damaged, "damaged", "FolderImages", ("error", "skip"))
        self.classes, self.files, targets = _scan(self.root)
        self.targets = torch.tensor(targets)
        self._images: Tensor | None = None
        if damaged == "skip":
            self._leave_out_damaged()
        self._first = self._decode(self.files[0]).shape
        if in_memory:
            self._images = torch.stack(list(_in_threads(self._picture, self.files)))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, int]]:
        rows = torch.as_tensor(indices, dtype=torch.long)
        images = self.pixels(rows.tolist()).float().div_(255)
        images = self.transform(images) if self.transform is not None else images
        return list(zip(images, self.targets[rows].tolist(), strict=True))

    def pixels(self, indices: Sequence[int]) -> Tensor:
        """Bytes of some pictures, ``(b, 3, h, w)``."""
        if self._images is not None:
            return self._images[torch.as_tensor(indices, dtype=torch.long)]
        return torch.stack([self._picture(self.files[i]) for i in indices])

    def _picture(self, file: Path) -> Tensor:
        picture = self._decode(file)
        if picture.shape != self._first:
            (_, h, w), (_, h1, w1) = picture.shape, self._first
            raise ValueError(
                f"The pictures under {str(self.root)!r} must have one size when `size` is None. Got {h1} x {w1} pixels"
                f" (height x width) in {self.files[0].name!r} and {h} x {w} in {file.name!r}."
                f" Pass `size`, for example size=({h1}, {w1})."
            )
        return picture

    def _decode(self, file: Path) -> Tensor:
        try:
            return decode(file, size=self.size)
        except _DAMAGE as error:
            raise DatasetNotFoundError(
                f"The picture {str(file)!r} cannot be decoded ({error}): it is truncated or no picture."
                ' Replace or delete it, or pass damaged="skip" to leave such files out.'
            ) from error

    def _leave_out_damaged(self) -> None:
        readable = list(_in_threads(self._is_readable, self.files))
        lost = [file for file, good in zip(self.files, readable, strict=True) if not good]
        if not lost:
            return
        self.files = [file for file, good in zip(self.files, readable, strict=True) if good]
        self.targets = self.targets[torch.tensor(readable)]
        names = ", ".join(repr(str(file.relative_to(self.root))) for file in lost[:3])
        count = f"{len(lost)} of {len(readable)} pictures"
        text = f"{count} under {str(self.root)!r} cannot be decoded and are left out: {names}"
        for label, name in enumerate(self.classes):
            if not (self.targets == label).any():
                raise DatasetNotFoundError(f"{text}. No picture of class {name!r} remains.")
        warnings.warn(f"{text}{', ...' if len(lost) > 3 else ''}.", UserWarning, stacklevel=4)

    def _is_readable(self, file: Path) -> bool:
        try:
            decode(file, size=self.size)
        except _DAMAGE:
            return False
        return True


_DAMAGE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def decode(file: Path, *, size: Size | None) -> Tensor:
    """Read one picture as uint8 ``(3, h, w)``, scaled to cover ``size`` and cropped to its centre."""
    with Image.open(file) as opened:
        if size is not None:
            opened.draft("RGB", (size[1], size[0]))  # JPEG decodes at a half, quarter, eighth for free
        # a palette with transparency loses its colours when it goes to RGB directly
        image = opened.convert("RGBA").convert("RGB") if opened.mode == "P" else opened.convert("RGB")
    if size is not None and image.size != (size[1], size[0]):
        scale = max(size[0] / image.height, size[1] / image.width)
        width, height = max(size[1], round(image.width * scale)), max(size[0], round(image.height * scale))
        left, top = (width - size[1]) // 2, (height - size[0]) // 2
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        image = image.crop((left, top, left + size[1], top + size[0]))
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def _scan(root: Path) -> tuple[list[str], list[Path], list[int]]:
    layout = f"one folder per class with pictures ({', '.join(EXTENSIONS)}) in it"
    if not root.is_dir():
        raise DatasetNotFoundError(
            f"There is no folder {str(root)!r}. Expected {layout}. Correct the path, or put the pictures there."
        )
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not folders:
        raise DatasetNotFoundError(f"The folder {str(root)!r} has no class folders. Expected {layout}.")
    found = [[path for path in sorted(folder.rglob("*")) if _is_picture(path, folder)] for folder in folders]
    empty = [folder.name for folder, paths in zip(folders, found, strict=True) if not paths]
    if empty:
        raise DatasetNotFoundError(
            f"There are no pictures in the class folders {', '.join(map(repr, empty[:5]))} of {str(root)!r}."
            f" Expected {layout}. Delete the folders, or put pictures in."
        )
    targets = [label for label, paths in enumerate(found) for _ in paths]
    return [folder.name for folder in folders], [path for paths in found for path in paths], targets


def _is_picture(path: Path, folder: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.suffix.lower() in EXTENSIONS and not hidden and path.is_file()


def _in_threads(work: Callable[[Path], T], files: Sequence[Path]) -> Iterator[T]:
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        yield from threads.map(work, files)


def _checked_size(size: int | Size) -> Size:
    height, width = (size, size) if isinstance(size, int) else size
    return check_int(height, "size", "FolderImages"), check_int(width, "size", "FolderImages")
