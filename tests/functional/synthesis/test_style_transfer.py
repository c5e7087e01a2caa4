import pytest
import torch
from torch import Generator, nn

from lightning_interp.functional.synthesis import TotalVariation, gram_match, style_transfer
from lightning_interp.models import SVHNCNN

GENERATOR = Generator().manual_seed(0)
STRIPES = (torch.arange(24) % 4 < 2).float().expand(1, 3, 20, 24)
BLOB = torch.zeros(1, 3, 32, 32)
BLOB[:, 0, 8:24, 8:24] = 1.0


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return SVHNCNN(width=8)


@pytest.mark.parametrize(("optimizer", "steps"), [("lbfgs", 15), ("adam", 60)])
def test_the_style_comes(net, optimizer, steps):
    found = style_transfer(net, BLOB, STRIPES, optimizer=optimizer, steps=steps)
    assert found.images.shape == BLOB.shape
    plain = style_transfer(net, BLOB, STRIPES, steps=1, lr=1e-9)
    assert found.style_losses < 0.6 * plain.style_losses
    assert found.trace[-1] < found.trace[0]
    assert ((found.pixels >= 0) & (found.pixels <= 1)).all()


def test_losses_are_those_of_the_survey(net):
    found = style_transfer(
        net, BLOB, STRIPES, content_layers="features.5", style_layers=["features.1", "features.3"], steps=2
    )
    net.eval()
    with torch.no_grad():
        a = {i: (net.features[: i + 1](found.images), net.features[: i + 1](STRIPES)) for i in (1, 3)}
        content, target = net.features[:6](found.images), net.features[:6](BLOB)
    torch.testing.assert_close(found.content_losses, ((content - target).square().sum() / target.square().sum())[None])
    style = sum(-gram_match("x", painting)({"x": seen}) for seen, painting in a.values())
    torch.testing.assert_close(found.style_losses, style)
    assert (found.content_layers, found.style_layers) == (("features.5",), ("features.1", "features.3"))


def test_weights_decide(net):
    options = {"content_layers": "features.1", "style_layers": "features.1", "steps": 10}
    keeps = style_transfer(net, BLOB, STRIPES, style_weight=0.0, **options)
    paints = style_transfer(net, BLOB, STRIPES, content_weight=0.0, **options)
    assert keeps.content_losses < 1e-2 < paints.content_losses
    assert paints.style_losses < keeps.style_losses


def test_from_noise_with_a_seed(net):
    options = {"start": "noise", "steps": 3, "regularizers": [TotalVariation(0.1)]}
    first = style_transfer(net, BLOB, STRIPES, seed=1, **options)
    assert torch.equal(style_transfer(net, BLOB, STRIPES, seed=1, **options).images, first.images)
    assert not torch.equal(style_transfer(net, BLOB, STRIPES, seed=2, **options).images, first.images)


def test_layers_are_chosen_among_those_with_maps(net):
    found = style_transfer(net, BLOB, STRIPES, steps=1)
    assert len(found.style_layers) == 5
    assert all(name.startswith("features.") for name in (*found.content_layers, *found.style_layers))


def test_bad_arguments(net):
    with pytest.raises(ValueError, match=r"`style` parameter .* one image, or 1, \(N, 3, h, w\)"):
        style_transfer(net, BLOB, STRIPES[:, :1])
    with pytest.raises(ValueError, match="`start` parameter"):
        style_transfer(net, BLOB, STRIPES, start="style")
    with pytest.raises(ValueError, match="`content` parameter"):
        style_transfer(net, BLOB[0], STRIPES)
    with pytest.raises(ValueError, match="no layer of this model has a map"):
        style_transfer(nn.Sequential(nn.Flatten(), nn.Linear(3072, 4)), BLOB, BLOB)
    with pytest.raises(ValueError, match="a layer with maps"):
        style_transfer(net, BLOB, BLOB, content_layers="features.1", style_layers="classifier")
