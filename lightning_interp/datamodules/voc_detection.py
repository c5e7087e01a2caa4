"""Datamodule of PASCAL VOC for detection, with a pool whose boxes are predicted."""

import tarfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset

from lightning_interp._checks import check_int, message
from lightning_interp.datamodules.seeded import SeededDataModule
from lightning_interp.datasets.detection_pool import GrowingDetection
from lightning_interp.datasets.pools import UnlabeledPool
from lightning_interp.datasets.voc_detection import Flag, ImageSet, VOCDetection
from lightning_interp.datasets.voc_files import VOC_CLASSES
from lightning_interp.exceptions import DatasetNotFoundError

_UNFINISHED = (OSError, RuntimeError, ValueError, EOFError, HTTPException, tarfile.TarError)


def collate_detection(items: Sequence[tuple[Any, Any]]) -> tuple[list[Any], Any]:
    """Pictures of every size in a list, and their targets in another; indices of a pool become a tensor."""
    images, others = zip(*items, strict=True)
    return list(images), torch.tensor(others) if isinstance(others[0], int) else list(others)


class VOCDetectionDataModule(SeededDataModule):
    """PASCAL VOC with boxes: train on one year, let the model label another.

    Batches are ``(images, targets)``, two lists: pictures have every size. A part is written ``"2007/train"``; several
    are joined by a plus: ``"2007/trainval+2012/trainval"``. Pictures of the pool that are labelled too are left out of
    it, with a warning.

    *Pseudo-labels.* ``labeled_dataset`` and ``unlabeled_dataset`` (yields ``(image, index)``) are the two sides;
    ``set_pseudo_labels(indices, targets)`` between epochs makes ``train_dataset`` the labelled pictures plus those,
    under the boxes given. A Trainer counts the batches of an epoch once: epochs keep that number of batches, each a
    fresh random part of the grown set, unless ``Trainer(reload_dataloaders_every_n_epochs=1)`` lets them grow with it.
    DDP needs that option.

    *Co-localisation.* ``class_images(name)`` lists the labelled pictures of one class with their boxes, on
    ``labeled="2007/trainval"`` by convention.

    Args:
        root: holds ``VOCdevkit``, or is downloaded to.
        labeled: what is trained on.
        unlabeled: the pool; its own boxes are never looked at. None: no pool.
        val: for validation; none by default.
        test: for the test; its difficult objects are kept, with their flag, since they must not count.
        keep_difficult: train on the objects marked as difficult too.
        mirror: mirror training pictures left to right, each with a probability of one half.
        max_boxes: of one pseudo-labelled picture.
        download: fetch the parts that are missing by torchvision (2007: 0.9 GB, 2012: 2 GB).
        batch_size: pictures per batch; the paper takes one. Detectors pad the pictures of a batch to one size.
        num_workers: loader processes.
        seed: decides the order of the pictures and which are mirrored.

    Attributes:
        classes: names; that of label ``i`` is ``classes[i - 1]``, and 0 is the background.
        labeled_dataset: the pictures with boxes.
        unlabeled_dataset: the pool, or None.
        train_dataset: the labelled pictures, and those of the pool that have boxes at the moment.
        val_dataset: for validation, or None.
        test_dataset: for the test.

    Raises:
        DatasetNotFoundError: files are missing, damaged or cannot be downloaded.
        ValueError: an option out of range.
        TypeError: an option of another type.

    Reference:
        Everingham et al., The PASCAL visual object classes (VOC) challenge, IJCV 2010. The image-score paper, section
        3.2: VOC2007 labelled, VOC2012 the pool.
    """

    classes = VOC_CLASSES
    collate = staticmethod(collate_detection)

    def __init__(
        self,
        root: str | Path,
        *,
        labeled: str = "2007/train",
        unlabeled: str | None = "2012/train",
        val: str | None = None,
        test: str = "2007/test",
        keep_difficult: bool = False,
        mirror: bool = False,
        max_boxes: int = 100,
        download: bool = False,
        batch_size: int = 1,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers, seed=seed)
        parts = {"labeled": labeled, "unlabeled": unlabeled, "val": val, "test": test}
        self.parts = {name: _parsed(text, name) for name, text in parts.items() if text is not None}
        self.max_boxes = check_int(max_boxes, "max_boxes", "VOCDetectionDataModule")
        self.root, self.keep_difficult, self.mirror, self.download = Path(root), keep_difficult, mirror, download
        self.val_dataset: Any = None
        self.unlabeled_dataset: UnlabeledPool | None = None

    @property
    def n_classes(self) -> int:
        """Number of classes, background not counted."""
        return len(self.classes)

    def prepare_data(self) -> None:
        """Download and unpack what is missing or incomplete, on one process."""
        if not self.download:
            return
        for year, image_set in dict.fromkeys(part for parts in self.parts.values() for part in parts):
            if not self._is_complete(year, image_set):
                self._fetch(year, image_set)

    def _is_complete(self, year: int, image_set: Any) -> bool:
        try:
            VOCDetection(self.root, year=year, image_set=image_set)
        except DatasetNotFoundError:
            return False
        return True

    def _fetch(self, year: int, image_set: str) -> None:
        from torchvision.datasets import VOCDetection as Downloader

        try:
            Downloader(self.root, year=str(year), image_set=image_set, download=True)
        except _UNFINISHED as error:
            raise DatasetNotFoundError(
                f"VOC{year} {image_set} could not be downloaded to {str(self.root)!r} ({error}). Try again, or fetch"
                " the archive yourself and unpack it there."
            ) from error

    def setup(self, stage: str | None = None) -> None:
        """Read the lists and annotations, once; all stages at the same time, because callbacks look across them."""
        if hasattr(self, "test_dataset"):
            return
        self.labeled_dataset = self._read("labeled", keep_difficult=self.keep_difficult)
        self.train_dataset: Any = self.labeled_dataset
        if "unlabeled" in self.parts:
            pool = self._read("unlabeled", keep_difficult=True)
            self.unlabeled_dataset = UnlabeledPool(pool, indices=_not_in(pool, self.labeled_dataset))
            sizes: Any = {"n_classes": self.n_classes, "max_boxes": self.max_boxes}
            self.train_dataset = GrowingDetection(self.labeled_dataset, self.unlabeled_dataset, **sizes)
        if "val" in self.parts:
            self.val_dataset = self._read("val", keep_difficult=True)
        self.test_dataset = self._read("test", keep_difficult=True)

    def _read(self, name: str, *, keep_difficult: bool) -> ConcatDataset[Any]:
        options: Any = {"keep_difficult": keep_difficult}
        return ConcatDataset([VOCDetection(self.root, year=y, image_set=s, **options) for y, s in self.parts[name]])

    def set_pseudo_labels(self, indices: Tensor | Sequence[int], targets: Sequence[Mapping[str, Tensor]]) -> None:
        """Train on the labelled pictures plus these of the pool from the next epoch on; replaces earlier pseudo-labels.

        Args:
            indices: positions in ``unlabeled_dataset``, ``(m,)``.
            targets: for each of them a dict with ``boxes`` ``(n, 4)`` and ``labels`` ``(n,)``.

        Raises:
            RuntimeError: there is no pool.
            ValueError: an index or label is out of range, an index comes twice, or a picture has too many boxes.
        """
        grown = getattr(self, "train_dataset", None)
        if not isinstance(grown, GrowingDetection):
            raise RuntimeError(
                "`VOCDetectionDataModule` has no pool to take pictures from. Pass `unlabeled`, and call `setup` before"
                " `set_pseudo_labels`."
            )
        grown.set_pseudo_labels(indices, targets)

    def class_images(self, name: str, *, ignore: Sequence[Flag] = ("difficult", "truncated")) -> dict[int, Tensor]:
        """The labelled pictures in which one class is to be localised, after ``setup``.

        Args:
            name: the class.
            ignore: leave out pictures in which every object of the class is difficult or truncated; () takes all.

        Returns:
            For the position of every such picture in ``labeled_dataset`` the boxes ``(n, 4)`` of the class in it, those
            of difficult objects with ``keep_difficult=True`` only.

        Raises:
            ValueError: an unknown class or flag.
        """
        parts: Any = self.labeled_dataset.datasets
        starts = [0, *self.labeled_dataset.cumulative_sizes]
        found = [part.class_images(name, ignore=ignore) for part in parts]
        return {start + i: boxes for start, each in zip(starts, found, strict=False) for i, boxes in each.items()}

    @property
    def val_dataloader(self) -> Callable[[], Any]:
        """The validation part in order; Lightning's own stub where there is none."""
        return (lambda: self._loader(self.val_dataset)) if "val" in self.parts else super().val_dataloader

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Mirror training pictures, by step: the same after a resume."""
        generator = self._step_generator()
        if not self.mirror or generator is None:
            return batch
        turned = torch.rand(len(batch[0]), generator=generator) < 0.5
        pairs = [
            _mirrored(*pair) if turn else pair for turn, pair in zip(turned, zip(*batch, strict=True), strict=True)
        ]
        return collate_detection(pairs)


def _mirrored(image: Tensor, target: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
    left, top, right, bottom = target["boxes"].unbind(1)
    width = image.shape[-1]
    return image.flip(-1), {**target, "boxes": torch.stack([width - right, top, width - left, bottom], 1)}


def _parsed(text: str, name: str) -> list[tuple[int, Any]]:
    """``"2007/train+2012/train"`` as pairs of year and list."""
    pairs = [part.strip().partition("/") for part in text.split("+")]
    if not all(y in map(str, range(2007, 2013)) and s in get_args(ImageSet) for y, _, s in pairs):
        must = "parts like '2007/train', of the years 2007 to 2012 and train, val, trainval or test, joined by '+'"
        raise ValueError(message(name, "VOCDetectionDataModule", must, text))
    return [(int(year), image_set) for year, _, image_set in pairs]


def _not_in(pool: ConcatDataset[Any], labeled: ConcatDataset[Any]) -> list[int]:
    """Positions of the pictures of the pool that are not labelled."""
    known, names = set(_names(labeled)), _names(pool)
    kept = [i for i, name in enumerate(names) if name not in known]
    if len(kept) < len(names):
        warnings.warn(
            f"{len(names) - len(kept)} of {len(names)} pictures of the pool are labelled too and are left out of it.",
            UserWarning,
            stacklevel=3,
        )
    return kept


def _names(parts: ConcatDataset[Any]) -> list[str]:
    # later years call a picture of 2007 by its year: 2007_000032
    return [name.removeprefix("2007_") for part in parts.datasets for name in part.ids]  # type: ignore[attr-defined]
