"""Writes small PASCAL VOC folders of toy scenes, in the byte format of 2007 or of 2012."""

import hashlib
import tarfile

import numpy as np
from PIL import Image

from lightning_interp.datasets import ToyScenes

CLASSES = {
    "bird": "bird", "boat": "boat", "butterfly": "aeroplane", "car": "car", "cat": "cat", "fish": "cow",
    "flower": "pottedplant", "house": "train", "mushroom": "chair", "rocket": "bottle", "tree": "sheep", "truck": "bus",
}  # fmt: skip


def name(i, year):
    return f"{i:06d}" if year == 2007 else f"{year}_{i:06d}"


def write(root, *, year=2007, lists=None, size=64, seed=0, first=0):
    """Writes ``root/VOCdevkit/VOC<year>``; picture i is one toy scene, or two side by side when i is odd.

    ``lists`` says how many pictures every list has, one after the other. The second object of every fifth pair is
    difficult. Returns ``{id: [(class, left, top, right, bottom, difficult)]}``, from 0 and half-open.
    """
    lists = lists or {"train": 6, "test": 4}
    kit = root / ("TrainVal" if year == 2011 else ".") / "VOCdevkit" / f"VOC{year}"
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (kit / folder).mkdir(parents=True, exist_ok=True)
    n = first + sum(lists.values())
    scenes, truth = ToyScenes(2 * n, size=size, seed=seed), {}
    for i in range(first, n):
        members = [i, i + n] if i % 2 else [i]
        picture = np.concatenate(list(scenes.render(members).numpy()), axis=2).transpose(1, 2, 0)
        objects = [_object(scenes.truth(j), k * size, difficult=k == 1 and i % 5 == 3) for k, j in enumerate(members)]
        Image.fromarray(picture).save(kit / "JPEGImages" / f"{name(i, year)}.jpg", quality=95)
        text = (_xml_2007 if year == 2007 else _xml_2012)(name(i, year), year, picture.shape, objects)
        (kit / "Annotations" / f"{name(i, year)}.xml").write_text(text)
        truth[name(i, year)] = [(*each[:5], each[5]) for each in objects]
    ids = iter(truth)
    for image_set, count in lists.items():
        rows = [next(ids) for _ in range(count)]
        (kit / "ImageSets" / "Main" / f"{image_set}.txt").write_text("".join(f"{row}\n" for row in rows))
    Image.new("RGB", (40, 30)).save(kit / "JPEGImages" / f"{name(999999, year)}.jpg")  # on no list
    return truth


def pack(root, archive):
    """Packs ``root`` like an official archive, removes what was packed and returns the md5."""
    with tarfile.open(archive, "w") as tar:
        for path in sorted(root.iterdir()):
            tar.add(path, path.name)
    return hashlib.md5(archive.read_bytes()).hexdigest()


def _object(truth, shift, *, difficult):
    left, top, right, bottom = truth.object_box
    label = CLASSES[ToyScenes.classes[truth.label]]
    parts = {part: (x0 + shift, y0, x1 + shift, y1) for part, (x0, y0, x1, y1) in truth.part_boxes.items()}
    return label, left + shift, top, right + shift, bottom, difficult, parts


def _xml_2007(id_, year, shape, objects):
    """No declaration, tabs, flags before the box, parts inside of objects, names of owners."""
    rows = []
    for label, *box, difficult, parts in objects:
        rows += ["\t<object>", f"\t\t<name>{label}</name>", "\t\t<pose>Unspecified</pose>"]
        rows += ["\t\t<truncated>0</truncated>", f"\t\t<difficult>{int(difficult)}</difficult>", *_box(box, "\t\t")]
        for part in ("head",) if "head" in parts else ():
            rows += ["\t\t<part>", f"\t\t\t<name>{part}</name>", *_box(parts[part], "\t\t\t"), "\t\t</part>"]
        rows.append("\t</object>")
    return f"""<annotation>
	<folder>VOC{year}</folder>
	<filename>{id_}.jpg</filename>
	<source>
		<database>The VOC{year} Database</database>
		<annotation>PASCAL VOC{year}</annotation>
		<image>flickr</image>
		<flickrid>341012865</flickrid>
	</source>
	<owner>
		<flickrid>Fried Camels</flickrid>
		<name>Jinky the Fruit Bat</name>
	</owner>
	<size>
		<width>{shape[1]}</width>
		<height>{shape[0]}</height>
		<depth>{shape[2]}</depth>
	</size>
	<segmented>0</segmented>
{chr(10).join(rows)}
</annotation>
"""


def _box(box, indent):
    left, top, right, bottom = box
    values = {"xmin": left + 1, "ymin": top + 1, "xmax": right, "ymax": bottom}
    rows = [f"{indent}\t<{tag}>{value}</{tag}>" for tag, value in values.items()]
    return [f"{indent}<bndbox>", *rows, f"{indent}</bndbox>"]


def _xml_2012(id_, year, shape, objects):
    """Tags in alphabetical order, fractions in some boxes, flags missing where they are 0."""
    rows = []
    for k, (label, left, top, right, bottom, difficult, _) in enumerate(objects):
        fraction = ".1916" if k else ""
        rows.append(
            f"<object><bndbox><xmax>{right}{fraction}</xmax><xmin>{left + 1}{fraction}</xmin><ymax>{bottom}</ymax>"
            f"<ymin>{top + 1}</ymin></bndbox>{'<difficult>1</difficult>' if difficult else ''}<name>{label}</name>"
            "</object>"
        )
    return f"""<annotation>
	<filename>2008_000008.jpg</filename>
	<folder>VOC{year}</folder>
	{"".join(rows)}
	<segmented>0</segmented>
	<size><depth>{shape[2]}</depth><height>{shape[0]}</height><width>{shape[1]}</width></size>
	<source><annotation>PASCAL VOC{year}</annotation><database>The VOC{year} Database</database></source>
</annotation>
"""
