import numpy as np
import pytest

from lightning_interp.datasets.toy_backdrops import BLOB_DRAWS, SCENE_DRAWS, SCENES, View, paint_blob, paint_scenes
from lightning_interp.datasets.toy_draws import uniforms
from lightning_interp.datasets.toy_paint import COLORS, TEXTURES, Canvas

SIDE = (np.arange(32, dtype=np.float32) + 0.5) / 32
SHOWS = {  # scene -> colours and textures it is made of
    "city": ({"white", "grey", "black"}, {"gradient", "checkered", "plain"}),
    "field": ({"blue", "green"}, {"plain", "striped"}),
    "night": ({"black", "yellow"}, {"dotted", "plain"}),
    "sea": ({"white", "blue"}, {"gradient", "zigzag"}),
    "sky": ({"white", "blue"}, {"plain"}),
}


def view(b):
    return View(Canvas(b, 32, 32), SIDE[None, None, :], SIDE[None, :, None], 32.0)


@pytest.mark.parametrize("name", SCENES)
def test_scenes_are_made_of_their_colours_and_fill_the_image(name):
    ground = view(50)
    paint_scenes(ground, np.full(50, SCENES.index(name)), uniforms(0, 0, range(50), SCENE_DRAWS))
    canvas = ground.canvas
    assert canvas.color.min() > 0
    assert canvas.texture.min() > 0
    assert not canvas.part.any()
    assert {COLORS[i - 1] for i in np.unique(canvas.color)} == SHOWS[name][0]
    assert {TEXTURES[i - 1] for i in np.unique(canvas.texture)} == SHOWS[name][1]


def test_mixed_scenes_equal_one_by_one():
    scene, draws = np.arange(10) % len(SCENES), uniforms(0, 0, range(10), SCENE_DRAWS)
    together = view(10)
    paint_scenes(together, scene, draws)
    for i in range(10):
        alone = view(1)
        paint_scenes(alone, scene[i : i + 1], draws[i : i + 1])
        assert np.array_equal(alone.canvas.rgb[:, 0], together.canvas.rgb[:, i])


def test_half_of_the_blobs_stay_away_and_none_is_an_object():
    ground = view(400)
    ground.canvas.part[:] = 5
    paint_blob(ground, uniforms(0, 0, range(400), BLOB_DRAWS), largest=0.1)
    seen = (ground.canvas.color > 0).any((1, 2))
    assert 0.4 < seen.mean() < 0.6
    assert ((ground.canvas.part == 0) == (ground.canvas.color > 0)).all()
    assert (ground.canvas.color > 0).sum((1, 2)).max() <= np.pi * 3.7**2
