"""PASCAL-Part: pictures of PASCAL VOC 2010 with their objects and the parts of those, as a concept dataset."""

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from torch import Tensor
from torch.utils.data import Dataset

from lightning_interp._checks import check_choice, message, suggestion
from lightning_interp.datasets.concept_files import (
    check_files,
    check_shape,
    checked_size,
    cut_to_centre,
    read_picture,
)
from lightning_interp.datasets.concepts import UNLABELLED, stack_masks
from lightning_interp.datasets.folder_images import Size
from lightning_interp.datasets.pascal_part_files import (
    PART_NAMES,
    PartObject,
    find_annotations,
    read_part_objects,
    unnumbered,
)
from lightning_interp.datasets.voc_files import VOC_CLASSES, find_voc, read_ids

Groups = Mapping[str, Sequence[str]]


class PascalPart(Dataset[tuple[Any, dict[str, Any]]]):
    """Pictures with masks of their objects and of the parts of those: yields ``(image, {"object": ..., "part": ...})``.

    Parts are called ``"dog/head"``, by the names in the files: l and r are the animal's own sides, and ``rear`` is the
    right ear. A head contains its eyes: where concepts overlap the target is a stack ``(L, h, w)``, else it is a mask
    ``(h, w)``. Boat, chair, diningtable and sofa have no parts, only a silhouette; a picture in which no object has
    parts is not annotated with ``"part"``. The pictures of one class, as the thesis takes them, have the indices that
    ``VOCDetection(root, year=2010, image_set=image_set).class_images(name)`` gives.

    Args:
        root: holds ``VOCdevkit/VOC2010`` and the folder ``Annotations_Part`` of the official archive.
        image_set: ``"train"``, ``"val"`` or ``"trainval"`` of VOC 2010.
        categories: ``"object"``, ``"part"`` or both.
        groups: parts of one's own, instead of the official ones, each a list of official parts: ``"dog/head"``,
            ``"head"`` (of any class), or a pattern such as ``"cow/*leg"``. A part may be in several groups.
        numbered: keep parts such as ``"car/wheel_1"`` and ``"car/wheel_2"`` apart; they are all ``"car/wheel"`` else.
        size: side, or height and width: the picture is scaled to cover it and its centre is kept; the masks are cut to
            the same centre, not scaled. None leaves both as they are, of every size.
        transform: applied to the image, a float tensor ``(3, h, w)`` in [0, 1]; it must not move pixels.

    Attributes:
        concepts: names by category, entry 0 is "unlabelled".
        ids: names of the pictures, in the order of the list.

    Raises:
        DatasetNotFoundError: the list, a picture or an annotation is missing, or, when it is met, damaged.
        ValueError: an option out of range, a group of a part that there is not.

    Reference:
        Chen et al., Detect what you can: detecting and representing objects using holistic models and body parts, CVPR
        2014. Thesis, section 4.4.2.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        image_set: Literal["train", "val", "trainval"] = "trainval",
        categories: Sequence[Literal["object", "part"]] = ("object", "part"),
        groups: Groups | None = None,
        numbered: bool = False,
        size: int | Size | None = None,
        transform: Callable[[Tensor], Any] | None = None,
    ) -> None:
        owner = "PascalPart"
        check_choice(image_set, "image_set", owner, ("train", "val", "trainval"))
        self.categories = [check_choice(category, "categories", owner, ("object", "part")) for category in categories]
        self.size, self.transform = checked_size(size, owner), transform
        names, self._values = _vocabulary(groups, numbered=numbered)
        concepts = {"object": [UNLABELLED, *VOC_CLASSES], "part": [UNLABELLED, *names]}
        self.concepts = {category: concepts[category] for category in self.categories}
        self.folder, self.annotations = find_voc(root, 2010), find_annotations(root)
        self.ids = read_ids(self.folder / "ImageSets" / "Main" / f"{image_set}.txt")
        check_files([self._picture(name) for name in self.ids], "pictures")
        check_files([self._annotation(name) for name in self.ids], "annotations")

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[Any, dict[str, Any]]:
        name = self.ids[index]
        image, size = read_picture(self._picture(name), size=self.size)
        objects = self.objects(index)
        for each in objects:
            check_shape(self._annotation(name), each.mask.shape, size, "its picture has")
        targets = {}
        if "object" in self.categories:
            masks = [(1 + VOC_CLASSES.index(each.name), each.mask) for each in objects]
            targets["object"] = stack_masks(masks, shape=size)
        if "part" in self.categories and any(each.parts for each in objects):
            masks = [(v, mask) for each in objects for part, mask in each.parts for v in self._values[part]]
            targets["part"] = stack_masks(masks, shape=size)
        targets = {category: cut_to_centre(target, size=self.size) for category, target in targets.items()}
        return self.transform(image) if self.transform else image, targets

    def objects(self, index: int) -> list[PartObject]:
        """The objects of one picture with their parts, each with masks ``(h, w)`` over the whole picture.

        Args:
            index: of the picture.

        Raises:
            DatasetNotFoundError: the annotation is damaged.
        """
        return read_part_objects(self._annotation(self.ids[index]))

    def _picture(self, name: str) -> Path:
        return self.folder / "JPEGImages" / f"{name}.jpg"

    def _annotation(self, name: str) -> Path:
        return self.annotations / f"{name}.mat"


def _vocabulary(groups: Groups | None, *, numbered: bool) -> tuple[list[str], dict[str, list[int]]]:
    """Names of the concepts, and for every official part the values of those it belongs to."""
    if groups is None:
        called = {part: part if numbered else unnumbered(part) for part in PART_NAMES}
        names = list(dict.fromkeys(called.values()))
        return names, {part: [1 + names.index(name)] for part, name in called.items()}
    if numbered:
        raise ValueError(message("numbered", "PascalPart", "False when `groups` are given", numbered))
    members = {name: {part for pattern in patterns for part in _matching(pattern)} for name, patterns in groups.items()}
    return list(groups), {
        part: [value for value, parts in enumerate(members.values(), start=1) if part in parts] for part in PART_NAMES
    }


def _matching(pattern: str) -> list[str]:
    """Official parts that a pattern means, numbered ones by their name without the number."""
    full = pattern if "/" in pattern else f"*/{pattern}"
    found = [part for part in PART_NAMES if fnmatchcase(unnumbered(part), full)]
    if not found:
        known = {unnumbered(part) for part in PART_NAMES}
        close = suggestion(pattern, known if "/" in pattern else {part.split("/")[1] for part in known})
        must = "lists of parts of PASCAL-Part such as 'dog/head', 'head' or 'cow/*leg'"
        raise ValueError(message("groups", "PascalPart", must, pattern) + close)
    return found
