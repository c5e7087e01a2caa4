import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate
from torchvision.models import resnet18, squeezenet1_1

from lightning_interp.functional.localization import feature_rows, nmf_heatmaps
from lightning_interp.functional.localization.alignment import cell_centers, enlarge
from lightning_interp.hooks import forward_to


def ones(*layers):
    net = nn.Sequential(*layers)
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.constant_(layer.weight, 1.0)
            nn.init.zeros_(layer.bias)
    return net


NETS = {
    "padded": (nn.Conv2d(1, 1, 3, padding=1), nn.ReLU()),
    "without padding": (nn.Conv2d(1, 1, 5), nn.ReLU()),
    "strided": (nn.Conv2d(1, 1, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(1, 1, 3, stride=2, padding=1)),
    "strided without padding": (nn.Conv2d(1, 1, 3, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
    "pooled": (nn.Conv2d(1, 1, 3, padding=1), nn.AvgPool2d(2), nn.Conv2d(1, 1, 3, padding=1), nn.AvgPool2d(2)),
    "dilated": (nn.Conv2d(1, 1, 3, dilation=2, padding=2), nn.ReLU(), nn.MaxPool2d(3, 3)),
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("size", [(32, 32), (33, 41)])
def test_a_bright_spot_is_where_it_is(name, size):
    """The centre of mass of the enlarged map is the spot, for every spot away from the border."""
    net = ones(*NETS[name])
    grid = torch.arange(size[0])[:, None], torch.arange(size[1])[None]
    offsets = []
    for spot in [(row, column) for row in range(13, 21) for column in range(13, 21)]:
        image = torch.zeros(1, 1, *size)
        image[(0, 0, *spot)] = 1.0
        with feature_rows(net, image, str(len(net) - 1)) as found:
            _, h, w = found.shape
            enlarged = enlarge(found.rows.view(h, w), *found.centers, size)
        mass = [float((enlarged * axis).sum() / enlarged.sum()) for axis in grid]
        offsets.append([mass[0] - spot[0], mass[1] - spot[1]])
    offsets = torch.tensor(offsets)
    assert offsets.mean(0).abs().max() < 0.3  # no shift; single spots are off by the coarseness of the cells
    assert offsets.abs().max() < 2.5


@pytest.mark.parametrize(
    ("make", "layer", "first", "step"), [(resnet18, "layer2", 0.0, 8.0), (squeezenet1_1, "features.7", 7.0, 8.0)]
)
def test_known_networks(make, layer, first, step):
    with forward_to(make(weights=None), layer) as features:
        image = torch.rand(1, 3, 160, 224, requires_grad=True)
        rows, columns = cell_centers(features(image)[layer], image)
    for centers in (rows, columns):
        assert centers.tolist() == [first + step * i for i in range(len(centers))]


def test_cells_share_the_image_evenly_where_fields_tell_nothing():
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(1, 1, 1), nn.Upsample(scale_factor=4))
    image = torch.rand(1, 1, 8, 16, requires_grad=True)
    rows, columns = cell_centers(net(image), image)
    assert rows.tolist() == [0.5, 2.5, 4.5, 6.5]
    assert columns.tolist() == [1.5, 5.5, 9.5, 13.5]


def test_even_cells_are_enlarged_as_torch_does():
    maps = torch.rand(2, 3, 4, 5)
    rows, columns = (torch.arange(4) + 0.5) * 6 - 0.5, (torch.arange(5) + 0.5) * 4 - 0.5
    expected = interpolate(maps, (24, 20), mode="bilinear", align_corners=False)
    torch.testing.assert_close(enlarge(maps, rows.double(), columns.double(), (24, 20)), expected)


def test_a_map_of_one_cell_is_constant():
    assert torch.equal(enlarge(torch.tensor([[3.0]]), torch.zeros(1), torch.zeros(1), (2, 3)), torch.full((2, 3), 3.0))


def test_a_bright_patch_through_heatmaps():
    net = ones(nn.Conv2d(1, 1, 3, stride=2), nn.ReLU(), nn.Conv2d(1, 1, 3, stride=2), nn.ReLU())
    images = torch.zeros(3, 1, 47, 61)
    for i, (top, left) in enumerate([(4, 6), (20, 30), (28, 40)]):
        images[i, 0, top : top + 12, left : left + 12] = 1.0
    maps = nmf_heatmaps(net, images, 1, layer="3").maps[:, 0]
    for i, (top, left) in enumerate([(4, 6), (20, 30), (28, 40)]):
        where = (maps[i] > 0.5 * maps[i].max()).nonzero().double()
        assert (where.mean(0) - torch.tensor([top + 5.5, left + 5.5])).abs().max() < 1.0


def test_autocast_takes_no_digits():
    maps, rows = torch.rand(2, 5, 7), torch.arange(5) * 3.3
    plain = enlarge(maps, rows.double(), torch.arange(7).double() * 2.1, (17, 15))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(enlarge(maps, rows.double(), torch.arange(7).double() * 2.1, (17, 15)), plain)
