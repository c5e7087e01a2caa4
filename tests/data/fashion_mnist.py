"""Writes a small Fashion-MNIST as idx files."""

import struct

import numpy as np


def write(root, *, n=40):
    """Returns {split: (images (n, 28, 28), labels)}."""
    folder = root / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    rng, made = np.random.default_rng(0), {}
    for split, stem in (("train", "train"), ("test", "t10k")):
        images, labels = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8), (np.arange(n) % 10).astype(np.uint8)
        (folder / f"{stem}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 0x803, n, 28, 28) + images.tobytes())
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, n) + labels.tobytes())
        made[split] = images, labels
    return made
