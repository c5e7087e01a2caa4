"""Writes a small ImageNet: class folders as torchvision leaves them, or the official archives."""

import hashlib
import io
import tarfile

import numpy as np
import torch
from PIL import Image
from scipy.io import savemat

# sorted; in the development kit they come in another order
NAMES = {
    "n01440764": ("tench", "Tinca tinca"),
    "n01443537": ("goldfish", "Carassius auratus"),
    "n02012849": ("crane",),
    "n03126707": ("crane",),
}


def picture(label, i, *, kind="JPEG", mode="RGB", size=(90, 60)):
    """Bytes of a picture of one colour: the class in red, the number in green."""
    stream = io.BytesIO()
    Image.new("RGB", size, (60 * label, 20 * i, 128)).convert(mode).save(stream, kind)
    return stream.getvalue()


def write(root, *, n=6, meta=True):
    """Writes ``n`` pictures per class to ``root/train`` and ``n // 2`` to ``root/val``; some are CMYK or really PNG."""
    for split, count in (("train", n), ("val", n // 2)):
        for label, wnid in enumerate(NAMES):
            folder = root / split / wnid
            folder.mkdir(parents=True)
            for i in range(count):
                kind, mode = (("PNG", "RGB"), ("JPEG", "CMYK"), ("JPEG", "L"), ("JPEG", "RGB"))[min(i, 3)]
                (folder / f"{wnid}_{i}.JPEG").write_bytes(picture(label, i, kind=kind, mode=mode))
    if meta:
        torch.save((NAMES, [wnid for wnid in NAMES for _ in range(n // 2)]), root / "meta.bin")


def write_archives(root, monkeypatch, *, n=3):
    """Writes the three official archives, ``n`` pictures per class in each, and teaches torchvision their checksums."""
    from torchvision.datasets import imagenet

    order = list(reversed(NAMES))  # ILSVRC2012_ID 1 is the last of the sorted wnids
    kit, truth = "ILSVRC2012_devkit_t12/data/", [label for _ in range(n) for label in range(len(order))]
    packed = {
        "train": [(f"{wnid}.tar", tar(_class(wnid, label, n))) for label, wnid in enumerate(NAMES)],
        "val": [(f"ILSVRC2012_val_{i + 1:08d}.JPEG", picture(3 - id_, i)) for i, id_ in enumerate(truth)],
        "devkit": [
            (f"{kit}meta.mat", _meta(order)),
            (f"{kit}ILSVRC2012_validation_ground_truth.txt", "".join(f"{id_ + 1}\n" for id_ in truth).encode()),
        ],
    }
    known = {}
    for key, (name, _) in imagenet.ARCHIVE_META.items():
        content = tar(packed[key], mode="w:gz" if name.endswith("gz") else "w")
        (root / name).write_bytes(content)
        known[key] = name, hashlib.md5(content).hexdigest()
    monkeypatch.setattr(imagenet, "ARCHIVE_META", known)


def tar(members, *, mode="w"):
    """Bytes of a tar archive of ``[(name, content)]``."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def _class(wnid, label, n):
    return [(f"{wnid}_{i}.JPEG", picture(label, i)) for i in range(n)]


def _meta(order):
    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "O")]
    rows = [(i + 1, wnid, ", ".join(NAMES[wnid]), "", 0) for i, wnid in enumerate(order)]
    rows.append((len(rows) + 1, "n00001740", "entity", "", 2))  # an inner node is no class
    stream = io.BytesIO()
    savemat(stream, {"synsets": np.array(rows, dtype=fields)[:, None]})
    return stream.getvalue()
