import numpy as np
import pytest

from lightning_interp.datasets.toy_paint import COLORS, TEXTURES, Canvas, patterns, triangle

ROWS, COLUMNS = np.meshgrid(np.arange(40, dtype=np.float32), np.arange(40, dtype=np.float32), indexing="ij")


def flat():
    return patterns(COLUMNS[None] / 10, ROWS[None] / 10, np.full((1, 1, 1), 2.5, dtype=np.float32))


def test_names_are_those_of_broden():
    assert COLORS == ("black", "blue", "brown", "green", "grey", "orange", "pink", "purple", "red", "white", "yellow")
    assert len(TEXTURES) >= 6


def test_triangle_wave():
    assert triangle(np.float32([0, 0.25, 0.5, 1, -1, 1.5])).tolist() == [1, 0, -1, 1, 1, -1]


def test_patterns_are_what_they_are_called():
    shades = dict(zip(TEXTURES, flat()[:, 0], strict=True))
    assert not shades["plain"].any()
    assert (shades["striped"] == shades["striped"][:1]).all()  # no change along a stripe
    assert np.allclose(shades["striped"][:, :30], shades["striped"][:, 10:], atol=1e-5)  # period 10
    assert shades["striped"].mean() == pytest.approx(0.5, abs=0.05)
    assert np.allclose(shades["checkered"], 1 - np.roll(shades["checkered"], 5, axis=1), atol=1e-5)  # next square
    assert 0.1 < shades["dotted"].mean() < 0.45
    assert (np.diff(shades["gradient"], axis=0) >= 0).all()
    assert shades["gradient"][-1, 0] > shades["gradient"][0, 0]
    assert not (shades["zigzag"] == shades["zigzag"][:1]).all()


def test_paint_covers_inside_only_and_writes_the_truth():
    canvas = Canvas(1, 40, 40)
    square = np.maximum(np.abs(COLUMNS - 19.5), np.abs(ROWS - 19.5))[None] - 10
    red, striped = COLORS.index("red"), TEXTURES.index("striped")
    canvas.paint(square, np.array([red]), np.array([striped]), flat(), part=3)
    inside = square[0] < 0
    for plane, value in ((canvas.color, red + 1), (canvas.texture, striped + 1), (canvas.part, 3)):
        assert (plane[0] == value * inside).all()
    assert not canvas.rgb[:, 0, ~inside].any()
    assert canvas.rgb[0, 0, 15:25, 15:25].min() > 0.45
    assert canvas.rgb[1:, 0].max() < 0.2


def test_edges_are_half_covered_on_the_outline():
    canvas, white = Canvas(1, 40, 40), np.array([COLORS.index("white")])
    canvas.paint((COLUMNS - 20)[None], white, np.array([0]), flat())
    assert canvas.rgb[0, 0, 0, 19:22].tolist() == pytest.approx([0.97, 0.485, 0], abs=1e-6)


def test_take_and_put():
    canvas = Canvas(3, 40, 40)
    part = canvas.take(np.array([2]))
    part.paint(np.full((1, 40, 40), -9, dtype=np.float32), np.array([8]), np.array([0]), flat())
    assert not canvas.rgb.any()
    canvas.put(np.array([2]), part)
    assert canvas.color[:, 0, 0].tolist() == [0, 0, 9]
    assert canvas.rgb[0, 2].min() > 0.8
