"""Writes a small iCoseg of toy scenes: one class per group, pictures of several sizes, masks in every form there is."""

import zipfile

import numpy as np
from PIL import Image

from lightning_interp.datasets import ToyScenes

GROUPS = {  # folder: how many pictures
    "002 Alaskan Brown Bear-Eukaryote museums Milwaukee Zoo 2006-cmlburnett": 3,
    "017 Taj Mahal-Agra & Fatehpur (2.0)-jo.do": 2,
    "018 Taj Mahal-Inde du Nord 2004-mckaysavage": 4,
    "021 Elephants-safari June 2008-timd2000": 6,
    "036 Gymnastics-1-don't stop!": 2,
    "brown_bear": 2,
}


def write(root, groups=GROUPS, *, size=48):
    """Writes ``root/dataset_public``; returns ``{group: {file name: mask}}``, bool arrays, in the order of the names.

    Masks are by turns of one bit, of 0 and 255, and of 0 and 1. ``Thumbs.db`` and a hidden file of a Mac lie about.
    """
    base, truth = root / "dataset_public", {}
    scenes = ToyScenes(12 * max(groups.values()), size=size)
    for extra in ("image_download", "images_subset5_cvpr10"):
        (base / extra).mkdir(parents=True)
    (base / "readme.txt").write_text("iCoseg\n")
    for label, (group, n) in enumerate(groups.items()):
        folders = [base / kind / group for kind in ("images", "ground_truth")]
        for folder in folders:
            folder.mkdir(parents=True)
            (folder / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
        (folders[0] / "._2909969000_2a0d4538d6.jpg").write_bytes(b"\0\5\26\7")
        (base / "images" / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
        truth[group] = {f"{2909969000 + i}_2a0d4538d{i}": _pair(scenes, 12 * i + label, i) for i in range(n)}
        for i, (stem, (picture, mask)) in enumerate(truth[group].items()):
            Image.fromarray(picture).save(folders[0] / f"{stem}.jpg", quality=95)
            save(folders[1] / f"{stem}.png", mask, form=("1", "255", "01")[i % 3])
        truth[group] = {f"{stem}.jpg": mask for stem, (_, mask) in truth[group].items()}
    return truth


def save(file, mask, *, form="255"):
    """Writes a bool array of one bit (``"1"``), of 0 and 255, or of 0 and 1 (``"01"``)."""
    image = Image.fromarray((mask * (1 if form == "01" else 255)).astype(np.uint8))
    (image.convert("1") if form == "1" else image).save(file)


def pack(folder, archive):
    """Packs what ``write`` wrote like the official archive."""
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted(folder.rglob("*")):
            packed.write(path, path.relative_to(folder))


def _pair(scenes, index, i):
    """Picture and mask; every second is narrow and every third is low."""
    rows, columns = slice(0, 48 - 8 * (i % 3 == 2)), slice(4 * (i % 2), 48)
    picture = scenes.render([index])[0].permute(1, 2, 0).numpy()
    return picture[rows, columns], scenes.truth(index).object_mask.numpy()[rows, columns]
