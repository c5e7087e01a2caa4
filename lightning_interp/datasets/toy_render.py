"""Draws toy scenes, many at a time: backdrop, blobs, object, one blob in front, light and noise."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from lightning_interp.datasets.toy_backdrops import (
    BLOB_DRAWS,
    SCENE_DRAWS,
    SCENES,
    Draws,
    View,
    paint_blob,
    paint_scenes,
)
from lightning_interp.datasets.toy_draws import uniforms
from lightning_interp.datasets.toy_objects import OBJECTS, Plane
from lightning_interp.datasets.toy_paint import COLORS, TEXTURES, Canvas, Indices, patterns

Bytes = npt.NDArray[np.uint8]

CLASSES = tuple(OBJECTS)
PARTS = tuple(sorted({part.name for parts in OBJECTS.values() for part in parts}))

_BLOBS = 2
_POSE, _LOOK = 9, 6 + len(COLORS) + max(map(len, OBJECTS.values()))
_PLAIN = 0.5  # share of parts without a texture
_CONTRAST, _BRIGHTNESS, _NOISE = 0.3, 0.12, 0.05
_HAZE = 0.4
_PIXELS = 2**17  # pixels drawn at once: what stays in the cache


@dataclass(frozen=True)
class Frames:
    """Drawn scenes; in the maps 0 is unlabelled and v is the name v - 1 of ``PARTS``, ``COLORS``, ``TEXTURES``.

    Attributes:
        images: ``(b, 3, h, w)`` uint8.
        part: ``(b, h, w)`` uint8, 0 outside the object.
        color: ``(b, h, w)`` uint8.
        texture: ``(b, h, w)`` uint8.
        scene: ``(b,)`` index into ``SCENES``.
    """

    images: Bytes
    part: Bytes
    color: Bytes
    texture: Bytes
    scene: Indices


def draw_frames(
    indices: Indices, labels: Indices, instances: Indices, *, size: tuple[int, int], seed: int, stream: int
) -> Iterator[Frames]:
    """Draw scenes chunk by chunk.

    Args:
        indices: address of every image, ``(n,)``: decides pose, backdrop, blobs and light.
        labels: index into ``CLASSES``, ``(n,)``.
        instances: address of every object, ``(n,)``: decides its proportions, colours and textures.
        size: height and width.
        seed: seed of the world.
        stream: even; separates parts of the data set, takes ``stream`` and ``stream + 1``.

    Yields:
        ``Frames`` of consecutive images.
    """
    step = max(1, _PIXELS // (size[0] * size[1]))
    for start in range(0, len(indices), step):
        rows = slice(start, start + step)
        draws = uniforms(seed, stream, indices[rows], _POSE + SCENE_DRAWS + _BLOBS * BLOB_DRAWS)
        look = uniforms(seed, stream + 1, instances[rows], _LOOK)
        yield _draw(labels[rows], draws, look, size)


def _draw(labels: Indices, draws: Draws, look: Draws, size: tuple[int, int]) -> Frames:
    h, w = size
    unit = float(min(h, w))
    x, y = ((np.arange(n, dtype=np.float32) + np.float32(0.5)) / np.float32(unit) for n in (w, h))
    view = View(Canvas(len(labels), h, w), x[None, None, :], y[None, :, None], unit)
    pose, backdrop, *blobs = np.split(draws, np.cumsum([_POSE, SCENE_DRAWS] + [BLOB_DRAWS] * (_BLOBS - 1)), axis=1)
    scene = (pose[:, 5] * len(SCENES)).astype(np.intp)
    paint_scenes(view, scene, backdrop)
    view.canvas.rgb *= np.float32(1 - _HAZE)  # backdrops are paler, so that no object disappears in its own colour
    view.canvas.rgb += np.float32(0.75 * _HAZE)
    for blob in blobs[:-1]:
        paint_blob(view, blob, largest=0.14)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        part = View(view.canvas.take(rows), view.x, view.y, unit)
        _paint_object(part, CLASSES[label], pose[rows], look[rows])
        view.canvas.put(rows, part.canvas)
    paint_blob(view, blobs[-1], largest=0.09)
    canvas = view.canvas
    return Frames(_develop(canvas.rgb, pose), canvas.part, canvas.color, canvas.texture, scene)


def _paint_object(view: View, name: str, pose: Draws, look: Draws) -> None:
    x, y, radius = _object_coordinates(view, pose, look)
    angle, frequency = look[:, 3, None, None] * np.float32(np.pi), 1.3 + 0.7 * look[:, 4, None, None]
    cos, sin = np.cos(angle) * frequency, np.sin(angle) * frequency
    shades = patterns(x * cos + y * sin, y * cos - x * sin, radius * view.unit / (4 * frequency))
    colors = np.argsort(look[:, 6 : 6 + len(COLORS)], axis=1, kind="stable")
    for i, part in enumerate(OBJECTS[name]):
        share = (look[:, 6 + len(COLORS) + i] - _PLAIN) / (1 - _PLAIN)
        texture = np.where(share < 0, 0, 1 + share * (len(TEXTURES) - 1)).astype(np.intp)
        distance = part.shape(x, y) * (radius * np.float32(view.unit))
        texture = np.zeros_like(texture) if part.plain else texture
        view.canvas.paint(distance, colors[:, i], texture, shades, part=1 + PARTS.index(part.name))


def _object_coordinates(view: View, pose: Draws, look: Draws) -> tuple[Plane, Plane, Plane]:
    """Pixels seen from the object: its x and y ``(b, h, w)``, and its radius in units ``(b, 1, 1)``."""
    radius = np.float32(0.33) + np.float32(0.15) * pose[:, 0, None, None]
    angle = (pose[:, 3, None, None] - np.float32(0.5)) * np.float32(0.5)
    mirror = np.where(pose[:, 4, None, None] < 0.5, np.float32(-1), np.float32(1))
    dx, dy = (
        (side - (radius + (side.max() + side.min() - 2 * radius) * pose[:, i, None, None])) / radius
        for i, side in ((1, view.x), (2, view.y))
    )
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = (dx * cos + dy * sin) * mirror, dy * cos - dx * sin
    aspect, taper, bend = ((look[:, i, None, None] - np.float32(0.5)) for i in range(3))
    return (
        x * (1 + np.float32(0.3) * aspect) * (1 + np.float32(0.4) * taper * y) + np.float32(0.3) * bend * y * y,
        y,
        radius,
    )


def _develop(rgb: Plane, pose: Draws) -> Bytes:
    """Light and sensor noise, then bytes ``(b, 3, h, w)``."""
    h, w = rgb.shape[2:]
    grain, corners = _grain(), (pose[:, 7:9] * 128).astype(np.intp)
    rows = (corners[:, 0, None] + np.arange(h)) % 256
    columns = (corners[:, 1, None] + np.arange(w)) % 256
    gain = 1 - np.float32(_CONTRAST) * pose[:, 6, None, None]
    lift = np.float32(0.5) * (1 - gain) + np.float32(_BRIGHTNESS) * (pose[:, 8, None, None] - np.float32(0.5))
    noise = grain[:, rows[:, :, None], columns[:, None, :]]
    pixels = np.clip((rgb * gain + lift + noise) * 255 + np.float32(0.5), 0, 255)
    return np.ascontiguousarray(pixels.astype(np.uint8).transpose(1, 0, 2, 3))


@lru_cache(maxsize=1)
def _grain() -> Plane:
    """One tile of noise ``(3, 256, 256)``; every image sees another corner of it."""
    draws = uniforms(0, 0, np.arange(3 * 256), 256).reshape(3, 256, 256)
    return (draws - np.float32(0.5)) * np.float32(2 * _NOISE)
