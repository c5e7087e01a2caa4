"""Writes a small Broden of toy scenes, as NetDissect's joinseg.py does: CRLF, sorted by md5, numbers over 255."""

import csv
import hashlib
import shutil

import numpy as np
from PIL import Image

from lightning_interp.datasets import ToyScenes

CATEGORIES = ("color", "object", "part", "material", "scene", "texture")
ANNOTATED = {
    "ade20k": ("color", "object", "part", "scene"),
    "dtd": ("color", "texture"),
    "opensurfaces": ("color", "material"),
    "pascal": ("color", "object", "part"),
}
DETAILS = ("eye", "muzzle", "nose", "ear")  # drawn on heads
FILLERS = [f"thing, no. {i}" for i in range(300)]  # objects that these pictures lack; the comma needs quotes


def image_name(i):
    """Path of picture i, called as its source calls its own."""
    return {
        0: f"ade20k/ADE_train_{i:08d}.jpg", 1: f"dtd/striped_{i:04d}.jpg",
        2: f"opensurfaces/{25000 + i}.jpg", 3: f"pascal/2010_{i:06d}.jpg",
    }[i % 4]  # fmt: skip


def hashed(path):
    """What rows are sorted by, and split at 0.7."""
    return int.from_bytes(hashlib.md5(path.encode()).digest()[:8], "big") / 2**64


def write(root, *, n=16, size=64, name="broden1_224"):
    """Writes ``root/<name>``; returns ``{image: {category: names}}`` in the order of the index.

    ``names`` is an array of names ``(h, w)`` or ``(2, h, w)``, "unlabelled" elsewhere, or a list of names for the whole
    picture.
    """
    scenes, folder = ToyScenes(n, size=size), root / name
    truth = {image_name(i): _truth(scenes, i) for i in range(n)}
    truth = {image: truth[image] for image in sorted(truth, key=hashed)}
    counts = _counts(truth)
    labels = FILLERS + sorted({label for of in counts.values() for label in of} - set(FILLERS))
    numbers = {label: 1 + i for i, label in enumerate(labels)}
    for source in ANNOTATED:
        (folder / "images" / source).mkdir(parents=True)
    for i in range(n):
        picture = Image.fromarray(scenes.render([i])[0].permute(1, 2, 0).numpy())
        picture.save(folder / "images" / image_name(i), quality=95)
    rows = [
        [image, "train" if hashed(image) <= 0.7 else "val", size, size, size // 2, size // 2]
        + [_field(folder, image, category, targets, numbers) for category in CATEGORIES]
        for image, targets in truth.items()
    ]
    _table(folder / "index.csv", ["image", "split", "ih", "iw", "sh", "sw", *CATEGORIES], rows)
    _write_labels(folder, labels, counts)
    for other in ("README.txt", "syns.txt"):
        (folder / other).write_text("not read\n")
    return truth


def pack(root, name="broden1_224"):
    """Packs ``root/<name>`` like the official archive, removes the folder and returns the md5 of the archive."""
    archive = shutil.make_archive(root / name, "zip", root, name)
    shutil.rmtree(root / name)
    with open(archive, "rb") as stream:
        return hashlib.md5(stream.read()).hexdigest()


def _truth(scenes, i):
    truth, source = scenes.truth(i), image_name(i).split("/")[0]
    part, color, texture = (_names(each, kind, scenes) for each, kind in (
        (truth.part_map, "part"), (truth.color_map, "color"), (truth.texture_map, "texture"),
    ))  # fmt: skip
    detail = np.where(np.isin(part, DETAILS), part, "unlabelled")
    patterns = [str(name) for name in np.unique(texture) if name not in ("unlabelled", "plain")]
    targets = {
        "color": np.where(color == "unlabelled", color, np.char.add(color, "-c")),
        "object": np.where(part == "unlabelled", part, scenes.classes[truth.label]),
        "part": part if source == "pascal" else np.stack([np.where(np.isin(part, DETAILS), "head", part), detail]),
        "material": np.where(texture == "plain", "unlabelled", texture),
        "scene": [f"{scenes.scenes[truth.scene]}-s"],
        "texture": patterns or ["plain"],
    }
    return {category: targets[category] for category in ANNOTATED[source]}


def _names(values, category, scenes):
    return np.array(scenes.concepts[category])[values[::2, ::2].numpy()]


def _counts(truth):
    """Pictures with each label, by category."""
    counts = {category: {} for category in CATEGORIES}
    counts["object"].update(dict.fromkeys(FILLERS, 10))
    for targets in truth.values():
        for category, names in targets.items():
            for label in {str(name) for name in np.unique(names)} - {"unlabelled"}:
                counts[category][label] = counts[category].get(label, 0) + 1
    return counts


def _field(folder, image, category, targets, numbers):
    names = targets.get(category, [])
    if isinstance(names, list):
        return ";".join(str(numbers[name]) for name in names)
    layers, base = names if names.ndim == 3 else names[None], image.removesuffix(".jpg")
    files = [f"{base}_{category}{f'_{k}' if names.ndim == 3 else ''}.png" for k in range(1, len(layers) + 1)]
    for file, layer in zip(files, layers, strict=True):
        write_mask(folder / "images" / file, np.vectorize(lambda name: numbers.get(name, 0))(layer))
    return ";".join(files)


def write_mask(file, values):
    """Numbers of labels as red + 256 * green."""
    rgb = np.stack([values % 256, values // 256, np.zeros_like(values)], -1).astype(np.uint8)
    Image.fromarray(rgb).save(file)


def _write_labels(folder, labels, counts):
    rows = []
    for number, label in enumerate(labels, start=1):
        found = sorted(((of[label], category) for category, of in counts.items() if label in of), reverse=True)
        total, where = sum(n for n, _ in found), ";".join(f"{category}({n})" for n, category in found)
        rows.append([number, label, where, total, f"{total / 7:f}", "cloth;tissue" if label == "striped" else ""])
    _table(folder / "label.csv", ["number", "name", "category", "frequency", "coverage", "syns"], rows)
    categories = []
    for category, of in counts.items():
        order = sorted(of, key=lambda label, of=of: (-of[label], labels.index(label)))
        numbers = [1 + labels.index(label) for label in order]
        dense = [[code, 1 + labels.index(label), label, of[label], of[label] * 1e-5]
                 for code, label in enumerate(order, start=1)]  # fmt: skip
        _table(folder / f"c_{category}.csv", ["code", "number", "name", "frequency", "coverage"], dense)
        categories.append([category, min(numbers), max(numbers), len(of), sum(of.values())])
    _table(folder / "category.csv", ["name", "first", "last", "count", "frequency"], categories)


def _table(file, header, rows):
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])
