import time

import numpy as np
import pytest

from lightning_interp.datasets.toy_objects import OBJECTS
from lightning_interp.datasets.toy_render import CLASSES, PARTS, draw_frames

N = np.arange(240)
LABELS = N % len(CLASSES)


def frames(rows=N, size=(32, 32), seed=0, stream=0):
    found = list(draw_frames(rows, LABELS[rows], rows // 24, size=size, seed=seed, stream=stream))
    names = ("images", "part", "color", "texture", "scene")
    return {name: np.concatenate([getattr(f, name) for f in found]) for name in names}


def test_images_do_not_depend_on_company_or_order():
    together, shuffled = frames(), np.random.default_rng(0).permutation(N)
    mixed = frames(shuffled)
    for name in together:
        assert np.array_equal(together[name][shuffled], mixed[name])
    for i in (0, 17, 239):
        alone = frames(N[i : i + 1])
        for name in together:
            assert np.array_equal(together[name][i : i + 1], alone[name])


def test_every_part_belongs_to_the_class():
    part = frames()["part"]
    for i in N:
        allowed = {p.name for p in OBJECTS[CLASSES[LABELS[i]]]}
        assert {PARTS[v - 1] for v in np.unique(part[i]) if v} <= allowed
        assert 0.05 < (part[i] > 0).mean() < 0.8


def test_everything_is_labelled_and_varied():
    found = frames()
    assert found["color"].min() >= 1
    assert found["color"].max() == 11
    assert set(np.unique(found["texture"])) == set(range(1, 7))
    assert set(np.unique(found["scene"])) == set(range(5))


def test_scene_and_class_are_independent():
    n = 6000
    rows, labels = np.arange(n), np.arange(n) % 12
    scene = np.concatenate([f.scene for f in draw_frames(rows, labels, rows, size=(8, 8), seed=0, stream=0)])
    table = np.zeros((12, 5))
    np.add.at(table, (labels, scene), 1)
    expected = n / 60
    assert ((table - expected) ** 2 / expected).sum() < 80  # chi-squared, 44 degrees of freedom: p = 0.0007


def test_resolution_changes_only_the_resolution():
    small, large = frames(N[:48]), frames(N[:48], size=(128, 128))
    assert np.array_equal(small["scene"], large["scene"])
    coarse = large["images"].reshape(48, 3, 32, 4, 32, 4).mean((3, 5))
    assert np.abs(coarse - small["images"]).mean() < 16  # of 255; two different images differ by 60


@pytest.mark.parametrize("size", [(32, 48), (64, 40), (256, 256)])
def test_other_sizes(size):
    found = frames(N[:12], size=size)
    assert found["images"].shape == (12, 3, *size)
    assert ((found["part"] > 0).sum((1, 2)) > 0.02 * size[0] * size[1]).all()


def test_fast():
    """2000 images per second is the budget on an idle core; half of that still catches a wrong turn."""
    rows = np.arange(1024)
    frames(N)
    start = time.process_time()
    list(draw_frames(rows, rows % 12, rows, size=(32, 32), seed=0, stream=0))
    assert 1024 / (time.process_time() - start) > 1000
