"""Datamodule of ImageNet."""

import pickle
import tarfile
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lightning_interp._checks import check_int, message, suggestion
from lightning_interp.datamodules.classification import ClassificationDataModule, Split
from lightning_interp.datasets.imagenet import ImageNetImages, list_wnids
from lightning_interp.exceptions import DatasetNotFoundError

_META = "meta.bin"
_FOLDERS = {"train": "train", "test": "val"}


class ImageNetDataModule(ClassificationDataModule):
    """ImageNet (ILSVRC 2012): 1.28 million training pictures and 50000 for the test, of 1000 classes.

    Reads ``root/train/<wnid>/*.JPEG`` and ``root/val/<wnid>/*.JPEG``, a picture when it is needed: use ``num_workers``.
    Where a folder is missing, the official archive in ``root`` is unpacked by torchvision. The label is the position of
    the wnid in sorted order. Names come from torchvision's ``root/meta.bin``; without that file they are the wnids.
    Non-commercial research use only.

    Args:
        root: holds the folders ``train`` and ``val``, or the archives.
        size: side of the pictures, whose shorter side is scaled to 256 / 224 of it before they are cut to the centre.
        use_classes: a number of classes drawn by ``seed`` (the thesis uses 50), or their wnids; all when None.
        **options: of ``ClassificationDataModule``.

    Attributes:
        wnids: of the classes in use, sorted.

    Raises:
        DatasetNotFoundError: folders and archives are missing, the classes of train and val differ, a file is damaged.
        ValueError: an option out of range.
        TypeError: an option of another type.

    Reference:
        Russakovsky et al., ImageNet large scale visual recognition challenge, 2015. Thesis, section 3.5.1.
    """

    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)

    def __init__(
        self, root: str | Path, *, size: int = 224, use_classes: int | Sequence[str] | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.root, self.size, self.use_classes = Path(root), check_int(size, "size", "ImageNetDataModule"), use_classes

    def prepare_data(self) -> None:
        """Unpack what is missing, on one process."""
        from torchvision.datasets import imagenet

        for folder in _FOLDERS.values():
            if (self.root / folder).is_dir():
                continue
            needed = self._archives(folder)
            if not all((self.root / name).is_file() for name in needed):
                raise self._not_found(folder)
            try:
                if not (self.root / _META).is_file() and (self.root / imagenet.ARCHIVE_META["devkit"][0]).is_file():
                    imagenet.parse_devkit_archive(self.root)
                parse = {"train": imagenet.parse_train_archive, "val": imagenet.parse_val_archive}[folder]
                with tempfile.TemporaryDirectory(dir=self.root) as unfinished:  # one cut short must not look complete
                    parse(self.root, folder=str(Path(unfinished, folder)))
                    Path(unfinished, folder).rename(self.root / folder)
            except (OSError, RuntimeError, ValueError, LookupError, EOFError, tarfile.TarError, zlib.error) as error:
                raise DatasetNotFoundError(
                    f"{' and '.join(needed)} in {str(self.root)!r} could not be unpacked ({error})."
                    " Fetch them again from image-net.org."
                ) from error

    def read(self, split: Split) -> ImageNetImages:
        """List the pictures of one split."""
        folder = self.root / _FOLDERS[split]
        if not folder.is_dir():
            raise self._not_found(folder.name)
        found = list_wnids(folder)
        if split == "train":
            self.wnids = self._chosen(found)
            self.classes = class_names(self.root, self.wnids)
        elif self.use_classes is None and found != self.wnids:
            raise DatasetNotFoundError(
                f"The folders 'train' and 'val' under {str(self.root)!r} must hold the same classes. Only in one of"
                f" them: {sorted(set(found) ^ set(self.wnids))[:5]}. Complete them, or pass `use_classes`."
            )
        return ImageNetImages(folder, wnids=self.wnids, size=self.size)

    def _chosen(self, found: list[str]) -> list[str]:
        if self.use_classes is None:
            return found
        owner = type(self).__name__
        if isinstance(self.use_classes, int):
            n = check_int(self.use_classes, "use_classes", owner, low=2, high=len(found))
            return [found[i] for i in torch.randperm(len(found), generator=self._generator(5))[:n].sort().values]
        unknown = [wnid for wnid in self.use_classes if wnid not in found]
        if unknown:
            must = f"class folders of {str(self.root / 'train')!r}"
            raise ValueError(message("use_classes", owner, must, unknown[0]) + suggestion(unknown[0], found))
        return sorted(set(self.use_classes))

    def _archives(self, folder: str) -> list[str]:
        from torchvision.datasets.imagenet import ARCHIVE_META

        # the pictures of val lie in no class folders: which class they are is in the development kit
        devkit = [ARCHIVE_META["devkit"][0]] if folder == "val" and not (self.root / _META).is_file() else []
        return [ARCHIVE_META[folder][0], *devkit]

    def _not_found(self, folder: str) -> DatasetNotFoundError:
        return DatasetNotFoundError(
            f"There is no folder {str(self.root / folder)!r} with ImageNet's pictures in <wnid>/*.JPEG. Pass the right"
            f" `root`, or put {' and '.join(self._archives(folder))} into it: `prepare_data` unpacks them."
        )


def class_names(root: Path, wnids: Sequence[str]) -> list[str]:
    """Names by torchvision's ``root/meta.bin``, synonyms separated by commas; the wnids where there is none.

    Raises:
        DatasetNotFoundError: the file is damaged.
    """
    file = root / _META
    if not file.is_file():
        return list(wnids)
    try:
        names = torch.load(file, weights_only=True)[0]
        return [", ".join(names.get(wnid, [wnid])) for wnid in wnids]
    except (OSError, RuntimeError, EOFError, TypeError, LookupError, AttributeError, pickle.UnpicklingError) as error:
        raise DatasetNotFoundError(
            f"The file {str(file)!r} is damaged ({type(error).__name__}): it must hold a dictionary of names by wnid."
            " Delete it: the classes are then called by their wnids."
        ) from error
