import pytest
import torch
from torch import Generator, nn

from lightning_interp.datasets import ToyScenes
from lightning_interp.functional.synthesis import Inversion, TotalVariation, invert
from lightning_interp.models import SVHNCNN

MEAN, STD = (0.5, 0.5, 0.55), (0.2, 0.17, 0.22)


@pytest.fixture(scope="module")
def images():
    scenes = ToyScenes(3, size=32)
    pixels = torch.stack([scenes[i][0] for i in range(3)])
    return (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return SVHNCNN(width=16)


def test_the_first_layer_gives_the_image_back(net, images):
    found = invert(net, images, "features.1", mean=MEAN, std=STD, steps=250)
    assert (found.feature_errors < 0.05).all()
    assert (found.pixel_errors < 0.25).all()
    assert ((found.pixels >= 0) & (found.pixels <= 1)).all()


def test_errors_are_what_they_say(net, images):
    found = invert(net, images, "features.5", mean=MEAN, std=STD, steps=3)
    net.eval()
    with torch.no_grad():
        target, reached = net.features[:6](images), net.features[:6](found.reconstructions)
    feature = (reached - target).flatten(1).norm(dim=1) / target.flatten(1).norm(dim=1)
    torch.testing.assert_close(found.feature_errors, feature, atol=1e-4, rtol=1e-4)
    grey = images.mean((2, 3), keepdim=True).expand_as(images)
    pixel = [(r - x).norm() / (x - g).norm() for r, x, g in zip(found.reconstructions, images, grey, strict=True)]
    torch.testing.assert_close(found.pixel_errors, torch.stack(pixel))
    torch.testing.assert_close(found.feature_errors, found.trace.amin(0), atol=1e-6, rtol=1e-6)


def test_deeper_layers_know_less(net, images):
    errors = [
        invert(net, images, f"features.{i}", mean=MEAN, std=STD, steps=120).pixel_errors.mean() for i in (1, 5, 15)
    ]
    assert errors[0] < 0.5 * errors[1]
    assert errors[1] < errors[2]


@pytest.mark.parametrize(("optimizer", "lr"), [("adam", 0.05), ("lbfgs", 1.0)])
@pytest.mark.parametrize("parameters", ["pixel", "fourier"])
def test_other_ways(net, images, optimizer, lr, parameters):
    found = invert(
        net, images[:1], "features.1", parameters=parameters, optimizer=optimizer, lr=lr, steps=40, mean=MEAN, std=STD
    )
    assert found.feature_errors < 0.5 * found.trace[0]


def test_the_regulariser_is_added_and_fidelity_weighs_against_it(net, images):
    options = {"mean": MEAN, "std": STD, "steps": 60}
    smooth = invert(net, images[:1], "features.7", regularizers=[TotalVariation(1.0)], **options)
    free = invert(net, images[:1], "features.7", regularizers=[], **options)
    faithful = invert(net, images[:1], "features.7", regularizers=[TotalVariation(1.0)], fidelity=1e4, **options)
    roughness = [float(TotalVariation(1.0).penalty(found.reconstructions)) for found in (smooth, free, faithful)]
    assert roughness[0] < 0.3 * roughness[1]
    assert roughness[0] < 0.3 * roughness[2]
    assert faithful.feature_errors < smooth.feature_errors


def test_grey_and_non_square_images():
    net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU())
    found = invert(net, torch.rand(2, 1, 9, 14, generator=Generator().manual_seed(0)), "1", steps=5)
    assert found.reconstructions.shape == (2, 1, 9, 14)


def test_file(net, images, tmp_path):
    found = invert(net, images, "features.1", steps=2, mean=MEAN, std=STD)
    found.save(tmp_path / "found.safetensors")
    again = Inversion.load(tmp_path / "found.safetensors")
    assert (again.layer, again.stopped, again.space) == (found.layer, found.stopped, found.space)
    for name in ("images", "reconstructions", "feature_errors", "pixel_errors", "trace"):
        assert torch.equal(getattr(again, name), getattr(found, name))


def test_bad_arguments(net, images):
    with pytest.raises(ValueError, match=r"`images` parameter of `invert` must be images \(N, C, H, W\)"):
        invert(net, images[0], "features.1")
    with pytest.raises(ValueError, match="`parameters` parameter"):
        invert(net, images, "features.1", parameters="code")
    silent = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU())
    nn.init.constant_(silent[0].weight, 0.0)
    nn.init.constant_(silent[0].bias, -1.0)
    with pytest.raises(ValueError, match=r"'1' is silent on images \[0, 1, 2\]"):
        invert(silent, images, "1")
    with pytest.raises(ValueError, match="`fidelity` parameter"):
        invert(net, images, "features.1", fidelity=0.0)
