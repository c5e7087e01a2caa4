"""Datamodule of Oxford5k, Paris6k and their revisited versions."""

import os
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple, get_args

from lightning_interp._checks import check_choice
from lightning_interp.datamodules.retrieval import RetrievalDataModule
from lightning_interp.datasets.archives import extract_tar
from lightning_interp.datasets.oxford_paris import OxfordParis, OxfordParisName
from lightning_interp.datasets.oxford_paris_files import (
    ORIGINALS,
    find_pictures,
    find_revisited,
    read_original,
    read_revisited,
)
from lightning_interp.datasets.retrieval_images import RetrievalImages
from lightning_interp.exceptions import DatasetNotFoundError

_UNFINISHED = (OSError, RuntimeError, ValueError, EOFError, HTTPException, tarfile.TarError, zlib.error)
_VGG = "https://www.robots.ox.ac.uk/~vgg/data"
_CMP = "http://cmp.felk.cvut.cz/revisitop/data/datasets"


class Part(NamedTuple):
    """Archives that are unpacked together, and how many files of one kind are in them.

    Where no md5 was published, that number is all there is to hold them against.
    """

    urls: tuple[str, ...]
    md5: str | None
    folder: str
    suffix: str
    n_files: int


_OXFORD, _PARIS = f"{_VGG}/oxbuildings", f"{_VGG}/parisbuildings"
PICTURES = {
    "oxford5k": Part(
        (f"{_OXFORD}/oxbuild_images-v1.tgz",), "8f0017cc5d671f35011d6968269fbf47", "oxbuild_images", ".jpg", 5063
    ),
    "paris6k": Part((f"{_PARIS}/paris_1-v1.tgz", f"{_PARIS}/paris_2-v1.tgz"), None, "paris", ".jpg", 6412),
}
TEXTS = {
    "oxford5k": Part(
        (f"{_OXFORD}/gt_files_170407.tgz",), "06c4dee0ad954f6ee122c82390548537", "gt_files_170407", ".txt", 220
    ),
    "paris6k": Part((f"{_PARIS}/paris_120310.tgz",), None, "paris_120310", ".txt", 220),
}
REVISITED = {"roxford5k": 4993, "rparis6k": 6322}  # pictures of the database; there are 70 queries
N_QUERIES = 70


class OxfordParisDataModule(RetrievalDataModule):
    """Oxford5k, Paris6k, ROxford and RParis: find the pictures that show the same building.

    There is nothing to train on: see ``RetrievalDataModule`` for the two loaders and ``OxfordParis`` for the data. The
    archives are unpacked where they lie in ``root``. They are reissues in which faces are blurred; the older ones
    (``oxbuild_images.tgz``, ``paris_1.tgz``, ``paris_2.tgz``) will do as well. For research; the photographs belong to
    users of Flickr.

    Args:
        root: holds pictures and ground truth, or the archives, or is downloaded to.
        name: ``"oxford5k"``, ``"paris6k"``, ``"roxford5k"`` or ``"rparis6k"``.
        download: fetch what is missing (Oxford: 2 GB, Paris: 3 GB).
        **options: of ``RetrievalDataModule``.

    Attributes:
        normalize: the transform behind mean and std; ``normalize.invert`` undoes it for pictures.

    Raises:
        DatasetNotFoundError: files are missing, damaged or cannot be downloaded.
        ValueError: an option out of range.
        TypeError: an option of another type.

    Reference:
        Philbin et al., Object retrieval with large vocabularies and fast spatial matching, CVPR 2007. Philbin et al.,
        Lost in quantization, CVPR 2008. Radenovic et al., Revisiting Oxford and Paris, CVPR 2018. Thesis, section 5.3.
    """

    def __init__(
        self, root: str | Path, *, name: OxfordParisName = "oxford5k", download: bool = False, **options: Any
    ) -> None:
        super().__init__(**options)
        self.name: Any = check_choice(name, "name", "OxfordParisDataModule", get_args(OxfordParisName))
        self.root, self.download = Path(root), download

    def prepare_data(self) -> None:
        """Download and unpack what is missing, on one process."""
        if not self._has_pictures():
            self._provide(PICTURES[ORIGINALS[self.name]])
        if find_revisited(self.root, self.name) is not None:
            return
        if self.name in REVISITED and self.download:
            self._provide_revisited()
        elif self.name in TEXTS and read_original(self.root, self.name) is None:
            self._provide(TEXTS[self.name])

    def read(self) -> RetrievalImages:
        """List the pictures and read the ground truth."""
        return OxfordParis(self.root, self.name, image_size=self.image_size, transform=self.normalize)

    def _has_pictures(self) -> bool:
        try:
            find_pictures(self.root, self.name)
        except DatasetNotFoundError:
            return False
        return True

    def _provide(self, part: Part) -> None:
        """Unpack the archives of a part, the missing ones fetched first; without leave to do so, leave it."""
        found = [_archive(self.root, url) for url in part.urls]
        if not self.download and None in found:
            return
        try:
            archives = [each or self._fetch(url, part.md5) for each, url in zip(found, part.urls, strict=True)]
            _unpack(archives, part, self.root)
        except _UNFINISHED as error:
            raise self._failed(part.urls, error) from error

    def _provide_revisited(self) -> None:
        url = f"{_CMP}/{self.name}/gnd_{self.name}.pkl"
        try:
            self._fetch(url, None, check=partial(_check_revisited, expected=(REVISITED[self.name], N_QUERIES)))
        except _UNFINISHED as error:
            raise self._failed([url], error) from error

    def _fetch(self, url: str, md5: str | None, *, check: Callable[[Path], None] | None = None) -> Path:
        from torchvision.datasets.utils import download_url

        self.root.mkdir(parents=True, exist_ok=True)
        file = _file_name(url)
        with tempfile.TemporaryDirectory(dir=self.root) as unfinished:  # one cut short must not look complete
            download_url(url, unfinished, file, md5)
            if check is not None:
                check(Path(unfinished, file))
            return Path(unfinished, file).rename(self.root / file)

    def _failed(self, urls: Sequence[str], error: Exception) -> DatasetNotFoundError:
        return DatasetNotFoundError(
            f"{' and '.join(map(_file_name, urls))} could not be downloaded to or unpacked in {str(self.root)!r}"
            f" ({error}). Delete what is damaged and try again, or put {' and '.join(urls)} there yourself."
        )


def _file_name(url: str) -> str:
    return url.rpartition("/")[2]


def _archive(root: Path, url: str) -> Path | None:
    """The archive in ``root``, or its older issue."""
    file = root / _file_name(url)
    return next((path for path in (file, file.with_name(file.name.replace("-v1", ""))) if path.is_file()), None)


def _unpack(archives: list[Path], part: Part, root: Path) -> None:
    with tempfile.TemporaryDirectory(dir=root) as unfinished:  # one cut short must not look complete
        for archive in archives:
            extract_tar(archive, Path(unfinished, "all"))
        found = [file for file in Path(unfinished, "all").rglob("*") if file.suffix.lower() == part.suffix]
        if len(found) != part.n_files:
            raise ValueError(f"{len(found)} instead of {part.n_files} files *{part.suffix} are in there")
        Path(os.path.commonpath([file.parent for file in found])).rename(root / part.folder)


def _check_revisited(file: Path, *, expected: tuple[int, int]) -> None:
    truth = read_revisited(file)
    found = len(truth.names), len(truth.queries)
    if found != expected:
        raise ValueError("it has {} pictures and {} queries instead of {} and {}".format(*found, *expected))
