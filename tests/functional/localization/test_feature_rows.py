import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset
from torchvision.transforms.v2.functional import resize

from lightning_interp.functional.localization import feature_rows
from lightning_interp.functional.localization.feature_rows import image_batches
from lightning_interp.hooks.reflection_padding import reflection_padding
from lightning_interp.models import SVHNCNN

IMAGES = torch.rand(7, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return SVHNCNN(width=4).eval()


def rows_of(net, images=IMAGES, **options):
    with feature_rows(net, images, "features.5", **options) as found:
        return found.rows.clone()


def test_rows_are_positions_of_images_in_order(net):
    with torch.no_grad():
        maps = net.features[:6](IMAGES)
    with feature_rows(net, IMAGES, "features.5", batch_size=3) as found:
        assert found.shape == (7, 16, 16)
        assert found.image_size == (32, 32)
        n, i, j = 5, 3, 11
        torch.testing.assert_close(found.rows[n * 256 + i * 16 + j], maps[n, :, i, j])
        torch.testing.assert_close(found.rows.view(7, 16, 16, -1), maps.movedim(1, -1))


def test_a_file_holds_the_same_numbers_and_goes_with_the_context(net, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with feature_rows(net, IMAGES, "features.5", batch_size=2, max_bytes=1000) as found:
        assert len(list(tmp_path.rglob("rows"))) == 1
        assert torch.equal(found.rows, rows_of(net, batch_size=2))
    assert not list(tmp_path.iterdir())


def test_batch_size_does_not_matter(net):
    torch.testing.assert_close(rows_of(net, batch_size=1), rows_of(net, batch_size=7), atol=1e-6, rtol=1e-5)


def test_datasets_lists_and_labels(net):
    labelled = TensorDataset(IMAGES, torch.arange(7))
    assert torch.equal(rows_of(net, labelled), rows_of(net))
    assert torch.equal(rows_of(net, list(IMAGES)), rows_of(net))


def test_images_of_any_sizes_with_a_rule(net):
    images = [torch.rand(3, 40, 60), torch.rand(3, 33, 32)]
    scaled = torch.stack([resize(image, [32, 32], antialias=True) for image in images])
    assert torch.equal(rows_of(net, images, image_size=32), rows_of(net, scaled))
    (batch,) = image_batches(images, image_size=(16, 24))
    assert batch.shape == (2, 3, 16, 24)


def test_reflection(net):
    with torch.no_grad(), reflection_padding(net):
        expected = net.features[:6](IMAGES)
    assert torch.equal(rows_of(net, padding="reflect").view(7, 16, 16, -1), expected.movedim(1, -1))
    assert not torch.equal(rows_of(net, padding="reflect"), rows_of(net))


def test_the_last_layer_of_the_last_block_by_default(net):
    with feature_rows(net, IMAGES) as found:
        assert found.layer == "features.15"


def test_the_network_is_left_as_it_was(net):
    net.train()
    rows_of(net, padding="reflect")
    assert net.training
    assert all(parameter.requires_grad for parameter in net.parameters())
    net.eval()


def test_bad_sets(net):
    with pytest.raises(ValueError, match=r"set `image_size=`; image 0 is \(3, 32, 32\), image 2"):
        rows_of(net, [torch.rand(3, 32, 32), torch.rand(3, 32, 32), torch.rand(3, 32, 40)])
    with pytest.raises(ValueError, match="at least one image"):
        rows_of(net, [])
    with pytest.raises(ValueError, match=r"images \(C, H, W\); number 0 is not"):
        rows_of(net, [torch.rand(32, 32)])
    with pytest.raises(ValueError, match="'classifier' has none"), feature_rows(net, IMAGES, "classifier"):
        pass
    with pytest.raises(ValueError, match="`padding` parameter"):
        rows_of(net, padding="mirror")
    with pytest.raises(ValueError, match="matches a layer"), feature_rows(nn.Identity(), IMAGES, "x"):
        pass
