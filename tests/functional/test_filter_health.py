import itertools
import math

import pytest
import torch
from torch import nn

from lightning_interp.functional.filter_health import dead_units, high_frequency_share, largest_activations
from lightning_interp.hooks import capture


def by_sums(filters):
    """The share from the definition: every frequency, every pixel."""
    shares, size = [], 32
    for one in filters.tolist():
        high = total = 0.0
        for v in range(size):
            for u in range(size):
                fv, fu = ((k if k < size // 2 else k - size) / size for k in (v, u))
                for channel in one:
                    mean = sum(map(sum, channel)) / (len(channel) * len(channel[0]))
                    phases = [[-2 * math.pi * (fv * y + fu * x) for x in range(len(r))] for y, r in enumerate(channel)]
                    flat = zip(itertools.chain(*channel), itertools.chain(*phases), strict=True)
                    pairs = [(weight - mean, phase) for weight, phase in flat]
                    power = sum(w * math.cos(p) for w, p in pairs) ** 2 + sum(w * math.sin(p) for w, p in pairs) ** 2
                    total += power
                    high += power * (math.hypot(fv, fu) > 0.25)
        shares.append(high / total)
    return shares


def grating(frequency, angle, size=31):
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    phase = 2 * math.pi * frequency * (math.sin(angle) * y + math.cos(angle) * x)
    window = torch.hann_window(size, periodic=False)
    return (phase.cos() * window * window[:, None])[None, None]


def test_share_equals_a_loop_over_the_definition():
    filters = torch.randn(3, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    assert high_frequency_share(filters).tolist() == pytest.approx(by_sums(filters), abs=1e-6)


@pytest.mark.parametrize("angle", [0.0, 0.4, 0.8, 1.6])
def test_gratings_are_on_their_side_of_half_nyquist(angle):
    assert float(high_frequency_share(grating(0.15, angle))) < 0.01
    assert float(high_frequency_share(grating(0.35, angle))) > 0.99


def test_noise_is_spread_evenly_and_blurred_noise_is_low():
    noise = torch.randn(200, 3, 11, 11, generator=torch.Generator().manual_seed(0))
    blurred = nn.functional.avg_pool2d(noise, 4, 1)
    assert float(high_frequency_share(noise).mean()) == pytest.approx(1 - math.pi / 16, abs=0.02)
    assert float(high_frequency_share(blurred).mean()) < 0.35


def test_scale_and_constant_do_not_matter():
    filters = torch.randn(4, 3, 7, 7, generator=torch.Generator().manual_seed(0))
    shares = high_frequency_share(filters)
    assert torch.allclose(high_frequency_share(-3 * filters + 0.5), shares, atol=1e-5)
    assert torch.allclose(high_frequency_share(filters.flip(1, 2, 3)), shares, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 3, 5, 5), (2, 3, 1, 1), (1, 1, 40, 3)])
def test_constant_filters_have_no_high_frequencies(shape):
    assert high_frequency_share(torch.full(shape, 0.1)).tolist() == [0.0] * shape[0]
    assert high_frequency_share(torch.zeros(shape)).tolist() == [0.0] * shape[0]


def test_filters_larger_than_the_usual_size():
    assert float(high_frequency_share(grating(0.15, 0.4, size=45))) < 0.01


@pytest.mark.parametrize("shape", [(3, 5), (0, 3, 5, 5), (2, 3, 3, 3, 3)])
def test_other_weights_are_refused(shape):
    with pytest.raises(ValueError, match=r"`filters` .* of `high_frequency_share` must be weights \(O, I, h, w\)"):
        high_frequency_share(torch.zeros(shape))


def test_largest_activations_are_those_of_the_captured_maps():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(64, 5))
    images = torch.randn(6, 3, 6, 6)
    found = largest_activations(net, images, ["1", "2", "4"])
    assert net.training
    with capture(net.eval(), ["1", "2", "4"]) as expected, torch.no_grad():
        net(images)
    assert torch.equal(found["1"], expected["1"].amax((0, 2, 3)))
    assert torch.equal(found["2"], expected["2"].amax((0, 2, 3)))
    assert torch.equal(found["4"], expected["4"].amax(0))


def test_dead_means_never_above_zero():
    assert dead_units(torch.tensor([0.0, 1e-30, -1.0])).tolist() == [True, False, True]
