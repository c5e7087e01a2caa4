"""Datamodule of PASCAL-Part."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from lightning_interp.datamodules.concepts import ConceptDataModule, ConceptSplit
from lightning_interp.datasets.folder_images import Size
from lightning_interp.datasets.pascal_part import PascalPart


class PascalPartDataModule(ConceptDataModule):
    """PASCAL-Part: the 10103 pictures of PASCAL VOC 2010 with masks of objects and of their parts.

    4998 pictures are for training and 5105 for validation, by the lists of VOC; the annotations of the test pictures
    were never published.

    Args:
        root: holds ``VOCdevkit/VOC2010`` (VOCtrainval_03-May-2010.tar) and ``Annotations_Part`` (trainval.tar.gz of
            PASCAL-Part), both unpacked there.
        categories: ``"object"``, ``"part"`` or both.
        groups: parts of one's own, each a list of official parts. Those of cows in the thesis, table 4.5:
            ``{"head": ["cow/head"], "neck+torso": ["cow/neck", "cow/torso"], "leg": ["cow/*leg"]}``.
        numbered: keep parts such as ``"car/wheel_1"`` and ``"car/wheel_2"`` apart.
        size: side, or height and width: pictures are scaled to cover it and cut to their centre, masks cut to the same
            centre. None leaves them as they are: batches are lists then.
        transform: applied to the image, a float tensor ``(3, h, w)`` in [0, 1]; it must not move pixels.
        **options: of ``ConceptDataModule``.

    Raises:
        DatasetNotFoundError: files are missing or damaged.
        ValueError: an option out of range, a group of a part that there is not.
        TypeError: an option of another type.

    Reference:
        Chen et al., Detect what you can: detecting and representing objects using holistic models and body parts, CVPR
        2014. Thesis, section 4.4.2.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        categories: Sequence[Literal["object", "part"]] = ("object", "part"),
        groups: Mapping[str, Sequence[str]] | None = None,
        numbered: bool = False,
        size: int | Size | None = None,
        transform: Callable[[Tensor], Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.root, self.categories, self.groups, self.numbered = Path(root), categories, groups, numbered
        self.size, self.transform = size, transform

    def read(self, split: ConceptSplit) -> PascalPart:
        """Read the list of one split."""
        return PascalPart(
            self.root,
            image_set=split,  # type: ignore[arg-type]
            categories=self.categories,
            groups=self.groups,
            numbered=self.numbered,
            size=self.size,
            transform=self.transform,
        )
