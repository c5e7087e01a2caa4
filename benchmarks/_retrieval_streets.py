"""Streets of toy houses: four painted walls with an object before each, in a fixed order, seen from anywhere."""

from itertools import permutations

import numpy as np
import torch
from torch import Tensor

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
from lightning_interp.datasets.toy_objects import OBJECTS, Part, Plane, box
from lightning_interp.datasets.toy_paint import COLORS, TEXTURES, Canvas, Indices, patterns

_PICTURES, _FAMILIES, _LOOKS = 16, 17, 18  # streams of random numbers that toy scenes do not use
_POSE, _BLOBS = 7, 3
_WALL = Part("wall", box(0.0, -0.35, 1.0, 1.35))
_HOUSES = tuple((_WALL, *parts) for parts in OBJECTS.values())
_MOST_PARTS = max(map(len, _HOUSES))
_SMALLEST, _LARGEST = 0.18, 0.24  # radius of a house: four large ones are as wide as the picture, nearly
_HAZE = 0.4
_CHUNK = 32
# Of four houses; a street and its reverse have the same neighbours, so only one of them is there.
ORDERS = np.array([order for order in permutations(range(4)) if order[0] < order[-1]])


def draw_streets(seed: int, streets: Tensor, orders: int, side: int) -> tuple[Tensor, Tensor]:
    """Draw a picture of each street, every time at another place and scale, in another light, behind other clutter.

    Args:
        seed: of the world.
        streets: number of the street in each picture, ``(n,)``; ``orders`` consecutive ones are a family, made of the
            same houses: the same shapes, colours and textures.
        orders: streets of a family.
        side: height; pictures are twice as wide.

    Returns:
        Pixels in [0, 1], ``(n, 3, side, 2 * side)``, and the box of each street, ``(n, 4)``.
    """
    images, boxes = [], []
    for rows in torch.arange(len(streets)).split(_CHUNK):
        part = _draw(seed, rows.numpy(), streets[rows].numpy(), orders, side)
        images.append(part[0])
        boxes.append(part[1])
    return torch.cat(images), torch.cat(boxes)


def _draw(seed: int, rows: Indices, streets: Indices, orders: int, side: int) -> tuple[Tensor, Tensor]:
    draws = uniforms(seed, _PICTURES, rows, _POSE + SCENE_DRAWS + _BLOBS * BLOB_DRAWS)
    pose, backdrop, *blobs = np.split(draws, np.cumsum([_POSE, SCENE_DRAWS] + [BLOB_DRAWS] * (_BLOBS - 1)), axis=1)
    x, y = ((np.arange(n, dtype=np.float32) + np.float32(0.5)) / np.float32(side) for n in (2 * side, side))
    view = View(Canvas(len(rows), side, 2 * side), x[None, None, :], y[None, :, None], float(side))
    canvas = view.canvas
    paint_scenes(view, (pose[:, 4] * len(SCENES)).astype(np.intp), backdrop)
    canvas.rgb *= np.float32(1 - _HAZE)  # paler, as in toy scenes
    canvas.rgb += np.float32(0.75 * _HAZE)
    for blob in blobs[:-1]:
        paint_blob(view, blob, largest=0.2)
    _paint_streets(view, pose, seed, streets, orders)
    boxes = [_box(part > 0) for part in torch.from_numpy(canvas.part)]
    paint_blob(view, blobs[-1], largest=0.12)
    gain, lift = 1 - 0.4 * pose[:, 5, None, None], 0.2 * (pose[:, 6, None, None] - np.float32(0.5))
    pixels = np.clip(canvas.rgb * gain + 0.5 * (1 - gain) + lift, 0, 1)
    return torch.from_numpy(pixels).float().movedim(0, 1).contiguous(), torch.tensor(boxes).float()


def _paint_streets(view: View, pose: Draws, seed: int, streets: Indices, orders: int) -> None:
    families, order = streets // orders, ORDERS[:: len(ORDERS) // orders][streets % orders]
    classes = np.argsort(uniforms(seed, _FAMILIES, families, len(OBJECTS)), axis=1)
    x, y, radius = _street_coordinates(view, pose)
    for place in range(order.shape[1]):
        house = order[:, place]
        look = uniforms(seed, _LOOKS, order.shape[1] * families + house, 1 + len(COLORS) + _MOST_PARTS)
        shown = np.take_along_axis(classes, house[:, None], axis=1)[:, 0]
        for label in np.unique(shown):
            rows = np.flatnonzero(shown == label)
            part = View(view.canvas.take(rows), view.x, view.y, view.unit)
            _paint_house(part, label, x[rows] - np.float32(2 * place - 3), y[rows], radius[rows], look[rows])
            view.canvas.put(rows, part.canvas)


def _street_coordinates(view: View, pose: Draws) -> tuple[Plane, Plane, Plane]:
    """Pixels seen from the middle of the street ``(b, h, w)``, where a house is 2 wide; and its radius."""
    radius = np.float32(_SMALLEST) + np.float32(_LARGEST - _SMALLEST) * pose[:, 0, None, None]
    angle = (pose[:, 3, None, None] - np.float32(0.5)) * np.float32(0.2)
    dx = (view.x - (4 * radius + (2 - 8 * radius) * pose[:, 1, None, None])) / radius
    dy = (view.y - (1.8 * radius + (1 - 3 * radius) * pose[:, 2, None, None])) / radius
    cos, sin = np.cos(angle), np.sin(angle)
    return dx * cos + dy * sin, dy * cos - dx * sin, radius


def _paint_house(view: View, label: int, x: Plane, y: Plane, radius: Plane, look: Draws) -> None:
    frequency = 1.3 + 0.7 * look[:, 0, None, None]
    shades = patterns(x * frequency, y * frequency, radius * view.unit / (4 * frequency))
    colors = np.argsort(look[:, 1 : 1 + len(COLORS)], axis=1, kind="stable")
    for i, part in enumerate(_HOUSES[label]):
        texture = (look[:, 1 + len(COLORS) + i] * len(TEXTURES)).astype(np.intp) * (not part.plain)
        distance = part.shape(x, y) * (radius * np.float32(view.unit))
        view.canvas.paint(distance, colors[:, i], texture, shades, part=1)


def _box(mask: Tensor) -> tuple[int, int, int, int]:
    rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
