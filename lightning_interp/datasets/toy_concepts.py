"""Toy scenes as a concept dataset: the image, and every concept every pixel shows."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_interp._checks import message
from lightning_interp.datasets.toy_render import Frames
from lightning_interp.datasets.toy_scenes import ToyScenes


class ToyConcepts(Dataset[tuple[Any, dict[str, Any]]]):
    """A view on ``ToyScenes`` that yields ``(image, {category: target})`` for dissection.

    Targets of ``color``, ``object``, ``part`` and ``texture`` are LongTensor masks ``(h, w)``, that of ``scene`` is an
    int for the whole image; values index ``concepts[category]``, whose entry 0 is "unlabelled".

    Args:
        scenes: the toy scenes; their ``transform`` is not used.
        transform: applied to the image, a float tensor ``(3, h, w)`` in [0, 1].

    Raises:
        TypeError: ``scenes`` is something else.

    Reference:
        Bau et al., Network Dissection, CVPR 2017: the layout of Broden.

    >>> image, targets = ToyConcepts(ToyScenes(10))[0]
    >>> sorted(targets), ToyScenes.concepts["scene"][targets["scene"]]
    (['color', 'object', 'part', 'scene', 'texture'], 'field')
    """

    def __init__(self, scenes: ToyScenes, *, transform: Callable[[Tensor], Any] | None = None) -> None:
        if not isinstance(scenes, ToyScenes):
            raise TypeError(message("scenes", "ToyConcepts", "a ToyScenes dataset", scenes))
        self.scenes = scenes
        self.transform = transform
        self.concepts = scenes.concepts

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> tuple[Any, dict[str, Any]]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, dict[str, Any]]]:
        labels = self.scenes.targets[torch.as_tensor(indices, dtype=torch.long)]
        items: Iterator[tuple[Tensor, dict[str, Any]]] = (
            item for frames in self.scenes.frames(indices) for item in _unpack(frames)
        )
        return [
            (self.transform(image) if self.transform else image, _with_object(targets, int(label)))
            for (image, targets), label in zip(items, labels, strict=True)
        ]


def _unpack(frames: Frames) -> Iterator[tuple[Tensor, dict[str, Any]]]:
    images = torch.from_numpy(frames.images).float().div_(255)
    color, part, texture = (torch.from_numpy(plane).long() for plane in (frames.color, frames.part, frames.texture))
    for i, image in enumerate(images):
        yield image, {"color": color[i], "part": part[i], "texture": texture[i], "scene": 1 + int(frames.scene[i])}


def _with_object(targets: dict[str, Any], label: int) -> dict[str, Any]:
    return {**targets, "object": (targets["part"] > 0) * (label + 1)}
