"""Masks as palette PNGs in the manner of PASCAL VOC: the pixel is the class, and the palette gives it a colour."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from lightning_interp._checks import message

__all__ = ["save_label_pngs", "save_palette_png", "voc_palette"]

_VOID = 255


def voc_palette() -> list[tuple[int, int, int]]:
    """The 256 colours of VOC, by class: the bits of its number are dealt to red, green and blue in turn.

    Returns:
        Red, green and blue in [0, 255]. The last, of pixels that are not annotated, is a pale yellow.

    Example:
        >>> voc_palette()[:4], voc_palette()[255]
        ([(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)], (224, 224, 192))

    Reference:
        Everingham et al., the development kit of VOC 2012, ``VOClabelcolormap``.
    """
    return [(_channel(number), _channel(number >> 1), _channel(number >> 2)) for number in range(256)]


def save_palette_png(mask: Tensor, path: str | Path) -> None:
    """Write a mask; segmentation datasets in VOC's format read it.

    Args:
        mask: Whole numbers or bools, ``(H, W)``: classes in [0, 254]; pixels of -1 are not annotated and become 255.
        path: The PNG.

    Raises:
        ValueError: The mask is no ``(H, W)`` of whole numbers in [-1, 254].

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_palette_png(torch.tensor([[0, 1], [2, -1]]), f"{folder}/mask.png")
        ...     image = Image.open(f"{folder}/mask.png")
        ...     image.mode, list(image.tobytes())
        ('P', [0, 1, 2, 255])
    """
    if mask.ndim != 2 or mask.is_floating_point() or mask.is_complex():
        raise ValueError(message("mask", "save_palette_png", "whole numbers, (H, W)", mask))
    classes = mask.cpu().long()
    if not classes.numel() or int(classes.min()) < -1 or int(classes.max()) >= _VOID:
        got = [int(classes.min()), int(classes.max())] if classes.numel() else mask
        raise ValueError(message("mask", "save_palette_png", "of classes in [-1, 254]", got))
    image = Image.fromarray(torch.where(classes < 0, _VOID, classes).to(torch.uint8).numpy())
    image.putpalette([channel for color in voc_palette() for channel in color])
    image.save(path, format="PNG")


def save_label_pngs(
    masks: Tensor, folder: str | Path, *, names: Sequence[str], stems: Sequence[str] | None = None
) -> list[Path]:
    """Write the masks of a set of images, and beside them ``legend.json``, which says what the colours mean.

    Args:
        masks: ``(N, H, W)``, see :func:`save_palette_png`.
        folder: Where to; it is made.
        names: Name of every class, as of :class:`~lightning_interp.functional.localization.labeling.FactorLabels`.
        stems: File names without ending, such as those of the images; numbers by default.

    Returns:
        The PNGs.

    Raises:
        ValueError: A class has no name, or stems are not N different plain names.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     paths = save_label_pngs(torch.zeros(2, 4, 4).long(), folder, names=["background", "head"])
        ...     [path.name for path in paths]
        ['000000.png', '000001.png']

    Reference:
        Thesis, section 4.4.2.
    """
    if len(masks) and int(masks.max()) >= len(names):
        raise ValueError(message("names", "save_label_pngs", f"a name for class {int(masks.max())}, too", list(names)))
    stems = [f"{i:06d}" for i in range(len(masks))] if stems is None else list(stems)
    plain = all(stem not in ("", ".", "..") and not set(stem) & set("/\\\0") for stem in stems)
    if len(stems) != len(masks) or len(set(stems)) != len(stems) or not plain:
        must = f"{len(masks)} different file names without folders"
        raise ValueError(message("stems", "save_label_pngs", must, stems))
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{stem}.png" for stem in stems]
    for mask, path in zip(masks, paths, strict=True):
        save_palette_png(mask, path)
    colors = voc_palette()
    legend = [{"class": i, "name": name, "color": colors[i]} for i, name in enumerate(names)]
    (folder / "legend.json").write_text(json.dumps(legend, indent=2, ensure_ascii=False), encoding="utf-8")
    return paths


def _channel(number: int) -> int:
    """Every third bit of a number, the lowest first, as bits of a channel, the highest first."""
    return sum((number >> 3 * bit & 1) << (7 - bit) for bit in range(3))
