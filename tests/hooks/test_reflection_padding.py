import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, pad
from torchvision.models import resnet18

from lightning_interp.hooks.reflection_padding import reflection_padding


@pytest.mark.parametrize(
    "options",
    [{"padding": 1}, {"padding": (2, 0)}, {"padding": "same", "dilation": 2}, {"padding": 1, "stride": 2, "groups": 2}],
)
def test_is_torchs_own_reflection(options):
    conv = nn.Conv2d(4, 6, 3, **options)
    mirrored = nn.Conv2d(4, 6, 3, padding_mode="reflect", **options)
    mirrored.load_state_dict(conv.state_dict())
    images = torch.rand(2, 4, 9, 7)
    with reflection_padding(conv):
        assert torch.equal(conv(images), mirrored(images))
    assert not torch.equal(conv(images), mirrored(images))


def test_small_maps_repeat_their_border():
    conv = nn.Conv2d(1, 1, 7, padding=3, bias=False)
    image = torch.rand(1, 1, 2, 9)
    with reflection_padding(conv):
        found = conv(image)
    torch.testing.assert_close(found, conv2d(pad(image, [3] * 4, mode="replicate"), conv.weight))


def test_the_model_is_left_as_it_was_after_an_error_too():
    net = resnet18(weights=None).eval()
    image = torch.rand(1, 3, 64, 64)
    before = net(image)
    with reflection_padding(net):
        assert not torch.equal(net(image), before)
    with pytest.raises(KeyError), reflection_padding(net):
        raise KeyError
    assert torch.equal(net(image), before)
    assert not any("_conv_forward" in vars(module) for module in net.modules())


def test_a_flat_image_stays_flat():
    net = nn.Sequential(*[nn.Conv2d(1 if i == 0 else 4, 4, 3, padding=1) for i in range(3)])
    image = torch.ones(1, 1, 8, 8)
    assert net(image).flatten(2).std(2).max() > 1e-3
    with reflection_padding(net):
        assert net(image).flatten(2).std(2).max() < 1e-6
