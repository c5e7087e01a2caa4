"""PASCAL VOC for segmentation: pictures with the class of every pixel, as a concept dataset."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_interp._checks import check_choice, check_int
from lightning_interp.datasets.concept_files import (
    check_files,
    check_shape,
    checked_size,
    cut_to_centre,
    read_indices,
    read_picture,
)
from lightning_interp.datasets.concepts import UNLABELLED, VOID
from lightning_interp.datasets.folder_images import Size
from lightning_interp.datasets.voc_detection import ImageSet
from lightning_interp.datasets.voc_files import VOC_CLASSES, find_voc, read_ids
from lightning_interp.exceptions import DatasetNotFoundError

_BORDER = 255


class VOCSegmentation(Dataset[tuple[Any, dict[str, Any]]]):
    """Pictures of PASCAL VOC with the class of every pixel: yields ``(image, {"object": mask})``.

    In the mask ``(h, w)`` 0 is the background and 1 to 20 are the classes. The borders of objects and regions that are
    hard to tell ("void", 255 in the files) are -1: not annotated, neither a concept nor background.

    Args:
        root: holds ``VOCdevkit/VOC<year>``, or is the folder ``VOCdevkit``.
        year: 2007 to 2012.
        image_set: a list in ``ImageSets/Segmentation``: ``"train"``, ``"val"``, ``"trainval"``, and ``"test"`` in 2007.
        size: side, or height and width: the picture is scaled to cover it and its centre is kept; the mask is cut to
            the same centre, not scaled. None leaves both as they are, of every size.
        transform: applied to the image, a float tensor ``(3, h, w)`` in [0, 1]; it must not move pixels.

    Attributes:
        concepts: ``{"object": ["unlabelled", "aeroplane", ...]}``.
        ids: names of the pictures, in the order of the list.
        folder: the folder ``VOC<year>``.

    Raises:
        DatasetNotFoundError: the list, a picture or a mask is missing, or, when it is met, damaged.
        ValueError: an option out of range.

    Reference:
        Everingham et al., The PASCAL visual object classes (VOC) challenge, IJCV 2010.
    """

    concepts: ClassVar[dict[str, list[str]]] = {"object": [UNLABELLED, *VOC_CLASSES]}

    def __init__(
        self,
        root: str | Path,
        *,
        year: int = 2012,
        image_set: ImageSet = "train",
        size: int | Size | None = None,
        transform: Callable[[Tensor], Any] | None = None,
    ) -> None:
        owner = "VOCSegmentation"
        self.year = check_int(year, "year", owner, low=2007, high=2012)
        self.image_set = check_choice(image_set, "image_set", owner, ("train", "val", "trainval", "test"))
        self.size, self.transform = checked_size(size, owner), transform
        self.folder = find_voc(root, self.year)
        self.ids = read_ids(self.folder / "ImageSets" / "Segmentation" / f"{image_set}.txt")
        check_files([self._picture(name) for name in self.ids], "pictures")
        check_files([self._mask("Class", name) for name in self.ids], "masks")

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[Any, dict[str, Any]]:
        name = self.ids[index]
        image, size = read_picture(self._picture(name), size=self.size)
        mask = self._read(self._mask("Class", name), size)
        if mask.max() > len(VOC_CLASSES):
            raise DatasetNotFoundError(
                f"The mask {str(self._mask('Class', name))!r} holds {int(mask.max())}, which is no class of VOC. Unpack"
                " the archive again."
            )
        return self.transform(image) if self.transform else image, {"object": cut_to_centre(mask, size=self.size)}

    def instances(self, index: int) -> Tensor:
        """Which object every pixel belongs to, by ``SegmentationObject``.

        Args:
            index: of the picture.

        Returns:
            LongTensor ``(h, w)``, cut like the mask: k is the k-th object of the picture's annotation, 0 the
            background, -1 not annotated.

        Raises:
            DatasetNotFoundError: there is no such mask, or it is damaged.
        """
        name = self.ids[index]
        _, size = read_picture(self._picture(name), size=self.size)
        return cut_to_centre(self._read(self._mask("Object", name), size), size=self.size)

    def _picture(self, name: str) -> Path:
        return self.folder / "JPEGImages" / f"{name}.jpg"

    def _mask(self, kind: str, name: str) -> Path:
        return self.folder / f"Segmentation{kind}" / f"{name}.png"

    def _read(self, file: Path, size: Size) -> Tensor:
        mask = read_indices(file).long()
        check_shape(file, mask.shape, size, "its picture has")
        return torch.where(mask == _BORDER, VOID, mask)
