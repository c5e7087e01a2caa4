import pytest
import torch
from torch import Generator, nn
from torch.nn.functional import cosine_similarity

from lightning_interp.functional import nmf
from lightning_interp.functional.synthesis import (
    GaussianBlur,
    GeneratedImages,
    Jitter,
    Maximization,
    channel,
    direction,
    logit,
    maximize_activation,
    unit,
)
from lightning_interp.hooks import capture
from lightning_interp.models import SVHNCNN, ResNet18ForSmallImages

NORM = {"mean": (0.5, 0.4, 0.6), "std": (0.2, 0.25, 0.3)}


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return SVHNCNN(width=8)


@pytest.mark.parametrize("parameters", ["fourier", "pixel"])
def test_many_units_in_one_batch_rise_and_are_what_the_network_says(net, parameters):
    objectives = [channel("features.5", i) for i in range(6)]
    options = {"image_shape": (3, 24, 20), "parameters": parameters, "regularizers": (), "steps": 30, **NORM}
    found = maximize_activation(net, objectives, **options)
    assert found.images.shape == (6, 3, 24, 20)
    assert (found.activations > found.trace[0]).all()
    net.eval()
    with torch.no_grad():
        maps = net.features[:6](found.images)
    expected = torch.stack([maps[i, i].mean() for i in range(6)])
    torch.testing.assert_close(found.activations, expected, atol=1e-4, rtol=1e-4)
    assert ((found.pixels >= 0) & (found.pixels <= 1)).all()


def test_a_seed_makes_the_picture(net):
    def run(seed):
        return maximize_activation(net, channel("features.3", 1), image_shape=(3, 16, 16), steps=5, seed=seed).images

    state = torch.get_rng_state()
    first = run(3)
    torch.rand(7)
    assert torch.equal(run(3), first)
    assert not torch.equal(run(4), first)
    assert not torch.equal(torch.get_rng_state(), state)  # by the rand above alone:
    state = torch.get_rng_state()
    run(3)
    assert torch.equal(torch.get_rng_state(), state)


def test_planted_pattern_in_the_second_layer():
    """A unit that looks for two known patches side by side is shown them."""
    net = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.ReLU(), nn.Conv2d(2, 1, (1, 4), bias=False))
    patches = torch.randn(2, 1, 3, 3, generator=Generator().manual_seed(0))
    net[0].weight.data = patches
    net[2].weight.data = torch.zeros(1, 2, 1, 4)
    net[2].weight.data[0, 0, 0, 0] = net[2].weight.data[0, 1, 0, 3] = 1.0
    start = torch.full((1, 1, 3, 6), 0.5)
    found = maximize_activation(
        net, unit("2", 0), parameters="pixel", start=start, regularizers=(), steps=3, lr=1e-4, optimizer="sgd"
    )
    moved = (found.images - start)[0, 0]
    assert cosine_similarity(moved[:, :3].flatten(), patches[0].flatten(), dim=0) > 0.95
    assert cosine_similarity(moved[:, 3:].flatten(), patches[1].flatten(), dim=0) > 0.95


def test_directions_of_an_nmf(net):
    images = torch.rand(6, 3, 32, 32, generator=Generator().manual_seed(0))
    with capture(net.eval(), "features.5") as seen:
        net(images)
    rows = seen["features.5"].movedim(1, -1).flatten(0, 2)
    factors = nmf(rows, 3)
    found = maximize_activation(
        net, [direction("features.5", row) for row in factors.v], image_shape=(3, 24, 24), steps=40
    )
    with capture(net.features, "5") as seen:
        net.features(found.images)
    shown = seen["5"].flatten(2).mean(2)
    cosines = cosine_similarity(shown[:, None], factors.v[None], dim=2)
    assert cosines.argmax(1).tolist() == [0, 1, 2]
    assert found.names == ("direction in features.5",) * 3


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_any_number_of_channels_and_non_square_images(channels):
    net = ResNet18ForSmallImages(in_channels=channels)
    for parameters in ("fourier", "pixel"):
        found = maximize_activation(
            net, logit(1), image_shape=(channels, 17, 33), parameters=parameters, steps=2, n_images=2
        )
        assert found.images.shape == (2, channels, 17, 33)
        assert not torch.equal(found.images[0], found.images[1])


def test_a_mean_image_to_start_from(net):
    mean = torch.full((1, 3, 32, 32), 0.3)
    found = maximize_activation(net, [logit(0), logit(1)], parameters="pixel", start=mean, steps=1, lr=1e-6)
    torch.testing.assert_close(found.images, mean.expand(2, -1, -1, -1), atol=1e-5, rtol=0)


def test_a_generator_keeps_to_what_it_can_make(net):
    basis = torch.rand(3, 3, 32, 32, generator=Generator().manual_seed(0))
    prior = GeneratedImages(
        lambda code: torch.einsum("nk,kchw->nchw", code.softmax(1), basis), torch.zeros(2, 3), l2=1e-3
    )
    found = maximize_activation(net, [logit(3), -logit(3)], parameters=prior, steps=100, lr=0.1, regularizers=())
    with torch.no_grad():
        scores = net.eval()(basis)[:, 3]
    assert found.images.amin() >= basis.amin()
    assert scores.min() - 0.5 < -found.activations[1] < found.activations[0] < scores.max() + 0.5
    assert found.names == ("class 3", "-1 * class 3")


def test_a_fixed_example_input_gives_the_shape():
    net = SVHNCNN(width=4)
    net.example_input_array = torch.zeros(1, 3, 32, 32)
    assert maximize_activation(net, logit(0), steps=1).images.shape == (1, 3, 32, 32)


def test_table_and_file(net, tmp_path):
    found = maximize_activation(
        net, [logit(0), logit(1)], image_shape=(3, 32, 32), steps=2, regularizers=[Jitter(1)], **NORM
    )
    table = found.to_dataframe()
    assert table["objective"].tolist() == ["class 0", "class 1"]
    assert table["activation"].tolist() == found.activations.tolist()
    found.save(tmp_path / "found.safetensors")
    again = Maximization.load(tmp_path / "found.safetensors")
    assert (again.names, again.space, again.stopped) == (found.names, found.space, found.stopped)
    assert torch.equal(again.images, found.images)
    assert torch.equal(again.trace, found.trace)


def test_bad_arguments(net):
    with pytest.raises(ValueError, match=r"`image_shape` parameter .* \(channels, height, width\)"):
        maximize_activation(net, logit(0))
    with pytest.raises(ValueError, match="'fourier', 'pixel'"):
        maximize_activation(net, logit(0), image_shape=(3, 32, 32), parameters="wavelet")
    with pytest.raises(ValueError, match="the only one with a start image"):
        maximize_activation(net, logit(0), start=torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match="`start` parameter"):
        maximize_activation(net, logit(0), parameters="pixel", image_shape=(3, 32, 32), start=torch.zeros(5, 3, 32, 32))
    with pytest.raises(ValueError, match="for each of 3 channels"):
        maximize_activation(net, logit(0), image_shape=(3, 32, 32), mean=(0.5, 0.5))
    with pytest.raises(ValueError, match=r"Layer .features.3. has 8 units"):
        maximize_activation(net, channel("features.3", 8), image_shape=(3, 32, 32))
    with pytest.raises(ValueError, match="parameters='pixel'"):
        maximize_activation(net, logit(0), image_shape=(3, 32, 32), regularizers=[GaussianBlur()])
    with pytest.raises(ValueError, match="`seed` parameter of `maximize_activation`"):
        maximize_activation(net, logit(0), image_shape=(3, 32, 32), seed=-1)
