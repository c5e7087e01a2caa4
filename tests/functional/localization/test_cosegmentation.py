import pytest
import torch
from torch import nn

from lightning_interp.exceptions import NegativeActivationsError
from lightning_interp.functional.localization.binary_maps import binarize
from lightning_interp.functional.localization.cosegmentation import Cosegmentation, cosegment, object_masks
from lightning_interp.functional.localization.heatmap import nmf_heatmaps
from lightning_interp.functional.localization.mask_areas import iou_matrix, object_iou

SIZE = 16


def planted_network(n_regions):
    """A layer whose activations are regions times patterns that have no unit in common."""
    net = nn.Sequential(nn.Conv2d(n_regions, 2 * n_regions, 3, padding=1, bias=False), nn.ReLU())
    patterns = torch.block_diag(*[torch.tensor([[1.0], [0.5 + i]]) for i in range(n_regions)])
    net[0].weight.data.zero_()[..., 1, 1] = patterns
    return net


def planted_regions(n=5, n_regions=3):
    """Images ``(n, n_regions, 16, 16)`` whose channels are where each region is: rectangles side by side."""
    generator = torch.Generator().manual_seed(n)
    images = torch.zeros(n, n_regions, SIZE, SIZE)
    for image in images:
        top, left, height = torch.randint(2, 5, (3,), generator=generator).tolist()
        for i, region in enumerate(image):
            region[top : top + height + i, left + 3 * i : left + 3 * (i + 1)] = 1
    return images


def object_and_background(n=5):
    """An object of strength 2 inside of a background of strength 1."""
    inside = planted_regions(n).amax(1, keepdim=True)
    return torch.cat([1 - inside, 2 * inside], 1), inside[:, 0].bool()


def test_a_known_product_is_recovered_up_to_order():
    images = planted_regions()
    found = iou_matrix(binarize(nmf_heatmaps(planted_network(3), images, 3)), images.bool())
    assert sorted(found.flatten().tolist()) == [0.0] * 6 + [1.0] * 3
    assert sorted(found.argmax(1).tolist()) == [0, 1, 2]


def test_one_factor_is_the_object():
    images = planted_regions(n_regions=1)
    found = cosegment(planted_network(1), images)
    assert torch.equal(found.masks, images[:, 0].bool())
    assert found.factors == ((1, 0),)
    assert found.heatmaps[0].k == 1


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_of_two_factors_the_one_away_from_the_border_is_the_object(order):
    images, truth = object_and_background()
    found = cosegment(planted_network(2), images[:, order], 2)
    assert torch.equal(found.masks, truth)
    (chosen,) = found.factors
    other = cosegment(planted_network(2), images[:, order], 2, choose=1 - chosen[1])
    assert torch.equal(other.masks, ~truth)


def test_one_annotated_image_finds_the_regions_of_the_object_in_all():
    images = planted_regions(6, n_regions=4)
    truth = images[:, [0, 2]].amax(1).long()
    found = cosegment(planted_network(4), images, (2, 4), truth={3: truth[3]})
    assert object_iou(found.masks, truth) == 1
    assert [k for k, _ in found.factors] == [4, 4]
    assert [each.k for each in found.heatmaps] == [2, 4]
    alone = cosegment(planted_network(4), images, 4, truth={0: truth[0], 5: truth[5]})
    assert torch.equal(alone.masks, found.masks)


def test_all_annotated_is_at_least_as_good_on_the_set_as_each_factor():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
    nn.init.normal_(net[0].weight, generator=torch.Generator().manual_seed(0))
    images = torch.rand(6, 3, 12, 10, generator=torch.Generator().manual_seed(1))
    truth = (images[:, 0] > 0.6).long()
    truth[:, 0] = -1
    found = cosegment(net, images, [2, 3], truth=dict(enumerate(truth)), threshold=0.3)
    each = torch.cat([iou_matrix(binarize(h, threshold=0.3), truth[:, None]) for h in found.heatmaps])
    assert object_iou(found.masks, truth) >= each.nan_to_num(0).max()
    maps = {h.k: h.maps for h in found.heatmaps}
    union = torch.stack([maps[k][:, number] >= 0.3 for k, number in found.factors]).any(0)
    assert torch.equal(found.masks, union)


def test_permuted_images_permute_masks():
    images, _ = object_and_background(6)
    order = [3, 5, 0, 1, 4, 2]
    first, second = (cosegment(planted_network(2), each, 2) for each in (images, images[order]))
    assert torch.equal(first.masks[order], second.masks)


def test_the_factors_segment_new_images():
    images, truth = object_and_background(5)
    new, expected = object_and_background(3)
    found = cosegment(planted_network(2), images, 2)
    assert torch.equal(found.masks, truth)
    projected = [each.project(planted_network(2), new) for each in found.heatmaps]
    assert torch.equal(object_masks(projected, found.factors), expected)


def test_it_comes_back_from_files(tmp_path):
    images = planted_regions(4, n_regions=4)
    found = cosegment(planted_network(4), images, (2, 4), truth={0: images[0, 1].bool()}, threshold=0.5)
    found.save(tmp_path / "found.safetensors")
    again = Cosegmentation.load(tmp_path / "found.safetensors")
    assert torch.equal(again.masks, found.masks)
    assert (again.factors, again.threshold) == (found.factors, 0.5)
    assert torch.equal(object_masks(again.heatmaps, again.factors, threshold=again.threshold), found.masks)


def test_options_reach_the_heatmaps():
    images = [torch.rand(1, 20, 20), torch.rand(1, 16, 24)]
    found = cosegment(planted_network(1), images, layer="1", image_size=(8, 10), padding="reflect", batch_size=1)
    assert found.masks.shape == (2, 8, 10)
    assert found.heatmaps[0].padding == "reflect"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"images": planted_regions(1)}, "two images at least, to have something in common.*Got '1 images'"),
        ({"images": torch.zeros(3, 3, 8, 8)}, "a layer that responds to the images; '1' is zero on all"),
        ({"threshold": 0}, "`threshold` parameter of `cosegment`"),
        ({"k": (2, 3)}, "one number of factors, or `truth` for some images"),
        ({"k": 2, "choose": 2}, r"`choose` parameter of `cosegment` must be an int in \[0, 1\]"),
        ({"k": 7}, "`k` parameter of `nmf_heatmaps`"),
        ({"truth": {}}, r"masks of some images, by their numbers in \[0, 4\]. Got \[\]"),
        ({"truth": {5: torch.ones(16, 16)}}, r"by their numbers in \[0, 4\]. Got \[5\]"),
        ({"truth": {1: torch.ones(16, 15).bool()}}, "16 x 16 pixels, the size the network takes; that of image 1"),
        ({"truth": {1: torch.zeros(16, 16).bool()}}, "masks that some factor overlaps; lower the threshold"),
    ],
)
def test_bad_input_is_named(options, text):
    images = options.pop("images", planted_regions())
    with pytest.raises(ValueError, match=text):
        cosegment(planted_network(3), images, **options)


def test_a_wrong_way_to_choose_and_a_signed_layer():
    with pytest.raises(TypeError, match="`choose` parameter of `cosegment`"):
        cosegment(planted_network(3), planted_regions(), choose="centre")
    with pytest.raises(NegativeActivationsError, match="choose one behind a ReLU"):
        cosegment(planted_network(3), planted_regions() - 1, layer="0")


def test_the_scale_of_each_image_reaches_the_masks():
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1, bias=False), torch.nn.ReLU())
    torch.nn.init.ones_(net[0].weight)
    images = torch.zeros(2, 1, 4, 4)
    images[0, 0, 1, 1], images[1, 0, 2, 2] = 1.0, 0.1  # the first outshines the second
    dim = cosegment(net, images, 1, layer="1", threshold=0.5)
    even = cosegment(net, images, 1, layer="1", threshold=0.5, scale="image")
    assert dim.masks.flatten(1).sum(1).tolist() == [1, 0]
    assert even.masks.flatten(1).sum(1).tolist() == [1, 1]
    assert bool(even.masks[1, 2, 2])
    shown = cosegment(net, images, [1], layer="1", truth={1: images[1, 0] > 0}, threshold=0.5, scale="image")
    assert torch.equal(shown.masks, even.masks)
