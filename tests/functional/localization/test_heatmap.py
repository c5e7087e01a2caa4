import pytest
import torch
from torch import nn

from lightning_interp.exceptions import NegativeActivationsError
from lightning_interp.functional import nmf, pca
from lightning_interp.functional.localization import Heatmaps, nmf_heatmaps
from lightning_interp.models import SVHNCNN

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.rand(6, 3, 32, 32, generator=GENERATOR)
REGIONS = torch.zeros(5, 3, 12, 10)  # three disjoint regions that move from image to image
for i in range(5):
    REGIONS[i, 0, i : i + 4, 1:4] = 1.0
    REGIONS[i, 1, 2:6, 5 : 6 + i % 3] = 1.0
    REGIONS[i, 2, 9:, i : i + 3] = 1.0
PATTERNS = torch.block_diag(torch.ones(1, 4), torch.tensor([[1.0, 2.0, 3.0]]), torch.ones(1, 2))


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return SVHNCNN(width=8).eval()


@pytest.fixture(scope="module")
def planted():
    """Activations that are a known non-negative product: regions times patterns."""
    conv = nn.Conv2d(3, PATTERNS.shape[1], 1, bias=False)
    conv.weight.data = PATTERNS.T[:, :, None, None].clone()
    return nn.Sequential(conv, nn.ReLU())


def test_a_known_product_is_recovered_up_to_order(planted):
    found = nmf_heatmaps(planted, REGIONS, 3, layer="1")
    binary = found.maps > 0.5
    iou = torch.tensor(
        [[float((b & g).sum() / (b | g).sum()) for g in REGIONS.bool().unbind(1)] for b in binary.unbind(1)]
    )
    assert sorted(iou.argmax(1).tolist()) == [0, 1, 2]
    assert iou.amax(1).tolist() == [1.0, 1.0, 1.0]
    cosines = found.v @ torch.nn.functional.normalize(PATTERNS, dim=1).T
    torch.testing.assert_close(cosines.amax(1), torch.ones(3), atol=1e-3, rtol=0)
    assert found.error < 1e-2


def test_maps_are_the_columns_of_u(net):
    found = nmf_heatmaps(net, IMAGES, 3, layer="features.5", seed=2)
    with torch.no_grad():
        maps = net.features[:6](IMAGES)
    direct = nmf(maps.movedim(1, -1).flatten(0, 2), 3, generator=torch.Generator().manual_seed(2))
    assert torch.equal(found.v, direct.v)
    expected = direct.u.view(6, 16, 16, 3).movedim(-1, 1)
    torch.testing.assert_close(found.cells, expected / expected.amax((0, 2, 3))[:, None, None])
    assert found.cells.amax((0, 2, 3)).tolist() == pytest.approx([1.0] * 3)
    assert found.maps.shape == (6, 3, 32, 32)
    assert torch.equal(found.maps_of(4), found.maps[4])
    assert torch.equal(found.maps_of([4, 1]), found.maps[[4, 1]])
    assert found.maps_of(0, size=(50, 80)).shape == (3, 50, 80)


def test_permuted_images_have_permuted_maps(planted):
    order = torch.tensor([3, 0, 4, 1, 2])
    first, second = nmf_heatmaps(planted, REGIONS, 3, layer="1"), nmf_heatmaps(planted, REGIONS[order], 3, layer="1")
    matched = (second.v @ first.v.T).argmax(1)
    torch.testing.assert_close(second.cells, first.cells[order][:, matched], atol=2e-2, rtol=0)


def test_streamed_or_in_one_batch(net):
    whole = nmf_heatmaps(net, IMAGES, 3, layer="features.5")
    streamed = nmf_heatmaps(net, IMAGES, 3, layer="features.5", batch_size=2, max_bytes=0)
    torch.testing.assert_close(streamed.cells, whole.cells, atol=1e-3, rtol=1e-3)


def test_new_images_on_known_factors(planted):
    found = nmf_heatmaps(planted, REGIONS, 3, layer="1")
    again = found.project(planted, REGIONS)
    torch.testing.assert_close(again.cells, found.cells, atol=1e-2, rtol=0)
    assert torch.equal(again.v, found.v)
    half = found.project(planted, 0.5 * REGIONS[:2, :, :6])
    torch.testing.assert_close(half.cells, 0.5 * found.cells[:2, :, :6], atol=1e-2, rtol=0)
    assert half.image_size == (6, 10)


def test_pca_is_signed(net):
    found = nmf_heatmaps(net, IMAGES, 2, layer="features.4", method="pca")
    with torch.no_grad():
        rows = net.features[:5](IMAGES).movedim(1, -1).flatten(0, 2)
    torch.testing.assert_close(found.v, pca(rows, 2).v)
    assert found.cells.amin() < 0
    assert found.cells.abs().amax((0, 2, 3)).tolist() == pytest.approx([1.0, 1.0])


def test_auto_finds_the_number_of_regions(planted):
    assert nmf_heatmaps(planted, REGIONS, "auto", layer="1", max_k=6).k == 3


def test_half_precision_is_for_the_network(net):
    whole = nmf_heatmaps(net, IMAGES, 3, layer="features.5")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = nmf_heatmaps(net, IMAGES, 3, layer="features.5")
        assert half.project(net, IMAGES).cells.dtype == torch.float32
    assert half.error == pytest.approx(whole.error, abs=0.02)


def test_files(net, tmp_path):
    found = nmf_heatmaps(net, IMAGES, 3, layer="features.5", padding="reflect")
    found.save(tmp_path / "found.safetensors")
    again = Heatmaps.load(tmp_path / "found.safetensors")
    assert torch.equal(again.maps, found.maps)
    assert torch.equal(again.v, found.v)
    facts = ("layer", "method", "padding", "colors", "image_size", "k", "error")
    assert [getattr(again, name) for name in facts] == [getattr(found, name) for name in facts]
    torch.testing.assert_close(again.project(net, IMAGES).cells, found.project(net, IMAGES).cells)


def test_bad_arguments(net):
    with pytest.raises(NegativeActivationsError, match=r"Layer 'features.4' is signed: .* method='pca'"):
        nmf_heatmaps(net, IMAGES, layer="features.4")
    with pytest.raises(ValueError, match=r"`k` parameter of `nmf_heatmaps` must be an int in \[1, 16\]. Got 17"):
        nmf_heatmaps(net, IMAGES, 17, layer="features.5")
    silent = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU())
    nn.init.zeros_(silent[0].weight)
    nn.init.constant_(silent[0].bias, -1.0)
    with pytest.raises(ValueError, match="'1' is zero on all of them"):
        nmf_heatmaps(silent, IMAGES, 1, layer="1")
    with pytest.raises(ValueError, match="`method` parameter"):
        nmf_heatmaps(net, IMAGES, method="kmeans")
