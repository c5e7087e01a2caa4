"""Writes a small PASCAL-Part of toy scenes: pictures of VOC2010, and .mat files with the types of real ones."""

import numpy as np
from PIL import Image
from scipy.io import savemat

from lightning_interp.datasets import ToyScenes
from tests.data.voc import name

CLASSES = {  # toy class: class in the file, {toy part: part in the file}
    "bird": ("bird", {"body": "torso", "wing": "lwing", "head": "head", "beak": "beak", "eye": "leye"}),
    "boat": ("boat", {}),
    "butterfly": ("aeroplane", {"body": "body", "wing": "lwing", "antenna": "engine_1"}),
    "car": ("car", {"window": "window_1", "wheel": "wheel_1", "cabin": "roofside"}),
    "cat": ("cat", {"head": "head", "ear": "lear", "eye": "leye", "nose": "nose"}),
    "fish": ("cow", {"head": "head", "body": "torso", "tail": "tail", "fin": "lfuleg"}),
    "flower": ("pottedplant", {"petal": "plant", "stem": "pot"}),
    "house": ("chair", {}),
    "mushroom": ("table", {}),
    "rocket": ("bottle", {"nose": "cap", "body": "body"}),
    "tree": ("sofa", {}),
    "truck": ("bus", {"wheel": "wheel_1", "window": "window_1", "cargo": "rightside"}),
}
INSIDE = {"cat": "head", "bird": "head"}  # whose mask contains those of eyes and the like
DETAILS = ("eye", "nose", "ear", "beak", "muzzle")
_PART = [("part_name", "O"), ("mask", "O")]
_OBJECT = [("class", "O"), ("class_ind", "O"), ("mask", "O"), ("parts", "O")]


def write(root, *, lists=None, size=64):
    """Writes ``root/VOCdevkit/VOC2010`` and ``root/Annotations_Part``; odd pictures show two objects side by side.

    One cat comes without parts. Wheels are cut in two numbered parts. Returns
    ``{id: [(class, mask, [(part, mask)])]}`` as in the files.
    """
    lists = lists or {"train": 12, "val": 12}
    kit, n = root / "VOCdevkit" / "VOC2010", sum(lists.values())
    for folder in (kit / "JPEGImages", kit / "ImageSets" / "Main", root / "Annotations_Part"):
        folder.mkdir(parents=True)
    scenes, truth = ToyScenes(2 * n, size=size), {}
    for i in range(n):
        members = [i, i + n] if i % 2 else [i]
        picture = np.concatenate(list(scenes.render(members).numpy()), axis=2).transpose(1, 2, 0)
        Image.fromarray(picture).save(kit / "JPEGImages" / f"{name(i, 2010)}.jpg", quality=95)
        sides = (picture.shape[:2], size)
        truth[name(i, 2010)] = [_object(scenes.truth(j), k, sides, bare=j % 24 == 4) for k, j in enumerate(members)]
    ids = iter(truth)
    for image_set, count in lists.items():
        rows = [next(ids) for _ in range(count)]
        (kit / "ImageSets" / "Main" / f"{image_set}.txt").write_text("".join(f"{row}\n" for row in rows))
    (kit / "ImageSets" / "Main" / "trainval.txt").write_text("".join(f"{row}\n" for row in truth))
    for id_, objects in truth.items():
        save(root / "Annotations_Part" / f"{id_}.mat", objects)
    return truth


def save(file, objects):
    """Writes ``[(class, mask, [(part, mask)])]``: one compressed structure, (0, 0) where there are no parts."""
    packed = np.empty((1, len(objects)), dtype=_OBJECT)
    for k, (label, mask, parts) in enumerate(objects):
        inner = np.empty((1, len(parts)) if parts else (0, 0), dtype=_PART)
        for j, (part, part_mask) in enumerate(parts):
            inner[0, j] = (part, part_mask.astype(np.uint8))
        packed[0, k] = (label, np.array([[1 + k]], np.uint8), mask.astype(np.uint8), inner)
    anno = np.empty((1, 1), dtype=[("imname", "O"), ("objects", "O")])
    anno[0, 0] = (file.stem, packed)
    savemat(file, {"anno": anno}, do_compression=True)


def _object(truth, k, sides, *, bare):
    (shape, size), toy = sides, ToyScenes.classes[truth.label]

    def placed(mask):
        full = np.zeros(shape, bool)
        full[:, k * size : k * size + size] = mask.numpy()
        return full

    label, called = CLASSES[toy]
    masks = {part: placed(mask) for part, mask in truth.part_masks.items()}
    if toy in INSIDE and INSIDE[toy] in masks:
        masks[INSIDE[toy]] = np.any([mask for part, mask in masks.items() if part in (INSIDE[toy], *DETAILS)], axis=0)
    parts = [] if bare else [(called[part], mask) for part, mask in masks.items() if part in called]
    return label, placed(truth.object_mask), [piece for part in parts for piece in _halves(*part)]


def _halves(part, mask):
    """A part with a number as two: its left half and its right half."""
    if not part.endswith("_1"):
        return [(part, mask)]
    columns = np.flatnonzero(mask.any(0))
    left = np.arange(mask.shape[1]) <= columns.mean()
    return [(part, mask & left), (f"{part[:-1]}2", mask & ~left)]
