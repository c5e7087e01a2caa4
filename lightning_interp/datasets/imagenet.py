"""ImageNet's pictures, decoded one by one: a million files need a compact list and no more."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from lightning_interp._checks import check_int
from lightning_interp.datasets.folder_images import EXTENSIONS, decode
from lightning_interp.datasets.image_tensors import ImageTransform
from lightning_interp.exceptions import DatasetNotFoundError

_DAMAGE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


class ImageNetImages(Dataset[tuple[Tensor, int]]):
    """One split of ImageNet: ``<root>/<wnid>/**/*.JPEG``, scaled and cut to the centre, as RGB.

    The shorter side is scaled to 256 / 224 of ``size``. Files of all kinds that are called JPEG (CMYK, PNG) become RGB.
    No file is opened before it is asked for.

    Args:
        root: the folder ``train`` or ``val``.
        wnids: class folders to read; all of them when None.
        size: side of the result.
        transform: applied to a float batch ``(b, 3, size, size)`` in [0, 1].

    Attributes:
        wnids: class folders, sorted: the label is the position in this list.
        targets: class of every picture, ``(n,)``.

    Raises:
        DatasetNotFoundError: a folder is missing or has no pictures; a picture that cannot be decoded, when it is met.
        ValueError: ``size`` is out of range.

    Reference:
        Russakovsky et al., ImageNet large scale visual recognition challenge, 2015.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        wnids: Sequence[str] | None = None,
        size: int = 224,
        transform: ImageTransform | None = None,
    ) -> None:
        self.root, self.transform = Path(root), transform
        self.size = check_int(size, "size", "ImageNetImages")
        self.wnids = list_wnids(self.root) if wnids is None else sorted(wnids)
        names = [_pictures(self.root, wnid) for wnid in self.wnids]
        # bytes in one array: a million Path objects take 0.5 GB, and once more in every worker
        self._names = np.concatenate([np.array(part, dtype=np.bytes_) for part in names])
        self.targets = torch.repeat_interleave(torch.tensor([len(part) for part in names]))

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Tensor, int]]:
        images = torch.stack([self._picture(self.file(i)) for i in indices]).float().div_(255)
        images = self.transform(images) if self.transform is not None else images
        return list(zip(images, self.targets[torch.as_tensor(indices)].tolist(), strict=True))

    def file(self, index: int) -> Path:
        """Path of a picture."""
        return self.root / os.fsdecode(self._names[index])

    def _picture(self, file: Path) -> Tensor:
        side = round(self.size * 256 / 224)
        margin = (side - self.size) // 2
        try:
            picture = decode(file, size=(side, side))
        except _DAMAGE as error:
            raise DatasetNotFoundError(
                f"The picture {str(file)!r} cannot be decoded ({error}): it is truncated or no picture."
                " Replace or delete it."
            ) from error
        return picture[:, margin : margin + self.size, margin : margin + self.size]


def list_wnids(root: Path) -> list[str]:
    """Names of the class folders, sorted.

    Raises:
        DatasetNotFoundError: there are none.
    """
    wnids = [path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    if not wnids:
        raise DatasetNotFoundError(
            f"The folder {str(root)!r} has no class folders, such as n01440764. Put them there, or delete the folder"
            " to have the archive next to it unpacked."
        )
    return sorted(wnids)


def _pictures(root: Path, wnid: str) -> list[bytes]:
    """Paths of a class below ``root``, sorted; hidden files and folders are not looked at."""
    found = []
    for folder, folders, names in os.walk(root / wnid):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = os.path.relpath(folder, root)
        found += [
            os.fsencode(os.path.join(inside, name))
            for name in names
            if name.lower().endswith(EXTENSIONS) and not name.startswith(".")
        ]
    if not found:
        raise DatasetNotFoundError(
            f"There are no pictures ({', '.join(EXTENSIONS)}) in the class folder {str(root / wnid)!r}."
            " Put them there, or delete the folder."
        )
    return sorted(found)
