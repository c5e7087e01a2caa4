"""The objects of the toy world: every class is a stack of named parts, every part a closed shape.

Coordinates are the object's own: x to the right, y down, the object fills [-1, 1] x [-1, 1]. A shape is a function
``(x, y) -> signed distance``, negative inside, so that edges can be drawn smooth at any size. Parts come in painting
order: a later part covers the earlier ones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.float32]
Shape = Callable[[Plane, Plane], Plane]


@dataclass(frozen=True)
class Part:
    """One named part; a ``plain`` one is too small to carry a texture."""

    name: str
    shape: Shape
    plain: bool = False


def ellipse(cx: float, cy: float, rx: float, ry: float) -> Shape:
    """An axis-parallel ellipse around (cx, cy)."""

    def distance(x: Plane, y: Plane) -> Plane:
        a, b = (x - cx) * (1 / rx), (y - cy) * (1 / ry)
        result: Plane = (np.sqrt(a * a + b * b) - 1) * min(rx, ry)
        return result

    return distance


def box(cx: float, cy: float, rx: float, ry: float) -> Shape:
    """An axis-parallel rectangle around (cx, cy) with half sides rx, ry."""
    return lambda x, y: np.maximum(np.abs(x - cx) - rx, np.abs(y - cy) - ry)


def polygon(*corners: tuple[float, float]) -> Shape:
    """A convex polygon, corners in order along the outline: the deepest of its half-planes."""
    middle = np.mean(corners, axis=0)
    planes = []
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        normal = np.array([y1 - y0, x0 - x1]) / np.hypot(x1 - x0, y1 - y0)
        offset = normal @ (x0, y0)
        sign = 1 if normal @ middle < offset else -1
        planes.append((np.float32(sign * normal[0]), np.float32(sign * normal[1]), np.float32(sign * offset)))

    def distance(x: Plane, y: Plane) -> Plane:
        result: Plane = reduce(np.maximum, [x * nx + y * ny - c for nx, ny, c in planes])
        return result

    return distance


def union(*shapes: Shape) -> Shape:
    """Everything inside at least one of the shapes."""
    return lambda x, y: reduce(np.minimum, (shape(x, y) for shape in shapes))


def above(shape: Shape, line: float) -> Shape:
    """The part of a shape above the horizontal line."""
    return lambda x, y: np.maximum(shape(x, y), y - line)


def _petals(cx: float, cy: float, radius: float, reach: float, n: int = 5) -> Shape:
    angles = [2 * np.pi * i / n - np.pi / 2 for i in range(n)]
    return union(*(ellipse(cx + reach * np.cos(a), cy + reach * np.sin(a), radius, radius) for a in angles))


OBJECTS: dict[str, tuple[Part, ...]] = {
    "bird": (
        Part("leg", union(box(-0.05, 0.65, 0.05, 0.3), box(0.25, 0.65, 0.05, 0.3)), plain=True),
        Part("tail", polygon((0.4, 0.0), (1.0, -0.3), (1.0, 0.25), (0.5, 0.3))),
        Part("body", ellipse(0.08, 0.12, 0.58, 0.38)),
        Part("beak", polygon((-0.7, -0.5), (-0.7, -0.18), (-1.0, -0.32)), plain=True),
        Part("head", ellipse(-0.5, -0.36, 0.3, 0.3)),
        Part("wing", polygon((-0.2, -0.05), (0.45, 0.0), (0.65, 0.2), (0.1, 0.4))),
        Part("eye", ellipse(-0.56, -0.42, 0.09, 0.09), plain=True),
    ),
    "boat": (
        Part("mast", box(0.0, -0.25, 0.06, 0.65), plain=True),
        Part(
            "sail", union(polygon((0.1, -0.9), (0.8, 0.2), (0.1, 0.2)), polygon((-0.1, -0.6), (-0.1, 0.2), (-0.6, 0.2)))
        ),
        Part("hull", polygon((-0.95, 0.32), (0.95, 0.32), (0.6, 0.8), (-0.6, 0.8))),
    ),
    "butterfly": (
        Part(
            "antenna",
            union(polygon((0.0, -0.5), (-0.4, -1.0), (-0.28, -1.0)), polygon((0.0, -0.5), (0.28, -1.0), (0.4, -1.0))),
            plain=True,
        ),
        Part(
            "wing",
            union(
                ellipse(-0.52, -0.3, 0.46, 0.4),
                ellipse(0.52, -0.3, 0.46, 0.4),
                ellipse(-0.42, 0.42, 0.36, 0.36),
                ellipse(0.42, 0.42, 0.36, 0.36),
            ),
        ),
        Part("body", ellipse(0.0, 0.05, 0.14, 0.72), plain=True),
    ),
    "car": (
        Part("cabin", polygon((-0.45, -0.5), (0.3, -0.5), (0.6, 0.05), (-0.7, 0.05))),
        Part(
            "window",
            union(
                polygon((-0.38, -0.38), (-0.12, -0.38), (-0.12, 0.0), (-0.52, 0.0)),
                polygon((0.02, -0.38), (0.24, -0.38), (0.42, 0.0), (0.02, 0.0)),
            ),
            plain=True,
        ),
        Part("chassis", box(0.0, 0.25, 0.98, 0.26)),
        Part("wheel", union(ellipse(-0.52, 0.5, 0.26, 0.26), ellipse(0.52, 0.5, 0.26, 0.26))),
    ),
    "cat": (
        Part(
            "ear",
            union(polygon((-0.7, -0.9), (-0.15, -0.4), (-0.65, 0.0)), polygon((0.7, -0.9), (0.65, 0.0), (0.15, -0.4))),
        ),
        Part("head", ellipse(0.0, 0.12, 0.78, 0.66)),
        Part("muzzle", ellipse(0.0, 0.45, 0.36, 0.24)),
        Part("nose", polygon((-0.13, 0.22), (0.13, 0.22), (0.0, 0.42)), plain=True),
        Part("eye", union(ellipse(-0.32, -0.05, 0.14, 0.17), ellipse(0.32, -0.05, 0.14, 0.17)), plain=True),
    ),
    "fish": (
        Part(
            "fin",
            union(polygon((-0.3, -0.3), (0.3, -0.75), (0.35, -0.2)), polygon((-0.2, 0.3), (0.3, 0.2), (0.2, 0.65))),
        ),
        Part(
            "tail",
            union(polygon((0.35, 0.0), (1.0, -0.55), (0.85, 0.0)), polygon((0.35, 0.0), (1.0, 0.55), (0.85, 0.0))),
        ),
        Part("body", ellipse(-0.18, 0.0, 0.76, 0.44)),
        Part("eye", ellipse(-0.58, -0.1, 0.11, 0.11), plain=True),
    ),
    "flower": (
        Part("stem", box(0.0, 0.5, 0.07, 0.5), plain=True),
        Part(
            "leaf",
            union(polygon((0.0, 0.85), (0.55, 0.35), (0.6, 0.55)), polygon((0.0, 0.95), (-0.6, 0.65), (-0.55, 0.45))),
        ),
        Part("petal", _petals(0.0, -0.35, 0.28, 0.36)),
        Part("center", ellipse(0.0, -0.35, 0.22, 0.22), plain=True),
    ),
    "house": (
        Part("wall", box(0.0, 0.42, 0.7, 0.5)),
        Part("roof", polygon((0.0, -0.95), (0.95, -0.05), (-0.95, -0.05))),
        Part("door", box(-0.28, 0.56, 0.17, 0.36), plain=True),
        Part("window", box(0.32, 0.32, 0.19, 0.17), plain=True),
    ),
    "mushroom": (
        Part("stem", polygon((-0.22, 0.0), (0.22, 0.0), (0.3, 0.95), (-0.3, 0.95))),
        Part("cap", above(ellipse(0.0, 0.08, 0.95, 0.9), 0.12)),
        Part(
            "spot",
            union(ellipse(-0.48, -0.18, 0.17, 0.17), ellipse(0.02, -0.48, 0.19, 0.19), ellipse(0.5, -0.14, 0.17, 0.17)),
            plain=True,
        ),
    ),
    "rocket": (
        Part("flame", polygon((-0.2, 0.6), (0.2, 0.6), (0.0, 1.0)), plain=True),
        Part(
            "fin", union(polygon((-0.2, 0.1), (-0.2, 0.7), (-0.65, 0.8)), polygon((0.2, 0.1), (0.65, 0.8), (0.2, 0.7)))
        ),
        Part("hull", box(0.0, 0.1, 0.32, 0.55)),
        Part("nose", above(ellipse(0.0, -0.42, 0.32, 0.58), -0.4)),
        Part("window", ellipse(0.0, -0.08, 0.17, 0.17), plain=True),
    ),
    "tree": (
        Part("trunk", polygon((-0.1, -0.1), (0.1, -0.1), (0.2, 0.98), (-0.2, 0.98))),
        Part(
            "crown",
            union(ellipse(0.0, -0.52, 0.45, 0.45), ellipse(-0.42, -0.08, 0.42, 0.4), ellipse(0.42, -0.08, 0.42, 0.4)),
        ),
    ),
    "truck": (
        Part("cargo", box(-0.33, -0.1, 0.65, 0.55)),
        Part("cabin", box(0.66, 0.13, 0.32, 0.32)),
        Part("window", box(0.74, 0.0, 0.16, 0.14), plain=True),
        Part(
            "wheel",
            union(ellipse(-0.65, 0.55, 0.22, 0.22), ellipse(-0.1, 0.55, 0.22, 0.22), ellipse(0.62, 0.55, 0.22, 0.22)),
        ),
    ),
}
