"""Toy scenes: a generated picture world in which everything about every pixel is known."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_interp._checks import check_choice, check_int, message
from lightning_interp.datasets.toy_backdrops import SCENES
from lightning_interp.datasets.toy_paint import COLORS, TEXTURES
from lightning_interp.datasets.toy_render import CLASSES, PARTS, Frames, draw_frames

Box = tuple[int, int, int, int]
_STREAMS = {"train": 0, "test": 2}


@dataclass(frozen=True)
class SceneTruth:
    """Everything about one toy scene. In the maps 0 is unlabelled; names are in ``ToyScenes.concepts``.

    Attributes:
        label: index into ``ToyScenes.classes``.
        instance: the same number is the same object (shape, colours, textures) in another pose and place.
        scene: index into ``ToyScenes.scenes``.
        object_mask: bool, ``(h, w)``: the visible object.
        part_map: LongTensor ``(h, w)``: index into ``concepts["part"]``.
        color_map: LongTensor ``(h, w)``: index into ``concepts["color"]``, backdrop included.
        texture_map: LongTensor ``(h, w)``: index into ``concepts["texture"]``, backdrop included.
        object_box: left, top, right, bottom of the visible object in pixels, right and bottom exclusive.
        part_boxes: the same for every visible part, by name; one box encloses all wheels of a car.
    """

    label: int
    instance: int
    scene: int
    object_mask: Tensor
    part_map: Tensor
    color_map: Tensor
    texture_map: Tensor
    object_box: Box
    part_boxes: dict[str, Box]

    @property
    def part_masks(self) -> dict[str, Tensor]:
        """Bool mask ``(h, w)`` of every visible part, by name."""
        return {name: self.part_map == 1 + PARTS.index(name) for name in self.part_boxes}


class ToyScenes(Dataset[tuple[Any, int]]):
    """Generated pictures of twelve object classes made of named parts, in five scenes.

    Colour, texture, place, size, pose, backdrop and clutter vary independently of the class. Image ``i`` depends on
    ``(seed, split, i)`` alone - not on ``n``, the order of access, the worker or the machine - and on ``size`` only in
    its resolution. Labels go round (``i % 12``); every object appears ``views`` times. Drawing many images at once
    (``__getitems__``, which DataLoader uses, or ``render``) is several times faster than one by one.

    Args:
        n: number of images.
        size: side, or height and width, in pixels; 32 and more are readable.
        seed: another seed, another world.
        split: ``"train"`` or ``"test"``: no image and no object in common.
        views: images of every object.
        transform: applied to the image, a float tensor ``(3, h, w)`` in [0, 1].

    Raises:
        ValueError: ``n``, ``size``, ``seed``, ``split`` or ``views`` out of range.
        TypeError: a number that is not an int.

    >>> scenes = ToyScenes(100, size=32)
    >>> image, label = scenes[7]
    >>> image.shape, scenes.classes[label], sorted(scenes.truth(7).part_boxes)
    (torch.Size([3, 32, 32]), 'house', ['door', 'roof', 'wall', 'window'])
    """

    classes: ClassVar[list[str]] = list(CLASSES)
    parts: ClassVar[list[str]] = list(PARTS)
    colors: ClassVar[list[str]] = list(COLORS)
    textures: ClassVar[list[str]] = list(TEXTURES)
    scenes: ClassVar[list[str]] = list(SCENES)
    concepts: ClassVar[dict[str, list[str]]] = {
        "color": ["unlabelled", *COLORS],
        "object": ["unlabelled", *CLASSES],
        "part": ["unlabelled", *PARTS],
        "texture": ["unlabelled", *TEXTURES],
        "scene": ["unlabelled", *SCENES],
    }

    def __init__(
        self,
        n: int,
        *,
        size: int | tuple[int, int] = 32,
        seed: int = 0,
        split: Literal["train", "test"] = "train",
        views: int = 2,
        transform: Callable[[Tensor], Any] | None = None,
    ) -> None:
        self.n = check_int(n, "n", "ToyScenes")
        self.size = _checked_size(size)
        self.seed = check_int(seed, "seed", "ToyScenes", low=0, high=2**63 - 1)
        self.split = check_choice(split, "split", "ToyScenes", tuple(_STREAMS))
        self.views = check_int(views, "views", "ToyScenes")
        self.transform = transform
        self.targets = torch.arange(n) % len(CLASSES)
        self.instances = torch.arange(n) // (len(CLASSES) * views) * len(CLASSES) + self.targets

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, int]]:
        images = self.render(indices).float().div_(255)
        labels = self.targets[self._rows(indices)].tolist()
        return [(self.transform(x) if self.transform else x, y) for x, y in zip(images, labels, strict=True)]

    def render(self, indices: Sequence[int] | None = None) -> Tensor:
        """Images as bytes, without ``transform``.

        Args:
            indices: which images; all when None.

        Returns:
            uint8 tensor ``(n, 3, h, w)``.
        """
        rows = range(self.n) if indices is None else indices
        return torch.from_numpy(np.concatenate([frames.images for frames in self.frames(rows)]))

    def truth(self, index: int) -> SceneTruth:
        """What image ``index`` shows, pixel by pixel."""
        (frames,), row = self.frames([index]), self._rows([index])[0]
        part, color, texture = (
            torch.from_numpy(plane[0]).long() for plane in (frames.part, frames.color, frames.texture)
        )
        visible = sorted(set(part[part > 0].tolist()))
        return SceneTruth(
            label=int(self.targets[row]),
            instance=int(self.instances[row]),
            scene=int(frames.scene[0]),
            object_mask=part > 0,
            part_map=part,
            color_map=color,
            texture_map=texture,
            object_box=_box(part > 0),
            part_boxes={PARTS[v - 1]: _box(part == v) for v in visible},
        )

    def frames(self, indices: Sequence[int]) -> Iterator[Frames]:
        """Images and maps of ``indices`` as arrays, chunk by chunk: for whole passes over the truth."""
        rows = self._rows(indices)
        labels, instances = self.targets[rows].numpy(), self.instances[rows].numpy()
        return draw_frames(rows.numpy(), labels, instances, size=self.size, seed=self.seed, stream=_STREAMS[self.split])

    def _rows(self, indices: Sequence[int]) -> Tensor:
        rows = torch.as_tensor(indices, dtype=torch.long)
        if len(rows) and not (-self.n <= int(rows.min()) and int(rows.max()) < self.n):
            raise IndexError(message("index", "ToyScenes", f"in [-{self.n}, {self.n - 1}]", indices))
        return rows % self.n


def _checked_size(size: Any) -> tuple[int, int]:
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2:
        raise ValueError(message("size", "ToyScenes", "an int or a pair (height, width)", size))
    height, width = (check_int(side, "size", "ToyScenes", low=8, high=4096) for side in sides)
    return height, width


def _box(mask: Tensor) -> Box:
    rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
