"""What the datamodules over torchvision's small datasets share: download, integrity, bytes into memory."""

import pickle
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import torch

from lightning_interp.datamodules.classification import ClassificationDataModule, Split
from lightning_interp.datasets.image_tensors import ImageTensors
from lightning_interp.exceptions import DatasetNotFoundError

_UNREADABLE = (OSError, RuntimeError, ValueError, KeyError, EOFError, AssertionError, pickle.UnpicklingError)


class TorchvisionDataModule(ClassificationDataModule):
    """A dataset of torchvision that fits into memory; a subclass names it and its files.

    Args:
        root: folder the files are in, or are downloaded to.
        download: fetch what is missing or damaged.
        **options: of ``ClassificationDataModule``.

    Raises:
        DatasetNotFoundError: files are missing, damaged or cannot be downloaded.
        ValueError: an option out of range.
        TypeError: an option of another type.
    """

    channels_last: ClassVar[bool] = False

    def __init__(self, root: str | Path, *, download: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.root, self.download = Path(root), download

    @abstractmethod
    def open(self, split: Split, *, download: bool) -> Any:
        """The torchvision dataset; its ``data`` are all images."""

    @abstractmethod
    def files(self) -> list[tuple[Path, str | None]]:
        """Files under ``root`` that must exist, with their md5 where it is checked."""

    def prepare_data(self) -> None:
        """Download, on one process."""
        if not self.download:
            return
        try:
            self.open("train", download=True)
            self.open("test", download=True)
        except _UNREADABLE as error:
            raise self._not_found(f"could not be downloaded ({error})") from error

    def read(self, split: Split) -> ImageTensors:
        """Read one split into memory."""
        problems = self._problems()
        if problems:
            raise self._not_found("is missing or damaged: " + "; ".join(problems))
        try:
            data = self.open(split, download=False)
        except _UNREADABLE as error:
            raise self._not_found(f"cannot be read ({error})") from error
        images = torch.as_tensor(data.data)
        images = images[:, None] if images.ndim == 3 else images
        images = (images.permute(0, 3, 1, 2) if self.channels_last else images).contiguous()
        labels = data.targets if hasattr(data, "targets") else data.labels
        return ImageTensors(images, torch.as_tensor(labels))

    def _problems(self) -> list[str]:
        from torchvision.datasets.utils import calculate_md5

        problems = []
        for path, md5 in self.files():
            if not path.is_file():
                problems.append(f"no file {str(path)!r}")
            elif md5 is not None and (found := calculate_md5(path)) != md5:
                problems.append(f"{str(path)!r} has md5 {found} instead of {md5}")
        return problems

    def _not_found(self, what: str) -> DatasetNotFoundError:
        return DatasetNotFoundError(
            f"The data of `{type(self).__name__}` under {str(self.root)!r} {what}. Pass the right `root`, delete the"
            " damaged files, or pass download=True."
        )
