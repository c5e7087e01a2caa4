"""Writes pictures in class folders; every picture has one colour, its class in the red channel, its number in green."""

from PIL import Image


def write(root, *, classes=("ant", "bee", "cow"), n=6, size=(20, 20), suffix=".png"):
    """Writes ``root/{train,test}/<class>/0000.png``, ``size`` being (height, width)."""
    for split in ("train", "test"):
        for label, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(n):
                picture = Image.new("RGB", (size[1], size[0]), (40 * label, 10 * i, 0))
                picture.save(folder / f"{i:04d}{suffix}")
