"""PASCAL VOC for detection: pictures with boxes."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from lightning_interp._checks import check_choice, check_int
from lightning_interp.datasets.folder_images import decode
from lightning_interp.datasets.voc_files import VOC_CLASSES, find_voc, read_ids, read_objects
from lightning_interp.exceptions import DatasetNotFoundError

ImageSet = Literal["train", "val", "trainval", "test"]
Flag = Literal["difficult", "truncated"]
Target = dict[str, Any]
_FLAGS = {"difficult": 5, "truncated": 6}  # columns of the table


class VOCDetection(Dataset[tuple[Any, Target]]):
    """Pictures of PASCAL VOC with their boxes: yields ``(image, target)``.

    ``image`` is a float tensor ``(3, h, w)`` in [0, 1], of every size. ``target`` has ``boxes`` ``(n, 4)``: left, top,
    right, bottom in pixels from 0, right and bottom exclusive; ``labels`` ``(n,)`` from 1 to 20; ``difficult`` ``(n,)``
    bool; ``image_id``. All annotations are read at the start, so that a damaged one does not wait for its turn.

    Args:
        root: holds ``VOCdevkit/VOC<year>``, or is the folder ``VOCdevkit``.
        year: 2007 to 2012.
        image_set: a list in ``ImageSets/Main``: ``"train"``, ``"val"``, ``"trainval"`` or ``"test"``.
        keep_difficult: keep the objects that are marked as difficult.
        transform: applied to the image.

    Attributes:
        classes: names; that of label ``i`` is ``classes[i - 1]``.
        ids: names of the pictures, in the order of the list.
        folder: the folder ``VOC<year>``.

    Raises:
        DatasetNotFoundError: the list, a picture or an annotation is missing or damaged, or an id in the list has
            anything but letters, digits, ``_``, ``-`` and ``.`` in it.
        ValueError: an option out of range.

    Reference:
        Everingham et al., The PASCAL visual object classes (VOC) challenge, IJCV 2010.
    """

    classes = VOC_CLASSES

    def __init__(
        self,
        root: str | Path,
        *,
        year: int = 2012,
        image_set: ImageSet = "train",
        keep_difficult: bool = True,
        transform: Callable[[Tensor], Any] | None = None,
    ) -> None:
        self.year = check_int(year, "year", "VOCDetection", low=2007, high=2012)
        self.image_set: Any = check_choice(image_set, "image_set", "VOCDetection", get_args(ImageSet))
        self.keep_difficult, self.transform = keep_difficult, transform
        self.folder = find_voc(root, self.year)
        self.ids = read_ids(self.folder / "ImageSets" / "Main" / f"{image_set}.txt")
        self._check_pictures()
        objects = [read_objects(self.folder / "Annotations" / f"{name}.xml") for name in self.ids]
        kept = [[each for each in found if keep_difficult or not each.difficult] for found in objects]
        # one table for all pictures: thousands of small tensors are slow to send to loader workers
        rows = [(*each.box, each.label, each.difficult, each.truncated) for found in kept for each in found]
        self._table = torch.tensor(rows, dtype=torch.long).reshape(-1, 7)
        self._starts = [0, *accumulate(map(len, kept))]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[Any, Target]:
        file = self.folder / "JPEGImages" / f"{self.ids[index]}.jpg"
        try:
            image = decode(file, size=None).float().div_(255)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DatasetNotFoundError(
                f"The picture {str(file)!r} cannot be decoded ({error}): it is truncated or no picture. Unpack the"
                " archive again."
            ) from error
        return self.transform(image) if self.transform else image, self.target(index)

    def target(self, index: int) -> Target:
        """Boxes of one picture, without the picture."""
        index = range(len(self))[index]
        rows = self._table[self._starts[index] : self._starts[index + 1]]
        return {
            "boxes": rows[:, :4].float(),
            "labels": rows[:, 4].clone(),
            "difficult": rows[:, 5].bool(),
            "image_id": self.ids[index],
        }

    def class_images(self, name: str, *, ignore: Sequence[Flag] = ("difficult", "truncated")) -> dict[int, Tensor]:
        """The set of pictures in which one class is to be localised.

        Args:
            name: the class.
            ignore: leave out pictures in which every object of the class is difficult or truncated; () takes all.

        Returns:
            For the index of every such picture, in order, the boxes ``(n, 4)`` of the class in it: all of them, since a
            box around a truncated object is right, too.

        Raises:
            ValueError: an unknown class or flag.

        Reference:
            Thesis, section 4.4: on the list ``"trainval"`` of 2007.
        """
        owner = "VOCDetection.class_images"
        label = 1 + VOC_CLASSES.index(check_choice(name, "name", owner, VOC_CLASSES))
        flags = [_FLAGS[check_choice(flag, "ignore", owner, tuple(_FLAGS))] for flag in ignore]
        own = self._table[:, 4] == label
        clear = own & ~self._table[:, flags].bool().any(1)
        pictures = torch.repeat_interleave(torch.tensor(self._starts).diff())  # of every row
        found = pictures[clear].unique().tolist()
        return {index: self._table[own & (pictures == index), :4].float() for index in found}

    def _check_pictures(self) -> None:
        folder = self.folder / "JPEGImages"
        present = {path.stem for path in folder.glob("*.jpg")}
        missing = [name for name in self.ids if name not in present]
        if missing:
            raise DatasetNotFoundError(
                f"{len(missing)} of {len(self.ids)} pictures of VOC{self.year} {self.image_set} are not in"
                f" {str(folder)!r}, among them '{missing[0]}.jpg'. Unpack the archive again."
            )
