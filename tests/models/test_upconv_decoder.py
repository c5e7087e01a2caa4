import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import conv2d, conv_transpose2d

from lightning_interp.models.upconv_decoder import TopLeftUnpool, UpconvDecoder


def test_unpooling_is_a_transposed_convolution_with_one_weight():
    features = torch.randn(2, 3, 4, 5, requires_grad=True)
    kernel = torch.zeros(3, 1, 2, 2)
    kernel[:, :, 0, 0] = 1
    expected = conv_transpose2d(features, kernel, stride=2, groups=3)
    blocks = TopLeftUnpool()(features)
    assert torch.equal(blocks, expected)
    (gradient,) = torch.autograd.grad((blocks * torch.arange(80.0).view(8, 10)).sum(), features)
    assert torch.equal(gradient[0, 0], torch.arange(80.0).view(8, 10)[::2, ::2])


@pytest.mark.parametrize(
    ("feature_shape", "image_shape", "n_doublings", "map_size"),
    [
        ((8, 32, 32), (3, 32, 32), 0, (32, 32)),
        ((8, 4, 4), (3, 32, 32), 3, (4, 4)),
        ((8, 17, 9), (1, 33, 17), 1, (17, 9)),  # strides round up
        ((8, 16, 16), (3, 33, 33), 1, (17, 17)),  # poolings round down
        ((8, 12, 12), (1, 28, 28), 1, (14, 14)),  # convolutions without padding
        ((8, 2, 7), (3, 15, 56), 3, (2, 7)),
        ((8, 1, 8), (3, 32, 32), 2, (8, 8)),
        ((8, 40, 40), (3, 32, 32), 0, (32, 32)),
        ((8, 5), (3, 7, 7), None, None),
        ((10,), (3, 32, 32), 3, (4, 4)),
        ((10, 1, 1), (3, 32, 32), 3, (4, 4)),
        ((10,), (3, 2, 1), 0, (2, 1)),
        ((10,), (2, 45, 31), 3, (6, 4)),
    ],
)
def test_images_of_any_size_from_features_of_any_size(feature_shape, image_shape, n_doublings, map_size):
    if n_doublings is None:
        with pytest.raises(ValueError, match=r"`feature_shape` .* must be \(units,\) or \(C, h, w\).*Got \(8, 5\)"):
            UpconvDecoder(feature_shape, image_shape)
        return
    decoder = UpconvDecoder(feature_shape, image_shape, width=4)
    seen = []
    decoder.body[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[2:]))
    features = torch.randn(2, *feature_shape, requires_grad=True)
    images = decoder(features)
    assert images.shape == (2, *image_shape)
    assert sum(isinstance(module, TopLeftUnpool) for module in decoder.modules()) == n_doublings
    assert seen == [map_size]
    (gradient,) = torch.autograd.grad(images.square().sum(), features)
    assert bool((gradient.abs().sum((0, 1)) > 0).all()), "some feature reaches no pixel"


def test_a_feature_reaches_the_pixels_it_came_from():
    torch.manual_seed(0)
    decoder = UpconvDecoder((4, 12, 12), (1, 28, 28), width=4)
    features = torch.zeros(1, 4, 12, 12)
    features[..., 11, 3] = 1.0
    touched = (decoder(features) - decoder(torch.zeros(1, 4, 12, 12)))[0, 0].detach().abs()
    rows, columns = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    centre = [float((touched * place).sum() / touched.sum()) for place in (rows, columns)]
    assert centre[0] == pytest.approx(25, abs=2.5)
    assert centre[1] == pytest.approx(28 * 3.5 / 12, abs=2.5)


def test_it_is_what_the_paper_says():
    """Convolution, unpooling, convolution, with leaky ReLUs of slope 0.2: written out."""
    torch.manual_seed(0)
    decoder = UpconvDecoder((2, 3, 3), (1, 6, 6), width=2, feature_scale=4.0)
    features = torch.randn(3, 2, 3, 3)

    def leaky(x):
        return torch.where(x >= 0, x, 0.2 * x)

    first, up, last = (module for module in decoder.body if isinstance(module, nn.Conv2d))
    x = leaky(conv2d(features / 4, first.weight, first.bias, padding=1))
    spread = torch.zeros(3, x.shape[1], 6, 6)
    for i in range(3):
        for j in range(3):
            spread[:, :, 2 * i, 2 * j] = x[:, :, i, j]
    x = leaky(conv2d(spread, up.weight, up.bias, padding=2))
    torch.testing.assert_close(decoder(features), conv2d(x, last.weight, last.bias, padding=1))


@pytest.mark.parametrize("feature_shape", [(16, 4, 4), (16, 32, 32), (50,)])
def test_training_starts_near_the_mean_image(feature_shape):
    torch.manual_seed(0)
    images = UpconvDecoder(feature_shape, (3, 32, 32))(torch.randn(8, *feature_shape))
    assert 0.01 < images.std() < 0.5


@pytest.mark.parametrize("feature_shape", [(5, 4, 3), (7,)])
def test_a_file_gives_the_same_decoder(feature_shape, tmp_path):
    decoder = UpconvDecoder(feature_shape, (3, 13, 9), width=4, feature_scale=0.3).to(memory_format=torch.channels_last)
    decoder.save(tmp_path / "decoder.safetensors")
    again = UpconvDecoder.load(tmp_path / "decoder.safetensors")
    features = torch.randn(2, *feature_shape)
    torch.testing.assert_close(again(features), decoder(features))
    assert all(
        torch.equal(a, b) for a, b in zip(again.state_dict().values(), decoder.state_dict().values(), strict=True)
    )
    assert (again.feature_shape, again.image_shape, again.width) == (feature_shape, (3, 13, 9), 4)
    assert json.dumps(again.config()) == json.dumps(decoder.config())


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"image_shape": (32, 32)}, ValueError, r"`image_shape` parameter of `UpconvDecoder` must be \(C, h, w\)"),
        ({"feature_shape": (0,)}, ValueError, r"`feature_shape` .* an int in \[1, inf\). Got 0"),
        ({"feature_shape": (2.0,)}, TypeError, "Got 2.0"),
        ({"width": 0}, ValueError, "`width` parameter"),
        ({"feature_scale": 0.0}, ValueError, "`feature_scale` parameter"),
    ],
)
def test_bad_shapes(options, error, match):
    with pytest.raises(error, match=match):
        UpconvDecoder(**{"feature_shape": (4,), "image_shape": (3, 8, 8), **options})


def test_features_of_another_shape_and_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"of shape \(N, \*\(4, 2, 2\)\). Got Tensor of shape \(1, 4, 3, 3\)"):
        UpconvDecoder((4, 2, 2), (3, 8, 8))(torch.zeros(1, 4, 3, 3))
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"`path` .* must be a file that `save` wrote"):
        UpconvDecoder.load(tmp_path / "other.safetensors")
