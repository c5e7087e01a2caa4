import numpy as np
import pytest

from lightning_interp.datasets.toy_objects import OBJECTS, above, box, ellipse, polygon, union

SIDE = (np.arange(200, dtype=np.float32) + 0.5) / 80 - 1.25
X, Y = np.meshgrid(SIDE, SIDE)
PIXEL = (SIDE[1] - SIDE[0]) ** 2


def area(shape):
    return (shape(X, Y) < 0).sum() * PIXEL


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (ellipse(0.1, -0.2, 0.6, 0.4), np.pi * 0.6 * 0.4),
        (box(0.2, 0.1, 0.5, 0.3), 4 * 0.5 * 0.3),
        (polygon((-0.5, 0.5), (0.5, 0.5), (0.0, -0.7)), 0.6),
        (polygon((0.0, -0.7), (0.5, 0.5), (-0.5, 0.5)), 0.6),  # the other way round
        (union(box(-0.5, 0, 0.2, 0.2), box(0.5, 0, 0.2, 0.2)), 0.32),
        (above(box(0, 0, 0.5, 0.5), 0.0), 0.5),
    ],
)
def test_areas(shape, expected):
    assert area(shape) == pytest.approx(expected, rel=0.03)


def test_distance_to_straight_edges_is_exact():
    for shape in (box(0, 0, 0.5, 0.5), polygon((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))):
        assert shape(np.float32([0.75]), np.float32([0.1])) == pytest.approx(0.25, abs=1e-6)
        assert shape(np.float32([0.3]), np.float32([0.1])) == pytest.approx(-0.2, abs=1e-6)


def test_enough_classes_of_named_parts():
    assert 10 <= len(OBJECTS) <= 12
    assert list(OBJECTS) == sorted(OBJECTS)
    for parts in OBJECTS.values():
        assert len({part.name for part in parts}) == len(parts) >= 2
    names = [part.name for parts in OBJECTS.values() for part in parts]
    assert {"wheel", "window", "wing", "eye", "stem"} <= {name for name in names if names.count(name) >= 2}


@pytest.mark.parametrize("name", OBJECTS)
def test_objects_fill_their_square_and_show_every_part(name):
    top = np.zeros(X.shape, dtype=int)
    for number, part in enumerate(OBJECTS[name], start=1):
        top[part.shape(X, Y) < 0] = number
    shown = top > 0
    assert not shown[(np.abs(X) > 1.05) | (np.abs(Y) > 1.05)].any()
    assert np.ptp(X[shown]) > 1.1
    assert np.ptp(Y[shown]) > 0.9
    for number in range(1, len(OBJECTS[name]) + 1):
        assert (top == number).sum() * PIXEL > 0.015
