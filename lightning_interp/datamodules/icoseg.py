"""Datamodule of iCoseg."""

import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_interp._checks import message
from lightning_interp.datamodules.seeded import SeededDataModule
from lightning_interp.datasets.archives import extract_zip
from lightning_interp.datasets.folder_images import Size
from lightning_interp.datasets.icoseg import ARCHIVE, FOLDER, ICoseg, find_group, find_icoseg, list_groups
from lightning_interp.datasets.image_tensors import Normalize
from lightning_interp.exceptions import DatasetNotFoundError

_DAMAGE = (OSError, RuntimeError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)


def collate_group(items: Sequence[tuple[Tensor, Tensor]]) -> tuple[Any, Any]:
    """Images and masks, each as one tensor when they have one size, else as a list."""
    images, masks = zip(*items, strict=True)
    alike = len({image.shape for image in images}) == 1
    return (torch.stack(images), torch.stack(masks)) if alike else (list(images), list(masks))


class ICosegDataModule(SeededDataModule):
    """iCoseg, for co-segmentation: 643 pictures in 38 groups, each of one thing, with masks of it.

    There is nothing to train on. The loaders of ``test`` and ``predict`` are a list, one for every group in order, so
    that no batch mixes groups and ``dataloader_idx`` says which it is. Batches are ``(images, masks)``: see ``ICoseg``.
    Functions that take a set of images take ``group_dataset("elephants")`` as it is. The photographs were distributed
    for research.

    Args:
        root: holds the folder ``dataset_public``, or ``CMU_Cornell_iCoseg_dataset.zip``, which is then unpacked.
        groups: one or several, by number (``"021"``) or a part of their name (``"elephants"``); all when None.
        image_size: side, or height and width: pictures are scaled to just that, and nothing is cut off. None leaves
            them as they are: batches of several sizes are lists then.
        mean: per channel, of pictures in [0, 1]; those of ImageNet.
        std: the same.
        batch_size: pictures per batch; the largest group has 41.
        num_workers: loader processes, for every group.
        seed: of the loaders; nothing is drawn from it here.

    Attributes:
        normalize: the transform behind mean and std; ``normalize.invert`` undoes it for pictures.

    Raises:
        DatasetNotFoundError: files are missing or damaged.
        ValueError: no group or several are called like that, a group has fewer than two pictures, or an option is out
            of range.
        TypeError: an option of another type.

    Reference:
        Batra et al., iCoseg: interactive co-segmentation with intelligent scribble guidance, CVPR 2010. Thesis, section
        4.3.
    """

    collate = staticmethod(collate_group)

    def __init__(
        self,
        root: str | Path,
        *,
        groups: str | Sequence[str] | None = None,
        image_size: int | Size | None = 224,
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
        batch_size: int = 64,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers, seed=seed)
        if groups is not None and not groups:
            raise ValueError(message("groups", "ICosegDataModule", "one group or more, or None for all", groups))
        self.root, self.image_size = Path(root), image_size
        self.groups = [groups] if isinstance(groups, str) else groups
        self.normalize = Normalize(mean, std)
        self._datasets: dict[str, ICoseg] = {}

    @property
    def group_names(self) -> list[str]:
        """Names of the groups, in the order of the loaders, after ``setup``."""
        return list(self._read())

    def group_dataset(self, name: str) -> ICoseg:
        """The pictures of one group, after ``setup``.

        Args:
            name: its number, a part of its name, or its name.

        Raises:
            RuntimeError: before ``setup``.
            ValueError: none of ``group_names`` is called like that, or several are.
        """
        owner = "ICosegDataModule.group_dataset"
        return self._read()[find_group(name, self.group_names, parameter="name", owner=owner)]

    def prepare_data(self) -> None:
        """Unpack the archive where it is not yet unpacked, on one process."""
        archive = self.root / ARCHIVE
        if self._is_unpacked() or not archive.is_file():
            return
        try:
            with tempfile.TemporaryDirectory(dir=self.root) as unfinished:  # one cut short must not look complete
                folder = Path(unfinished, "all")
                extract_zip(archive, folder)
                find_icoseg(folder).rename(self.root / FOLDER)
        except _DAMAGE as error:
            raise DatasetNotFoundError(
                f"The archive {str(archive)!r} could not be unpacked ({error}). Fetch it again."
            ) from error

    def _is_unpacked(self) -> bool:
        try:
            find_icoseg(self.root)
        except DatasetNotFoundError:
            return False
        return True

    def setup(self, stage: str | None = None) -> None:
        """List the pictures of the groups, once."""
        if self._datasets:
            return
        known = list_groups(find_icoseg(self.root))
        match: Any = {"parameter": "groups", "owner": "ICosegDataModule"}
        names = known if self.groups is None else [find_group(group, known, **match) for group in self.groups]
        options: Any = {"image_size": self.image_size, "transform": self.normalize}
        self._datasets = {name: ICoseg(self.root, name, **options) for name in dict.fromkeys(names)}

    def train_dataloader(self) -> DataLoader[Any]:
        """There is none.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError("`ICosegDataModule` has nothing to train on. Use it with `Trainer.test` or `.predict`.")

    def test_dataloader(self) -> Any:
        """One loader for every group, its pictures in order."""
        return [self._loader(dataset) for dataset in self._read().values()]

    def predict_dataloader(self) -> Any:
        """The same as for the test."""
        return self.test_dataloader()

    def _read(self) -> dict[str, ICoseg]:
        if not self._datasets:
            raise RuntimeError("`ICosegDataModule` has read no groups yet. Call `setup` first.")
        return self._datasets
