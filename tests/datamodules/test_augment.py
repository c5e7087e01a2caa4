import torch
from torch.nn.functional import pad

from lightning_interp.datamodules.augment import random_crop_flip


def test_equals_a_slow_loop():
    images = torch.rand(20, 3, 9, 7)
    found = random_crop_flip(images, padding=2, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    top, left = torch.randint(5, (2, 20, 1), generator=generator)
    mirror = torch.rand(20, 1, generator=generator) < 0.5
    for i in range(20):
        crop = pad(images[i], (2,) * 4)[:, top[i] : top[i] + 9, left[i] : left[i] + 7]
        assert torch.equal(found[i], crop.flip(2) if mirror[i] else crop)
    assert 4 < mirror.sum() < 16


def test_no_padding_only_mirrors():
    images = torch.rand(30, 1, 4, 5, dtype=torch.float64)
    found = random_crop_flip(images, padding=0)
    same = (found == images).flatten(1).all(1)
    assert (same | (found == images.flip(3)).flatten(1).all(1)).all()
    assert 0 < same.sum() < 30
    assert found.dtype == torch.float64
