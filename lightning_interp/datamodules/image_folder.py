"""Datamodule of anyone's pictures: ``root/train/<class>`` and ``root/test/<class>``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from lightning_interp._checks import suggestion
from lightning_interp.datamodules.classification import ClassificationDataModule, Split
from lightning_interp.datasets.folder_images import FolderImages
from lightning_interp.exceptions import DatasetNotFoundError


class ImageFolderDataModule(ClassificationDataModule):
    """Pictures in class folders, the same classes under ``root/train`` and ``root/test``.

    Args:
        root: holds the folders ``train`` and ``test``.
        size: side, or height and width: pictures are scaled to cover it and cut to their centre. None: all pictures
            have one size already.
        damaged: ``"error"``, or ``"skip"`` to decode every file once and leave out, with a warning, what fails.
        in_memory: decode once at the start and keep the bytes; several times faster from then on.
        mean: per channel, of pictures in [0, 1]; estimated when None.
        std: the same.
        **options: of ``ClassificationDataModule``.

    Raises:
        DatasetNotFoundError: a folder is missing or empty, the classes of train and test differ, a file is damaged.
        ValueError: an option out of range, or pictures of several sizes without ``size``.
        TypeError: an option of another type.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        size: int | tuple[int, int] | None = None,
        damaged: Literal["error", "skip"] = "error",
        in_memory: bool = False,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.root, self.size, self.damaged, self.in_memory = Path(root), size, damaged, in_memory
        self.mean, self.std = mean, std

    def read(self, split: Split) -> FolderImages:
        """Look through one of the two folders."""
        data = FolderImages(self.root / split, size=self.size, damaged=self.damaged, in_memory=self.in_memory)
        if split == "train":
            self.classes = data.classes
        elif data.classes != list(self.classes):
            self._report_classes(data.classes)
        return data

    def _report_classes(self, found: list[str]) -> None:
        only_train, only_test = sorted(set(self.classes) - set(found)), sorted(set(found) - set(self.classes))
        hint = suggestion(only_test[0], only_train) if only_test else ""
        raise DatasetNotFoundError(
            f"The folders 'train' and 'test' under {str(self.root)!r} must hold the same classes. Only in train:"
            f" {only_train or 'none'}; only in test: {only_test or 'none'}.{hint} Rename, add or delete folders."
        )
