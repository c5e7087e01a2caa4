"""Datamodule of UrbanSound8K."""

import tarfile
import tempfile
import zlib
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any, Literal

from lightning_interp._checks import message
from lightning_interp.datamodules.classification import ClassificationDataModule, Split
from lightning_interp.datasets.archives import extract_tar
from lightning_interp.datasets.label_noise import noisy_labels
from lightning_interp.datasets.log_mel import LogMel
from lightning_interp.datasets.subsets import LabeledSubset
from lightning_interp.datasets.urban_sound import UrbanSound8K
from lightning_interp.datasets.urban_sound_index import CLASSES, FOLDS, checked_folds, find_root
from lightning_interp.exceptions import DatasetNotFoundError

# As loaders of other projects have them (soundata, PaddleAudio); the 6 GB were not downloaded to check the sum.
URL = "https://zenodo.org/record/1203745/files/UrbanSound8K.tar.gz"
MD5 = "9aa69802bbf37fb986f71ec1483a196e"


class UrbanSound8KDataModule(ClassificationDataModule):
    """UrbanSound8K: 8732 clips of up to 4 s in 10 classes, as log-mel spectrograms ``(1, bands, frames)``.

    The dataset comes in ten folds that keep the slices of a recording together (but for 5 of 1297). They are never
    reshuffled: publish the mean over ten runs, each with another fold for the test. The thesis trains on the first
    eight: ``test_folds=(9, 10)``. Non-commercial use only.

    Args:
        root: the folder ``UrbanSound8K``, or the one it is in, or is downloaded to.
        test_folds: folds to test on; all others are for training.
        val_folds: folds to hold out for validation. ``val_size`` holds out clips at random instead, and slices of one
            recording then come to lie on both sides.
        spectrogram: rate, length and shape; the default is 64 bands x 128 frames of 4 s.
        damaged: ``"error"``, or ``"skip"`` to leave out clips that are missing or damaged, with a warning.
        cache_dir: folder for decoded spectrograms, so that only the first run takes the minutes to decode them.
        download: fetch and unpack the archive (6 GB, as much again and more unpacked) if ``root`` has no UrbanSound8K.
        **options: of ``ClassificationDataModule``; ``augment`` is refused.

    Raises:
        DatasetNotFoundError: files are missing, damaged or cannot be downloaded.
        ValueError: an option out of range.
        TypeError: an option of another type.

    Reference:
        Salamon et al., A dataset and taxonomy for urban sound research, 2014. Thesis, section 3.5.1.
    """

    classes = CLASSES

    def __init__(
        self,
        root: str | Path,
        *,
        test_folds: Sequence[int] = (10,),
        val_folds: Sequence[int] = (),
        spectrogram: LogMel | None = None,
        damaged: Literal["error", "skip"] = "error",
        cache_dir: str | Path | None = None,
        download: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        owner = "UrbanSound8KDataModule"
        if self.augment:
            raise ValueError(message("augment", owner, "False: a mirrored sound runs backwards", True))
        if val_folds and self.val_size:
            raise ValueError(message("val_size", owner, "0 when `val_folds` are given", self.val_size))
        self.root, self.damaged, self.cache_dir, self.download = Path(root), damaged, cache_dir, download
        self.test_folds = checked_folds(test_folds, "test_folds", owner)
        self.val_folds = checked_folds(val_folds, "val_folds", owner)
        if not self.test_folds:
            raise ValueError(message("test_folds", owner, "at least one fold", test_folds))
        if set(self.test_folds) & set(self.val_folds):
            raise ValueError(message("val_folds", owner, f"other folds than `test_folds` {self.test_folds}", val_folds))
        self.train_folds = tuple(fold for fold in FOLDS if fold not in self.test_folds + self.val_folds)
        if not self.train_folds:
            raise ValueError(message("test_folds", owner, "fewer, so that a fold is left to train on", test_folds))
        self.spectrogram = spectrogram or LogMel()

    def prepare_data(self) -> None:
        """Download and unpack, on one process."""
        if not self.download or find_root(self.root) is not None:
            return
        from torchvision.datasets.utils import download_url

        try:
            download_url(URL, str(self.root), Path(URL).name, MD5)
            with tempfile.TemporaryDirectory(dir=self.root) as unfinished:  # one cut short must not look complete
                extract_tar(self.root / Path(URL).name, unfinished)
                (Path(unfinished) / "UrbanSound8K").rename(self.root / "UrbanSound8K")
        except (OSError, RuntimeError, ValueError, EOFError, HTTPException, tarfile.TarError, zlib.error) as error:
            raise DatasetNotFoundError(
                f"UrbanSound8K could not be downloaded to {str(self.root)!r} ({error}). Try again, or fetch {URL}"
                " yourself and put it there."
            ) from error

    def read(self, split: Split) -> UrbanSound8K:
        """Decode the folds of one split, or take them from ``cache_dir``."""
        return self._read(self.test_folds if split == "test" else self.train_folds)

    def _read(self, folds: Sequence[int]) -> UrbanSound8K:
        options: Any = {"spectrogram": self.spectrogram, "damaged": self.damaged, "cache_dir": self.cache_dir}
        return UrbanSound8K(self.root, folds=folds, **options)

    def setup(self, stage: str | None = None) -> None:
        """Decode, split and relabel, once."""
        if hasattr(self, "test_dataset"):
            return
        super().setup(stage)
        if self.val_folds:
            data = self._read(self.val_folds)
            data.transform = self.normalize
            kind, generator = self.noise_kind, self._generator(5)
            given = noisy_labels(
                data.targets, self.label_noise, n_classes=self.n_classes, kind=kind, generator=generator
            )
            self.val_dataset = LabeledSubset(data, targets=given)

    @property
    def val_dataloader(self) -> Callable[[], Any]:
        """The held-out folds or clips in order; Lightning's own stub where there are none."""
        return (lambda: self._loader(self.val_dataset)) if self.val_folds else super().val_dataloader
