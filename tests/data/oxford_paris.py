"""Writes small Oxford5k, Paris6k, ROxford and RParis folders of toy scenes: one class of things for each landmark."""

import pickle
import tarfile
from functools import cache

import numpy as np
from PIL import Image

from lightning_interp.datasets import ToyScenes
from lightning_interp.datasets.oxford_paris_files import LANDMARKS, ORIGINALS, PARIS_CORRUPT

SIZE = (40, 48)  # height and width
N = 5  # pictures of each landmark: 0 and 1 are good, 2 is ok, 3 is junk, 4 is nothing to the queries
GENERAL = {"oxford5k": "oxford", "paris6k": "paris_general"}  # pictures of no landmark


def tag(landmark, name):
    return landmark if ORIGINALS[name] == "oxford5k" else f"paris_{landmark}"


def picture_name(landmark, number, name):
    return f"{tag(landmark, name)}_{number:06d}"


def write(root, name="oxford5k", *, protocol=2):
    """Writes pictures and ground truth under ``root``; returns ``{query: (name, box, {grade: names})}``."""
    return write_revisited(root, name, protocol=protocol) if name[0] == "r" else write_original(root, name)


def write_original(root, name):
    """Five queries for each landmark, from its first three pictures; the text files are like the official ones."""
    pictures, texts = {"oxford5k": ("oxbuild_images", "gt_files_170407"), "paris6k": ("paris", "paris_120310")}[name]
    write_pictures(root / pictures, name, by_landmark=name == "paris6k")
    (root / texts).mkdir()
    truth = {}
    for landmark in LANDMARKS[name]:
        names = [picture_name(landmark, i, name) for i in range(N)]
        grades = {"good": names[:2], "ok": names[2:3], "junk": names[3:4]}
        for i in range(5):
            query, box = f"{landmark}_{i + 1}", object_box(landmark, i % 3, name)
            prefix = "oxc1_" if name == "oxford5k" else ""
            line = f"{prefix}{names[i % 3]} {' '.join(f'{value:g}' for value in box)}\n"
            (root / texts / f"{query}_query.txt").write_text(line)
            for grade, members in grades.items():
                again = members[:1] if (query, grade) == ("all_souls_1", "good") else []  # as in the real file
                (root / texts / f"{query}_{grade}.txt").write_text("".join(f"{each}\n" for each in again + members))
            truth[query] = (names[i % 3], box, grades)
    return truth


def write_revisited(root, name, *, protocol=2):
    """One query for each landmark, its fifth picture, which is no part of the database; lists and arrays by turns."""
    original = ORIGINALS[name]
    write_pictures(root / name / "jpg", original)
    imlist = [picture_name(landmark, i, name) for i in range(N - 1) for landmark in LANDMARKS[original]]
    qimlist, gnd, truth = [], [], {}
    for n, landmark in enumerate(LANDMARKS[original]):
        names = [picture_name(landmark, i, name) for i in range(N)]
        grades = {"easy": names[:1], "hard": [] if n == 0 else names[1:3], "junk": names[3:4]}
        box = object_box(landmark, 4, name)
        rows = {grade: [imlist.index(each) for each in members] for grade, members in grades.items()}
        item = {"bbx": list(box), **rows}
        gnd.append({key: np.array(value) for key, value in item.items()} if n % 2 == 0 else item)
        qimlist.append(names[4])
        truth[landmark] = (names[4], box, grades)
    content = {"imlist": imlist, "qimlist": qimlist, "gnd": gnd}
    (root / name / f"gnd_{name}.pkl").write_bytes(pickle.dumps(content, protocol))
    return truth


def write_pictures(folder, name, *, by_landmark=False):
    """Toy scenes of 48 x 40 pixels; where pictures of Paris are corrupt, web pages."""
    folder.mkdir(parents=True)
    for label, landmark in enumerate((*LANDMARKS[name], GENERAL[name])):
        inner = folder / (landmark if label < 11 else "general") if by_landmark else folder
        inner.mkdir(exist_ok=True)
        for i in range(N):
            stem = picture_name(landmark, i, name) if label < 11 else f"{landmark}_{i:06d}"
            Image.fromarray(scenes()[1][12 * i + label]).save(inner / f"{stem}.jpg", quality=95)
        (inner / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
        for stem in PARIS_CORRUPT if by_landmark else ():
            if stem.startswith(f"paris_{landmark}_"):
                (inner / f"{stem}.jpg").write_text("<html>302 Found</html>")


@cache
def scenes():
    """Toy scenes, one class after the other, and their pixels ``(n, height, width, 3)``."""
    drawn = ToyScenes(12 * N, size=SIZE[1])
    return drawn, drawn.render(range(12 * N)).permute(0, 2, 3, 1).numpy()[:, : SIZE[0]]


def object_box(landmark, number, name):
    """The thing in a picture, with fractions as in the text files."""
    label = LANDMARKS[ORIGINALS[name]].index(landmark)
    left, top, right, bottom = scenes()[0].truth(12 * number + label).object_box
    return float(left), top + 0.5, float(right), float(min(bottom, SIZE[0]))


def pack(folder, archive, *, inside=""):
    """Packs the files of ``folder``, under the folder ``inside`` of the archive."""
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, f"{inside}{path.name}")
