"""Paint and canvas of the toy world: eleven colours, six textures, layers with smooth edges and exact truth."""

import numpy as np
import numpy.typing as npt

from lightning_interp.datasets.toy_objects import Plane

Indices = npt.NDArray[np.intp]

# Broden's eleven basic colours: (red, green, blue) of the colour, and of its darker or lighter shade in textures. The
# shade keeps the name: no brown inside orange, no pink inside red.
_PALETTE: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "black": ((0.07, 0.07, 0.08), (0.30, 0.30, 0.32)),
    "blue": ((0.13, 0.32, 0.88), (0.05, 0.12, 0.48)),
    "brown": ((0.48, 0.28, 0.12), (0.28, 0.15, 0.05)),
    "green": ((0.16, 0.62, 0.22), (0.06, 0.33, 0.10)),
    "grey": ((0.56, 0.56, 0.57), (0.36, 0.36, 0.37)),
    "orange": ((0.98, 0.55, 0.08), (1.00, 0.76, 0.42)),
    "pink": ((0.98, 0.60, 0.76), (0.93, 0.36, 0.60)),
    "purple": ((0.52, 0.20, 0.68), (0.30, 0.08, 0.42)),
    "red": ((0.87, 0.12, 0.12), (0.52, 0.03, 0.05)),
    "white": ((0.97, 0.97, 0.96), (0.76, 0.76, 0.78)),
    "yellow": ((0.98, 0.88, 0.16), (0.80, 0.66, 0.02)),
}
COLORS = tuple(_PALETTE)
TEXTURES = ("plain", "checkered", "dotted", "gradient", "striped", "zigzag")

_BASE = np.array([base for base, _ in _PALETTE.values()], dtype=np.float32).T
_SHADE = np.array([shade for _, shade in _PALETTE.values()], dtype=np.float32).T - _BASE


def triangle(t: Plane) -> Plane:
    """The triangle wave of period 1 through -1 (at one half) and 1 (at whole numbers)."""
    wave: Plane = np.abs(t - np.floor(t) - np.float32(0.5)) * 4 - 1
    return wave


def patterns(u: Plane, v: Plane, softness: Plane) -> Plane:
    """All textures at once: how much of the shade is mixed into the colour.

    Args:
        u: texture coordinate in periods, ``(b, h, w)``.
        v: the coordinate across it, ``(b, h, w)``.
        softness: a quarter of the period in pixels, ``(b, 1, 1)``: edges are one pixel soft at every size.

    Returns:
        ``(len(TEXTURES), b, h, w)`` in [0, 1], in the order of ``TEXTURES``.
    """
    a, b = triangle(u), triangle(v)
    dots = (2 - np.abs(a)) * a + (2 - np.abs(b)) * b - np.float32(0.75)
    waves = (a * b, dots, triangle(u + b * np.float32(0.22)))
    plain = np.zeros_like(a)
    ramp = np.clip(v * np.float32(0.25) + np.float32(0.5), 0, 1)
    checkered, dotted, zigzag = (np.clip(wave * softness + np.float32(0.5), 0, 1) for wave in waves)
    striped = np.clip(a * softness + np.float32(0.5), 0, 1)
    return np.stack([plain, checkered, dotted, ramp, striped, zigzag])


class Canvas:
    """A batch of images under the brush, with what every pixel shows.

    Attributes:
        rgb: ``(3, b, h, w)`` in [0, 1].
        color: ``(b, h, w)`` uint8, 1 + index into ``COLORS``.
        texture: ``(b, h, w)`` uint8, 1 + index into ``TEXTURES``.
        part: ``(b, h, w)`` uint8, the number given to ``paint``; 0 where no object is.
    """

    def __init__(self, b: int, h: int, w: int) -> None:
        self.rgb = np.zeros((3, b, h, w), dtype=np.float32)
        self.color, self.texture, self.part = (np.zeros((b, h, w), dtype=np.uint8) for _ in range(3))

    def take(self, rows: Indices) -> "Canvas":
        """A copy of some images."""
        copy = Canvas(0, 0, 0)
        copy.rgb = self.rgb[:, rows]
        copy.color, copy.texture, copy.part = self.color[rows], self.texture[rows], self.part[rows]
        return copy

    def put(self, rows: Indices, other: "Canvas") -> None:
        """Write images taken before back to their places."""
        self.rgb[:, rows] = other.rgb
        self.color[rows], self.texture[rows], self.part[rows] = other.color, other.texture, other.part

    def paint(self, distance: Plane, color: Indices, texture: Indices, shades: Plane, *, part: int = 0) -> None:
        """Cover what is inside a shape.

        Args:
            distance: signed distance to the outline in pixels, ``(b, h, w)``, negative inside.
            color: index into ``COLORS`` per image, ``(b,)``.
            texture: index into ``TEXTURES`` per image, ``(b,)``.
            shades: result of ``patterns``.
            part: number written into ``part``.
        """
        cover = np.clip(np.float32(0.5) - distance, 0, 1)
        shade = shades[texture, np.arange(len(texture))]
        paint = _SHADE[:, color, None, None] * shade
        paint += _BASE[:, color, None, None]
        paint -= self.rgb
        paint *= cover
        self.rgb += paint
        inside = cover > np.float32(0.5)
        np.copyto(self.color, (color + 1).astype(np.uint8)[:, None, None], where=inside)
        np.copyto(self.texture, (texture + 1).astype(np.uint8)[:, None, None], where=inside)
        np.copyto(self.part, np.uint8(part), where=inside)
