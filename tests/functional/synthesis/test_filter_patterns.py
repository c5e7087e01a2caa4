import pytest
import torch
from torch import nn

from lightning_interp.functional.synthesis import filter_patterns
from lightning_interp.models import ResNet18ForSmallImages

GABOR = torch.stack(
    [
        torch.cos(torch.linspace(-3, 3, 7)[None] * c + torch.linspace(-3, 3, 7)[:, None] * s)
        for c, s in ((1, 0), (0, 1), (1, 1), (2, -1))
    ]
)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"padding": 3},
        {"stride": 2, "padding": 3},
        {"stride": 3, "padding": 1},
        {"padding": "same"},
        {"dilation": 2},
    ],
)
def test_known_filters_are_recovered(options):
    conv = nn.Conv2d(3, 4, 7, **options)
    conv.weight.data = GABOR[:, None] * torch.tensor([1.0, 0.5, -0.7])[None, :, None, None]
    found = filter_patterns(nn.Sequential(conv, nn.BatchNorm2d(4), nn.ReLU(inplace=True)))
    assert found.layer == "0"
    assert torch.equal(found.filters, conv.weight)
    assert (found.cosines > 0.95).all()
    assert found.cosines.tolist() == pytest.approx(
        [
            float(torch.cosine_similarity(p.flatten(), f.flatten(), 0).detach())
            for p, f in zip(found.patterns, conv.weight, strict=True)
        ]
    )


def test_grouped_filters_see_their_channels():
    found = filter_patterns(nn.Sequential(nn.Conv2d(4, 6, 3, groups=2, padding=1)))
    assert found.patterns.shape == (6, 2, 3, 3)
    assert (found.cosines > 0.95).all()


def test_a_whole_network_is_run_to_its_first_layer_only():
    found = filter_patterns(ResNet18ForSmallImages(in_channels=1), steps=300)
    assert found.layer == "trunk.conv1"
    assert found.patterns.shape == (64, 1, 3, 3)
    assert (found.cosines > 0.95).all()


def test_a_filter_of_zeros_has_no_cosine():
    conv = nn.Conv2d(1, 2, 3)
    conv.weight.data[1] = 0
    assert filter_patterns(nn.Sequential(conv), steps=50).cosines.isnan().tolist() == [False, True]


def test_bad_layers():
    with pytest.raises(ValueError, match=r"this model has no nn.Conv2d"):
        filter_patterns(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(ValueError, match="the name of a 2d convolution"):
        filter_patterns(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), "1")
