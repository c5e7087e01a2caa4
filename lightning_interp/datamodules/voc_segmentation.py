"""Datamodule of PASCAL VOC for segmentation."""

import tarfile
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any

from torch import Tensor

from lightning_interp._checks import check_int
from lightning_interp.datamodules.concepts import ConceptDataModule, ConceptSplit
from lightning_interp.datasets.concept_files import checked_size
from lightning_interp.datasets.folder_images import Size
from lightning_interp.datasets.voc_segmentation import VOCSegmentation
from lightning_interp.exceptions import DatasetNotFoundError

_UNFINISHED = (OSError, RuntimeError, ValueError, EOFError, HTTPException, tarfile.TarError)


class VOCSegmentationDataModule(ConceptDataModule):
    """PASCAL VOC with the class of every pixel: 20 concepts of the category ``"object"``.

    Pixels on the borders of objects are -1: not annotated. The test list with masks is that of 2007; in other years the
    validation pictures are tested on.

    Args:
        root: holds ``VOCdevkit``, or is downloaded to.
        year: 2007 (422 pictures and 210 for the test) to 2012 (2913 pictures).
        size: side, or height and width: pictures are scaled to cover it and cut to their centre, masks cut to the same
            centre. None leaves them as they are: batches are lists then.
        transform: applied to the image, a float tensor ``(3, h, w)`` in [0, 1]; it must not move pixels.
        download: fetch the parts that are missing by torchvision (2007: 0.9 GB, 2012: 2 GB).
        **options: of ``ConceptDataModule``.

    Raises:
        DatasetNotFoundError: files are missing, damaged or cannot be downloaded.
        ValueError: an option out of range.
        TypeError: an option of another type.

    Reference:
        Everingham et al., The PASCAL visual object classes (VOC) challenge, IJCV 2010.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        year: int = 2012,
        size: int | Size | None = None,
        transform: Callable[[Tensor], Any] | None = None,
        download: bool = False,
        **options: Any,
    ) -> None:
        owner = "VOCSegmentationDataModule"
        super().__init__(**{"test_split": "test" if year == 2007 else "val", **options})
        self.year = check_int(year, "year", owner, low=2007, high=2012)
        self.root, self.size = Path(root), checked_size(size, owner)
        self.transform, self.download = transform, download

    def prepare_data(self) -> None:
        """Download and unpack what is missing or incomplete, on one process."""
        splits: list[ConceptSplit] = ["train", "val", "test"] if self.test_split == "test" else ["train", "val"]
        for split in splits if self.download else ():
            if not self._is_complete(split):
                self._fetch(split)

    def _is_complete(self, split: ConceptSplit) -> bool:
        try:
            self.read(split)
        except DatasetNotFoundError:
            return False
        return True

    def _fetch(self, split: str) -> None:
        from torchvision.datasets import VOCSegmentation as Downloader

        try:
            Downloader(self.root, year=str(self.year), image_set=split, download=True)
        except _UNFINISHED as error:
            raise DatasetNotFoundError(
                f"VOC{self.year} {split} could not be downloaded to {str(self.root)!r} ({error}). Try again, or fetch"
                " the archive yourself and unpack it there."
            ) from error

    def read(self, split: ConceptSplit) -> VOCSegmentation:
        """Read the list of one split."""
        return VOCSegmentation(self.root, year=self.year, image_set=split, size=self.size, transform=self.transform)
