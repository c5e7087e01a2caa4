"""What stands behind and before the objects of the toy world: five scenes, and blobs that are nothing."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lightning_interp.datasets.toy_objects import Plane
from lightning_interp.datasets.toy_paint import COLORS, TEXTURES, Canvas, patterns

Draws = npt.NDArray[np.float32]
SCENE_DRAWS = 12
BLOB_DRAWS = 7


@dataclass(frozen=True)
class View:
    """A canvas with its coordinates in units of the shorter side: ``x`` is ``(1, 1, w)``, ``y`` is ``(1, h, 1)``."""

    canvas: Canvas
    x: Plane
    y: Plane
    unit: float

    def shades(self, frequency: float, phase: Draws) -> Plane:
        """The textures of a large surface; ``phase`` ``(b,)`` shifts them."""
        shape = self.canvas.color.shape
        shift = phase[:, None, None]
        u, v = np.broadcast_to(self.y * frequency + shift, shape), np.broadcast_to(self.x * frequency + shift, shape)
        return patterns(u, v, np.full((len(phase), 1, 1), self.unit / (4 * frequency), dtype=np.float32))

    def layer(self, distance: Plane, color: str, texture: str, shades: Plane) -> None:
        """Paint one colour and texture inside ``distance`` (in units) in all images."""
        b = len(self.canvas.color)
        rows = np.broadcast_to(distance * np.float32(self.unit), self.canvas.color.shape)
        color_index, texture_index = np.full(b, COLORS.index(color)), np.full(b, TEXTURES.index(texture))
        self.canvas.paint(rows, color_index, texture_index, shades)

    def disc(self, cx: Plane, cy: Plane, rx: Plane, ry: Plane) -> Plane:
        """Distance to an ellipse whose centre and radii are ``(b, 1, 1)``."""
        a, b = (self.x - cx) / rx, (self.y - cy) / ry
        result: Plane = (np.sqrt(a * a + b * b) - 1) * np.minimum(rx, ry)
        return result


_EVERYWHERE = np.full((1, 1, 1), -1e3, dtype=np.float32)


def _sky(view: View, d: Draws) -> None:
    shades = view.shades(1.6, d[:, 0])
    view.layer(_EVERYWHERE, "blue", "plain", shades)
    width = view.x.max()
    for i in range(3):
        cx, cy, size = (d[:, 3 * i + k, None, None] for k in (1, 2, 3))
        cloud = view.disc(cx * width, cy, 0.14 + 0.14 * size, 0.07 + 0.06 * size)
        view.layer(cloud, "white", "plain", shades)


def _field(view: View, d: Draws) -> None:
    shades = view.shades(7.0, d[:, 0])
    view.layer(_EVERYWHERE, "blue", "plain", shades)
    hill = 0.3 + 0.25 * d[:, 1, None, None] + 0.5 * (view.x - d[:, 2, None, None]) ** 2
    view.layer(hill - view.y, "green", "striped", shades)


def _sea(view: View, d: Draws) -> None:
    shades = view.shades(5.0, d[:, 0])
    view.layer(_EVERYWHERE, "white", "gradient", view.shades(1.6, d[:, 0]))
    view.layer(0.25 + 0.3 * d[:, 1, None, None] - view.y, "blue", "zigzag", shades)


def _city(view: View, d: Draws) -> None:
    view.layer(_EVERYWHERE, "white", "gradient", view.shades(1.6, d[:, 0]))
    streets = np.floor(view.x[0, 0] * 5).astype(np.intp) % 8
    height = 0.08 + 0.5 * d[:, 1 + streets][:, None, :]
    view.layer(height - view.y, "grey", "checkered", view.shades(5.0, d[:, 0]))
    view.layer(0.86 - view.y, "black", "plain", view.shades(5.0, d[:, 0]))


def _night(view: View, d: Draws) -> None:
    shades = view.shades(4.0, d[:, 0])
    view.layer(_EVERYWHERE, "black", "dotted", shades)
    radius = 0.09 + 0.05 * d[:, 3, None, None]
    moon = view.disc(d[:, 1, None, None] * view.x.max(), 0.1 + 0.3 * d[:, 2, None, None], radius, radius)
    view.layer(moon, "yellow", "plain", shades)


_PAINTERS: dict[str, Callable[[View, Draws], None]] = {
    "city": _city, "field": _field, "night": _night, "sea": _sea, "sky": _sky,
}  # fmt: skip
SCENES = tuple(_PAINTERS)


def paint_scenes(view: View, scene: npt.NDArray[np.intp], draws: Draws) -> None:
    """Paint every image's scene.

    Args:
        view: the empty canvas.
        scene: index into ``SCENES``, ``(b,)``.
        draws: ``(b, SCENE_DRAWS)`` uniform numbers.
    """
    for index, painter in enumerate(_PAINTERS.values()):
        rows = np.flatnonzero(scene == index)
        if len(rows):
            part = View(view.canvas.take(rows), view.x, view.y, view.unit)
            painter(part, draws[rows])
            view.canvas.put(rows, part.canvas)


def paint_blob(view: View, draws: Draws, *, largest: float) -> None:
    """Paint one blob of random place, shape, colour and texture into every image; half of them stay away.

    Args:
        view: the canvas.
        draws: ``(b, BLOB_DRAWS)`` uniform numbers.
        largest: largest radius in units of the shorter side.
    """
    there, cx, cy, rx, ry = (draws[:, i, None, None] for i in range(5))
    low = np.float32(0.3 * largest)
    distance = view.disc(cx * view.x.max(), cy * view.y.max(), low + rx * (largest - low), low + ry * (largest - low))
    distance = np.where(there < 0.5, distance, np.float32(1)) * np.float32(view.unit)
    indices = ((draws[:, 5] * len(COLORS)).astype(np.intp), (draws[:, 6] * len(TEXTURES)).astype(np.intp))
    view.canvas.paint(distance, *indices, view.shades(8.0, draws[:, 1]))
