import pytest
import torch
from safetensors.torch import save_file
from torch.utils.data import DataLoader, TensorDataset

from lightning_interp.exceptions import MeasurementWarning, NegativeActivationsError
from lightning_interp.functional.retrieval.descriptors import Descriptors, describe_images, learn_whitening
from tests.functional.retrieval.test_describer import METHODS, images, net
from tests.functional.retrieval.worlds import GREEN, RED, ColorNet, picture


@pytest.mark.parametrize("method", METHODS)
def test_loaders_of_any_batch_size_give_the_same(method):
    dataset = TensorDataset(images(7), torch.arange(7))
    found = [describe_images(net(), DataLoader(dataset, batch_size=size), method).vectors for size in (1, 3, 7)]
    assert torch.allclose(found[0], found[1], atol=1e-4)
    assert torch.allclose(found[0], found[2], atol=1e-4)
    assert torch.allclose(found[0].norm(dim=1), torch.ones(7))


def test_images_of_several_sizes_keep_their_order():
    batch = [images(1)[0], images(1)[0].mT, images(2)[1], images(2)[1, :, :20]]
    found = describe_images(net(), [batch[:3], batch[3:]])
    alone = torch.cat([describe_images(net(), [[image]]).vectors for image in batch])
    assert found.positions.tolist() == [0, 1, 2, 3]
    assert torch.allclose(found.vectors, alone, atol=1e-4)


def test_what_cannot_be_described_is_listed():
    broken = torch.full((3, 32, 48), float("nan"))
    batch = [None, picture((RED, (0, 0, 16, 16))), broken, torch.zeros(3, 32, 48), picture((GREEN, (0, 0, 16, 16)))]
    found = describe_images(ColorNet(), [batch[:2], batch[2:]], "mac", layer="1")
    assert found.positions.tolist() == [1, 4]
    assert found.skipped == {0: "cannot be read", 2: "holds NaN or inf", 3: "layer '1' is silent"}


def test_pictures_of_one_colour_find_each_other():
    colors = [RED, GREEN, (0.0, 1.0, 1.0)]
    batch = [picture((color, (4 * i, 4, 4 * i + 16, 20))) for i in range(4) for color in colors]
    for method in METHODS:
        vectors = describe_images(ColorNet(), [batch], method, layer="1", k=2).vectors
        best = (vectors @ vectors.T).topk(4).indices % 3
        assert bool((best == (torch.arange(12) % 3)[:, None]).all()), method


@pytest.mark.parametrize("box", ["factors", "crop"])
def test_a_box_says_what_is_meant(box):
    both = picture((RED, (0, 0, 16, 16)), (GREEN, (28, 12, 48, 32)))
    database = [picture((RED, (8, 8, 24, 24))), picture((GREEN, (8, 8, 24, 24)))]
    boxes = torch.tensor([[0.0, 0, 16, 16], [28, 12, 48, 32]])
    # a cut of one colour has a channel everywhere, which counts for nothing where rare channels count
    method = "nmf_v" if box == "factors" else "mac"
    queries = describe_images(ColorNet(), [[both], [both]], method, layer="1", k=3, boxes=boxes, box=box).vectors
    found = describe_images(ColorNet(), [database], method, layer="1", k=3).vectors
    assert (queries @ found.T).argmax(1).tolist() == [0, 1]


def test_a_cut_is_the_cut_image_scaled():
    image = images(1)[0]
    box = torch.tensor([[3.0, 2, 20, 18]])
    found = describe_images(net(), [[image]], "mac", boxes=box, box="crop", image_size=32)
    expected = describe_images(net(), [[image[:, 2:18, 3:20]]], "mac", image_size=32)
    assert torch.equal(found.vectors, expected.vectors)


def test_boxes_follow_the_scale():
    image = picture((RED, (0, 0, 16, 16)), (GREEN, (28, 12, 48, 32)))
    box = torch.tensor([[0.0, 0, 16, 16]])
    found = describe_images(ColorNet(), [[image]], layer="1", k=3, boxes=box, image_size=64)
    assert found.vectors[0, 0] > 0.99


def test_a_box_without_a_factor_is_said():
    image = picture((RED, (0, 0, 16, 16)), (GREEN, (28, 12, 48, 32)))
    with pytest.warns(MeasurementWarning, match=r"1 boxes have no factor with more than 75%.*Images: 1\."):
        found = describe_images(
            ColorNet(), [[image, image]], layer="1", k=3, boxes=torch.tensor([[0.0, 0, 16, 16], [20, 24, 24, 28]])
        )
    assert found.fell_back == (1,)


def test_whitening_is_learned_on_other_images():
    whitening = learn_whitening(net(), [images(30, seed=3)], "rmac", dim=5)
    found = describe_images(net(), [images()], "rmac", whitening=whitening)
    assert found.vectors.shape == (6, 5)
    assert found.fingerprint != describe_images(net(), [images()], "rmac").fingerprint
    with pytest.raises(ValueError, match="descriptors of 8 channels"):
        describe_images(ColorNet(), [images()], "rmac", layer="1", whitening=whitening)


def test_they_survive_their_file(tmp_path):
    found = describe_images(net(), [[None, *images(3)]])
    found.save(tmp_path / "d.safetensors")
    again = Descriptors.load(tmp_path / "d.safetensors")
    assert torch.equal(again.vectors, found.vectors)
    assert (again.skipped, again.fingerprint, again.settings) == (found.skipped, found.fingerprint, found.settings)
    save_file({"vectors": torch.ones(2, 2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"written by Descriptors.save"):
        Descriptors.load(tmp_path / "other.safetensors")


def test_bad_input_is_named():
    box = torch.tensor([[0.0, 0, 8, 8]])
    with pytest.raises(ValueError, match=r"`loader` parameter.*one readable image"):
        describe_images(net(), [])
    with pytest.raises(ValueError, match=r"Skipped: \{0: 'cannot be read'\}"):
        describe_images(net(), [[None]])
    with pytest.raises(ValueError, match="'crop' for this method"):
        describe_images(net(), [images(1)], "mac", boxes=box)
    with pytest.raises(ValueError, match="`box` parameter"):
        describe_images(net(), [images(1)], box="inside")
    with pytest.raises(ValueError, match="a box for every image, 2 or more"):
        describe_images(net(), [images(2)], boxes=box)
    with pytest.raises(ValueError, match=r"a box for every image, 1\. Got"):
        describe_images(net(), [images(1)], boxes=box.expand(2, -1))
    with pytest.raises(ValueError, match="outside of the image, 24 x 32 pixels"):
        describe_images(net(), [images(1)], boxes=torch.tensor([[0.0, 0, 40, 8]]))
    with pytest.raises(NegativeActivationsError):
        describe_images(net(), [images(1)], layer="0")
