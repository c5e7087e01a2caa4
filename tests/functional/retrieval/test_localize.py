from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.transforms.v2.functional import resize

from lightning_interp.exceptions import ConvergenceWarning, MeasurementWarning, NegativeActivationsError
from lightning_interp.functional.localization import nmf_heatmaps
from lightning_interp.functional.localization.colocalization import largest_component_box
from lightning_interp.functional.retrieval.boxes import box_overlaps
from lightning_interp.functional.retrieval.localize import Localization, localize

RED, GREEN, BLUE = torch.eye(3)
BOX = (8, 4, 20, 16)
located = partial(localize, layer="1", image_size=32)


def color_detectors(stride=1):
    """Channel c is positive where colour c outweighs the others; several strides share the picture in cells."""
    net = nn.Sequential(nn.Conv2d(3, 3, stride, stride=stride, bias=False), nn.ReLU())
    net[0].weight.data = (2 * torch.eye(3) - 1)[..., None, None].expand(3, 3, stride, stride) / stride**2
    return net


def scene(box, size=(32, 32), distractor=None):
    """A red square on blue ground, and a green one somewhere else."""
    image = BLUE[:, None, None].repeat(1, *size)
    for color, place in ((GREEN, distractor), (RED, box)):
        if place is not None:
            left, top, right, bottom = place
            image[:, top:bottom, left:right] = color[:, None, None]
    return image


def scenes():
    """Images of several sizes, odd ones too, and where the red square is in each."""
    boxes = [(0, 0, 10, 12), (20, 18, 32, 32), (30, 10, 61, 40), (4, 9, 17, 24), (10, 20, 40, 60)]
    sizes = [(32, 32), (32, 32), (48, 77), (33, 41), (96, 64)]
    others = [(20, 20, 30, 30), None, (2, 2, 24, 20), (22, 4, 36, 20), (44, 4, 60, 30)]
    return [scene(*each) for each in zip(boxes, sizes, others, strict=True)], torch.tensor(boxes)


def area(boxes, images):
    sizes = torch.tensor([each.shape[1] * each.shape[2] for each in images])
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / sizes


def test_the_last_layer_is_taken_by_default():
    net = nn.Sequential(*color_detectors(), nn.Conv2d(3, 5, 3, padding=1), nn.ReLU())
    nn.init.uniform_(net[2].weight, generator=torch.Generator().manual_seed(0))
    images, _ = scenes()
    found = localize(net, scene(BOX), (0, 0, 32, 32), images, k=2)
    assert (found.layer, found.v.shape, found.factors) == ("3", (2, 5), (0, 1))


@pytest.mark.parametrize("stride", [1, 2])
def test_boxes_are_those_of_the_object(stride):
    """The shorter side is 32 already for the first three, so that their boxes are exact."""
    places = torch.tensor([(0, 0, 10, 12), (20, 18, 32, 32), (30, 10, 50, 24)])
    images = [scene(place, size) for place, size in zip(places.tolist(), [(32, 32), (32, 32), (32, 64)], strict=True)]
    found = located(color_detectors(stride), scene(BOX), BOX, images, k=2, keep=0.1)
    assert (found.boxes - places).abs().max() <= stride - 1
    for mask, image, values in zip(found.masks, images, found.maps, strict=True):
        assert torch.equal(mask, image[0] > 0) or stride > 1
        assert (values.shape, float(values.max())) == (image.shape[1:], pytest.approx(1.0, abs=1e-3))
    assert found.query_map.shape == (32, 32)
    assert found.query_map[10, 14] > 0.9
    assert found.query_map[25, 25] < 0.1


def test_only_the_factor_inside_of_the_box_is_kept():
    images, _ = scenes()
    query = scene(BOX, distractor=(22, 20, 30, 30))
    found = located(color_detectors(), query, BOX, images, k=3)
    (kept,) = found.factors
    assert not found.fell_back
    assert found.v[kept].argmax() == RED.argmax()
    torch.testing.assert_close(found.v[kept], RED, atol=1e-3, rtol=0)
    assert found.shares[kept] > 0.99
    assert (found.shares < 0.1).sum() == 2
    green = located(color_detectors(), query, (22, 20, 30, 30), images, k=3)
    assert green.v[list(green.factors)].argmax() == GREEN.argmax()
    assert green.boxes[1].tolist() == [-1] * 4, "nothing green in this one"


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_images_of_any_size_are_hit(stride):
    """With masks as large as the object, in one image after the other."""
    images, truth = scenes()
    net = color_detectors(stride)
    found = [located(net, scene(BOX), BOX, images, k=3, keep=keep) for keep in area(truth, images).tolist()]
    boxes = torch.stack([each.boxes[i] for i, each in enumerate(found)])
    overlaps = box_overlaps(boxes, truth)
    assert overlaps.min() > 0.7, overlaps
    assert overlaps.mean() > (0.9 if stride < 4 else 0.8), overlaps
    off = (truth[:, :2] + truth[:, 2:] - boxes[:, :2] - boxes[:, 2:]).abs() / 2
    assert off.max() <= stride, off


def test_boxes_are_in_pixels_of_the_images_given():
    """The same picture at twice the size has a box twice as large."""
    image = scene((16, 4, 28, 20))
    doubled = image.repeat_interleave(2, 1).repeat_interleave(2, 2)
    query, box = scene(BOX).repeat_interleave(3, 1).repeat_interleave(3, 2), [3 * each for each in BOX]
    found = located(color_detectors(), query, torch.tensor(box), [image, doubled], k=2, keep=12 * 16 / 32**2)
    assert found.boxes[0].tolist() == [16, 4, 28, 20]
    assert box_overlaps(found.boxes[1:], 2 * found.boxes[:1]).item() > 0.8
    assert found.query_map.shape == (96, 96)


@pytest.mark.parametrize("size", [(96, 96), (80, 80), (64, 112), (32, 32)])
def test_a_centred_object_has_a_centred_box(size):
    height, width = size
    image = scene((width // 4, height // 4, width - width // 4, height - height // 4), size)
    left, top, right, bottom = located(color_detectors(), scene(BOX), BOX, [image], k=2, keep=0.2).boxes[0].tolist()
    assert (left + right, top + bottom) == (width, height)


@pytest.mark.parametrize(("size", "side"), [((4, 7), 2), ((7, 4), 2), ((33, 100), 32), ((16, 16), 32)])
def test_boxes_of_the_query_are_scaled_as_it_is(size, side):
    """Of an object that fills the query, the left half has half, whatever rounding does to height and width."""
    height, width = size
    box, red = (0, 0, width / 2, height), RED[:, None, None].expand(3, *size)
    found = located(color_detectors(), red, box, [scene(BOX)], k=1, share=0.1, image_size=side)
    assert found.shares.tolist() == pytest.approx([1 / 2], rel=1e-3)


def test_it_follows_the_thesis_step_by_step():
    """Joint factors, those with 75 % in the box, their mean, the top 30 %, the largest component."""
    generator = torch.Generator().manual_seed(3)
    net = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU())
    nn.init.normal_(net[0].weight, generator=generator)
    nn.init.zeros_(net[0].bias)
    images = torch.rand(6, 3, 20, 28, generator=generator)
    images[0, :, 5:15, 4:18] *= 3  # so that there is something to keep
    left, top, right, bottom = box = (3, 4, 19, 16)
    found = located(net, images[0], box, images[1:], k=4, share=0.55, image_size=20)

    joint = nmf_heatmaps(net, images, 4, layer="1")
    u = joint.cells * joint.peaks[:, None, None]
    shares = u[0, :, top:bottom, left:right].sum((1, 2)) / u[0].sum((1, 2))
    torch.testing.assert_close(found.shares, shares, atol=1e-4, rtol=1e-4)
    kept = tuple(k for k in range(4) if shares[k] >= 0.55)
    assert 0 < len(kept) < 4
    assert found.factors == kept
    for mask, box, values in zip(found.masks, found.boxes, u[1:, list(kept)].mean(1), strict=True):
        cut = np.quantile(values.numpy(), 0.7, method="higher")
        assert (mask != torch.from_numpy(values.numpy() >= cut)).sum() <= 2  # pixels that all but equal the cut
        assert mask.float().mean() == pytest.approx(0.3, abs=0.01)
        assert tuple(box.tolist()) == largest_component_box(mask)


def test_a_box_without_a_factor_keeps_them_all_and_says_so():
    images, _ = scenes()
    with pytest.warns(
        MeasurementWarning, match="no factor with 75% of its activation inside the box, so all were kept"
    ):
        found = located(color_detectors(), scene(BOX), (0, 20, 6, 30), images, k=3)
    assert found.fell_back
    assert found.factors == (0, 1, 2)
    assert (found.boxes >= 0).all()
    assert 0 < found.shares.max() < 0.75


def test_an_image_without_the_object_has_no_box_and_no_images_are_fine():
    images = [scene((2, 2, 12, 12)), scene(None), torch.zeros(3, 40, 32)]
    found = located(color_detectors(), scene(BOX), BOX, images, k=2)
    assert (found.boxes[0] >= 0).all()
    assert found.boxes[1:].tolist() == [[-1] * 4] * 2
    assert not found.masks[1].any()
    assert not found.masks[2].any()
    none = located(color_detectors(), scene(BOX), BOX, [], k=2)
    assert (none.boxes.shape, none.boxes.dtype, none.masks, none.maps) == ((0, 4), torch.long, [], [])
    assert none.v[none.factors].argmax() == RED.argmax()


def test_the_order_of_the_images_does_not_matter():
    images, _ = scenes()
    order = [3, 1, 4, 0, 2]
    first, second = (
        located(color_detectors(), scene(BOX), BOX, each, k=2) for each in (images, [images[i] for i in order])
    )
    assert torch.equal(first.boxes[order], second.boxes)


def test_a_batch_is_a_list_and_the_model_and_the_dice_are_left_as_they_were():
    net, images = color_detectors().train(), torch.stack([scene((2, 2, 12, 12)), scene((20, 4, 30, 30))])
    before = torch.get_rng_state()
    first, second = (located(net, scene(BOX), BOX, each, k=2) for each in (images, list(images)))
    assert torch.equal(first.boxes, second.boxes)
    assert torch.equal(torch.get_rng_state(), before)
    assert net.training
    assert not net[0]._forward_hooks
    assert net[0].weight.requires_grad


def test_a_network_with_a_head_of_another_size_and_options_of_nmf():
    net = nn.Sequential(*color_detectors(), nn.Flatten(), nn.Linear(3 * 64 * 64, 2))
    options = {"k": 3, "seed": 4}
    images, _ = scenes()
    assert located(net, scene(BOX), BOX, images, padding="reflect", **options).layer == "1"
    with pytest.warns(ConvergenceWarning):
        located(net, scene(BOX), BOX, images, init="random", max_iter=1, **{**options, "k": 2})


def test_half_precision_is_for_the_network_alone():
    """Images whose activations are exact in bfloat16: all that follows is then as without it."""
    images = torch.randint(0, 8, (4, 3, 32, 32), generator=torch.Generator().manual_seed(0)) / 8
    options = {"k": 2, "share": 0.0, "max_iter": 20, "tol": 0.0}
    exact = located(color_detectors(), images[0], BOX, images[1:], **options)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = located(color_detectors(), images[0], BOX, images[1:], **options)
    assert found.v.dtype == torch.float32
    torch.testing.assert_close(found.v, exact.v)
    torch.testing.assert_close(found.query_map, exact.query_map)


def test_it_comes_back_from_a_file(tmp_path):
    images, _ = scenes()
    for given in (images, []):
        found = located(color_detectors(), scene(BOX), BOX, given, k=2)
        found.save(tmp_path / "found.safetensors")
        again = Localization.load(tmp_path / "found.safetensors")
        for name in ("layer", "factors", "fell_back"):
            assert getattr(again, name) == getattr(found, name)
        for name in ("boxes", "query_map", "shares", "v"):
            assert torch.equal(getattr(again, name), getattr(found, name))
        for name in ("masks", "maps"):
            pairs = zip(getattr(again, name), getattr(found, name), strict=True)
            assert all(torch.equal(*pair) for pair in pairs)


def test_flat_regions_stay_whole():
    """A share below that of the square would else cut it where rounding happens to be lower."""
    places = [(0, 0, 10, 12), (17, 5, 30, 29)]
    images = [scene(place, (47, 37)) for place in places]
    found = located(color_detectors(), scene(BOX), BOX, images, k=2, keep=0.01)
    overlaps = box_overlaps(found.boxes, torch.tensor(places))
    assert overlaps.min() > 0.7, overlaps


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"box": (8, 4, 40, 16)}, ValueError, "`box` parameter of `localize` .* box 0 is outside of the image"),
        ({"box": (8, 4, 8, 16)}, ValueError, "box 0 is empty or inverted"),
        ({"box": (8, 4, float("nan"), 16)}, ValueError, "box 0 is not finite"),
        ({"box": (8, 4, 16)}, ValueError, "left, top, right and bottom for each of 1 images"),
        ({"query": torch.ones(32, 32)}, ValueError, "`query` parameter of `localize`"),
        ({"images": [torch.ones(3, 8, 8), torch.ones(8, 8)]}, ValueError, "`images` .* number 1 is not"),
        ({"images": [torch.full((3, 8, 8), torch.nan)]}, ValueError, "`images` .* finite .* number 0 is not"),
        ({"k": 4}, ValueError, r"`k` parameter of `localize` must be an int in \[1, 3\]"),
        ({"share": 1.5}, ValueError, "`share` parameter of `localize`"),
        ({"keep": 0}, ValueError, "`keep` parameter of `localize`"),
        ({"image_size": 0}, ValueError, "`image_size` parameter of `localize`"),
        ({"seed": -1}, ValueError, "`seed` parameter of `localize`"),
        ({"padding": "same"}, ValueError, "`padding`"),
        ({"layer": "3"}, ValueError, "'3'"),
        ({"layer": "0"}, NegativeActivationsError, "Layer '0' is signed: choose one behind a ReLU"),
        ({"query": torch.zeros(3, 32, 32), "images": []}, ValueError, "'1' is zero on all of them"),
    ],
)
def test_bad_input_is_named(changes, error, text):
    images, _ = scenes()
    given = {"query": scene(BOX), "box": BOX, "images": images, "k": 2, **changes}
    with pytest.raises(error, match=text):
        located(color_detectors(), **given)


def test_a_layer_without_maps_is_named():
    net = nn.Sequential(color_detectors(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))
    with pytest.raises(ValueError, match="a layer with maps"):
        located(net, scene(BOX), BOX, [], layer="3", k=2)


def test_scaled_images_have_the_shorter_side_asked_for():
    sizes = []
    net = color_detectors()
    net.register_forward_pre_hook(lambda module, inputs: sizes.append(tuple(inputs[0].shape[-2:])))
    images, _ = scenes()
    located(net, scene(BOX), BOX, images, k=2, image_size=24)
    expected = {tuple(resize(each, [24]).shape[1:]) for each in images}
    assert expected == {(24, 24), (24, 38), (24, 29), (36, 24)}
    assert set(sizes) == expected
