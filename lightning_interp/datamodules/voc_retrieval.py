"""Datamodule of PASCAL VOC for retrieval."""

import tarfile
from http.client import HTTPException
from pathlib import Path
from typing import Any

from lightning_interp.datamodules.retrieval import RetrievalDataModule
from lightning_interp.datasets.retrieval_images import RetrievalImages
from lightning_interp.datasets.voc_detection import ImageSet
from lightning_interp.datasets.voc_files import find_voc
from lightning_interp.datasets.voc_retrieval import VOCRetrieval
from lightning_interp.exceptions import DatasetNotFoundError

_UNFINISHED = (OSError, RuntimeError, ValueError, EOFError, HTTPException, tarfile.TarError)


class VOCRetrievalDataModule(RetrievalDataModule):
    """PASCAL VOC 2010 for semantic retrieval: given one bicycle, find all bicycles.

    There is nothing to train on: see ``RetrievalDataModule`` for the two loaders and ``VOCRetrieval`` for the protocol.
    The thesis measures average precision among the first 30.

    Args:
        root: holds ``VOCdevkit/VOC<year>``, or is downloaded to.
        year: 2007 to 2012.
        image_set: a list in ``ImageSets/Main``.
        n_queries: for each class, drawn by ``seed``.
        download: fetch the pictures and annotations by torchvision where they are missing (2010: 1.3 GB).
        **options: of ``RetrievalDataModule``.

    Attributes:
        normalize: the transform behind mean and std; ``normalize.invert`` undoes it for pictures.

    Raises:
        DatasetNotFoundError: files are missing, damaged or cannot be downloaded.
        ValueError: an option out of range.
        TypeError: an option of another type.

    Reference:
        Everingham et al., The PASCAL visual object classes (VOC) challenge, IJCV 2010. Thesis, section 5.4.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        year: int = 2010,
        image_set: ImageSet = "trainval",
        n_queries: int = 5,
        download: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.root, self.year, self.image_set = Path(root), year, image_set
        self.n_queries, self.download = n_queries, download

    def prepare_data(self) -> None:
        """Download and unpack where there is nothing, on one process."""
        if not self.download or self._is_there():
            return
        from torchvision.datasets import VOCDetection as Downloader

        try:
            Downloader(self.root, year=str(self.year), image_set=self.image_set, download=True)
        except _UNFINISHED as error:
            raise DatasetNotFoundError(
                f"VOC{self.year} could not be downloaded to {str(self.root)!r} ({error}). Try again, or fetch the"
                " archive yourself and unpack it there."
            ) from error

    def _is_there(self) -> bool:
        try:
            return (find_voc(self.root, self.year) / "ImageSets" / "Main" / f"{self.image_set}.txt").is_file()
        except DatasetNotFoundError:
            return False

    def read(self) -> RetrievalImages:
        """Read the annotations of all pictures."""
        return VOCRetrieval(
            self.root,
            year=self.year,
            image_set=self.image_set,
            n_queries=self.n_queries,
            seed=self.seed,
            image_size=self.image_size,
            transform=self.normalize,
        )
