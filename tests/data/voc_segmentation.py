"""Adds segmentations to a folder that ``tests.data.voc`` wrote, of the same toy scenes: palette PNG, void borders."""

import numpy as np
from PIL import Image
from scipy.ndimage import binary_dilation, binary_erosion

from lightning_interp.datasets import ToyScenes
from lightning_interp.datasets.voc_files import VOC_CLASSES
from tests.data import voc

VOID = 255


def palette():
    """The colours of VOC: three bits of the index at a time go to one bit of red, green and blue, from the top."""
    colors = np.zeros((256, 3), np.uint8)
    for i in range(256):
        for bit in range(8):
            for channel in range(3):
                colors[i, channel] |= (i >> (3 * bit + channel) & 1) << (7 - bit)
    return colors


def write(root, *, year=2012, lists=None, size=64, mode="P"):
    """Writes pictures, annotations, lists and masks; returns ``{id: (classes, instances)}``, arrays with 255 for void.

    ``mode="L"`` leaves the palette out, as some redistributions do.
    """
    lists = lists or {"train": 6, "val": 4}
    ids = list(voc.write(root, year=year, lists=lists, size=size))
    kit = root / ("TrainVal" if year == 2011 else ".") / "VOCdevkit" / f"VOC{year}"
    (kit / "ImageSets" / "Segmentation").mkdir()
    for image_set in lists:
        text = (kit / "ImageSets" / "Main" / f"{image_set}.txt").read_text()
        (kit / "ImageSets" / "Segmentation" / f"{image_set}.txt").write_text(text)
    scenes, truth = ToyScenes(2 * len(ids), size=size), {}
    for i, id_ in enumerate(ids):
        members = [scenes.truth(j) for j in ([i, i + len(ids)] if i % 2 else [i])]
        classes = [1 + VOC_CLASSES.index(voc.CLASSES[ToyScenes.classes[each.label]]) for each in members]
        truth[id_] = tuple(
            np.concatenate([_mask(each, value) for each, value in zip(members, values, strict=True)], axis=1)
            for values in (classes, range(1, 1 + len(members)))
        )
        for kind, mask in zip(("Class", "Object"), truth[id_], strict=True):
            save(kit / f"Segmentation{kind}" / f"{id_}.png", mask, mode=mode)
    return truth


def save(file, mask, *, mode="P"):
    """Writes an array of numbers, with the palette of VOC unless ``mode`` is ``"L"``."""
    file.parent.mkdir(exist_ok=True)
    image = Image.fromarray(mask.astype(np.uint8))
    if mode == "P":
        image.putpalette(palette().ravel().tolist())
    image.save(file)


def _mask(truth, value):
    inside = truth.object_mask.numpy()
    return np.where(binary_dilation(inside) & ~binary_erosion(inside), VOID, inside * value).astype(np.uint8)
