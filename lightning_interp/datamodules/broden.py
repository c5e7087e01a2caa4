"""Datamodule of Broden."""

import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from lightning_interp._checks import message
from lightning_interp.datamodules.concepts import ConceptDataModule, ConceptSplit
from lightning_interp.datasets.broden import Broden
from lightning_interp.datasets.broden_index import INDEX
from lightning_interp.exceptions import DatasetNotFoundError

URL = "http://netdissect.csail.mit.edu/data/"
# As another project has it; nobody publishes the other two. The archives of 1 to 2 GB were not downloaded to check.
MD5 = {224: "be13c292eaef3300da03f8d0e48eab1c", 227: None, 384: None}
_UNFINISHED = (OSError, RuntimeError, ValueError, EOFError, HTTPException, zipfile.BadZipFile, zlib.error)


class BrodenDataModule(ConceptDataModule):
    """Broden, the dataset of Network Dissection: 63305 pictures, 1197 concepts in six categories.

    Seven pictures of ten are for training, the others for validation, by the index. The dataset is a union of ADE20K,
    PASCAL, OpenSurfaces and DTD, whose pictures are under their own terms.

    Args:
        root: holds the folder ``broden1_<image_size>``, or is downloaded to, or is such a folder itself.
        image_size: which of the three versions; their masks have half the side.
        categories: of ``"color"``, ``"object"``, ``"part"``, ``"material"``, ``"scene"`` and ``"texture"``; all when
            None.
        strict: False leaves out, with a warning, what is missing or damaged; it reads every file once at the start.
        transform: applied to the image, a float tensor ``(3, h, w)`` in [0, 1]; it must not move pixels.
        download: fetch and unpack the archive if ``root`` has no Broden. Its server is often down.
        **options: of ``ConceptDataModule``.

    Raises:
        DatasetNotFoundError: files are missing, damaged or cannot be downloaded.
        ValueError: an option out of range.
        TypeError: an option of another type.

    Reference:
        Bau et al., Network Dissection, CVPR 2017, section 2.1.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        image_size: Literal[224, 227, 384] = 224,
        categories: Sequence[str] | None = None,
        strict: bool = True,
        transform: Callable[[Tensor], Any] | None = None,
        download: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if image_size not in MD5:
            raise ValueError(message("image_size", "BrodenDataModule", "224, 227 or 384", image_size))
        self.root, self.image_size, self.categories = Path(root), image_size, categories
        self.strict, self.transform, self.download = strict, transform, download

    @property
    def folder(self) -> Path:
        """The folder with the index."""
        is_folder = (self.root / INDEX).is_file()
        return self.root if is_folder else self.root / f"broden1_{self.image_size}"

    def prepare_data(self) -> None:
        """Download and unpack, on one process."""
        if not self.download or (self.folder / INDEX).is_file():
            return
        from torchvision.datasets.utils import download_url

        name = f"broden1_{self.image_size}"
        try:
            download_url(f"{URL}{name}.zip", str(self.root), f"{name}.zip", MD5[self.image_size])
            with tempfile.TemporaryDirectory(dir=self.root) as unfinished:  # one cut short must not look complete
                with zipfile.ZipFile(self.root / f"{name}.zip") as archive:
                    archive.extractall(unfinished)  # cuts names that would lead outside, and makes no links
                (Path(unfinished) / name).rename(self.root / name)
        except _UNFINISHED as error:
            raise DatasetNotFoundError(
                f"Broden could not be downloaded to {str(self.root)!r} ({error}). Try again, or fetch {name}.zip"
                f" yourself ({URL}, or a copy of it) and put it there."
            ) from error

    def read(self, split: ConceptSplit) -> Broden:
        """Read the index of one split."""
        if not (self.folder / INDEX).is_file():
            raise DatasetNotFoundError(
                f"There is no Broden: no file {str(self.folder / INDEX)!r}. Pass the right `root`, or download=True."
            )
        options: Any = {"categories": self.categories, "strict": self.strict, "transform": self.transform}
        return Broden(self.folder, split=split, **options)
