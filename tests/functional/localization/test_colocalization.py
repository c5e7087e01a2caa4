import pytest
import torch

from lightning_interp.datasets import ToyScenes
from lightning_interp.functional.localization.colocalization import (
    Colocalization,
    colocalize,
    correct_localization,
    largest_component_box,
)
from tests.functional.localization.test_cosegmentation import planted_network, planted_regions


def regions_by_hand(mask, connectivity):
    """Flood fill, row by row."""
    left, regions = {tuple(place) for place in mask.nonzero().tolist()}, []
    steps = [(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1) if connectivity == 8 or abs(r) + abs(c) == 1]
    while left:
        region, front = set(), {min(left)}
        while front:
            region |= front
            front = {(r + i, c + j) for r, c in front for i, j in steps} & left - region
        left -= region
        regions.append(region)
    return regions


@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("seed", range(6))
def test_the_box_encloses_the_largest_region(connectivity, seed):
    mask = torch.rand(9, 12, generator=torch.Generator().manual_seed(seed)) > 0.6
    region = max(regions_by_hand(mask, connectivity), key=len)
    rows, columns = zip(*region, strict=True)
    expected = (min(columns), min(rows), max(columns) + 1, max(rows) + 1)
    assert largest_component_box(mask, connectivity=connectivity) == expected


def test_corners_join_only_at_eight():
    mask = torch.eye(4).bool()
    assert largest_component_box(mask) == (0, 0, 1, 1)
    assert largest_component_box(mask, connectivity=8) == (0, 0, 4, 4)


def test_an_empty_mask_and_a_full_one():
    assert largest_component_box(torch.zeros(3, 4).bool()) is None
    assert largest_component_box(torch.ones(3, 4).bool()) == (0, 0, 4, 3)


def test_boxes_of_toy_objects_are_those_of_their_truth():
    """A network that sees the masks: the boxes are correct, and exact where the object is in one piece."""
    scenes = ToyScenes(24, size=32)
    truth = [scenes.truth(i) for i in range(24)]
    found = colocalize(planted_network(1), torch.stack([each.object_mask for each in truth])[:, None].float())
    whole = [len(regions_by_hand(each.object_mask, 4)) == 1 for each in truth]
    assert sum(whole) > 12
    boxes = torch.tensor([each.object_box for each in truth])
    assert torch.equal(found.boxes[whole], boxes[whole])
    assert correct_localization(found.boxes, list(boxes[:, None])).float().mean() > 0.9


def test_images_without_the_object_get_no_box_and_are_counted():
    images = planted_regions(n_regions=1)
    images[2] = 0
    found = colocalize(planted_network(1), images)
    assert found.n_missing == 1
    assert found.boxes[2].tolist() == [-1] * 4
    assert not found.cosegmentation.masks[2].any()
    assert found.scaled_boxes(torch.full((5, 2), 32))[2].tolist() == [-1] * 4


def test_boxes_go_back_to_the_size_of_the_originals():
    found = colocalize(planted_network(1), planted_regions(n_regions=1))
    sizes = torch.tensor([[16, 16], [32, 16], [16, 32], [8, 8], [48, 24]])
    for box, scaled, (height, width) in zip(found.boxes, found.scaled_boxes(sizes), sizes.tolist(), strict=True):
        across, down = width / 16, height / 16
        left, top, right, bottom = box.tolist()
        assert scaled.tolist() == [left * across, top * down, right * across, bottom * down]
    with pytest.raises(ValueError, match="`sizes` parameter of `scaled_boxes` must be a height and a width for each"):
        found.scaled_boxes(sizes[:3])


def test_permuted_images_permute_boxes():
    images, order = planted_regions(n_regions=1), [4, 0, 3, 1, 2]
    first, second = (colocalize(planted_network(1), each) for each in (images, images[order]))
    assert torch.equal(first.boxes[order], second.boxes)


def test_it_comes_back_from_files(tmp_path):
    found = colocalize(planted_network(3), planted_regions(), 2, choose=1)
    found.save(tmp_path / "found.safetensors")
    again = Colocalization.load(tmp_path / "found.safetensors")
    assert torch.equal(again.boxes, found.boxes)
    assert torch.equal(again.cosegmentation.masks, found.cosegmentation.masks)


def pixels(box):
    left, top, right, bottom = box
    return {(r, c) for r in range(top, bottom) for c in range(left, right)}


def test_overlaps_equal_a_count_of_pixels():
    generator = torch.Generator().manual_seed(0)
    corners = torch.randint(0, 9, (40, 4, 2, 2), generator=generator).sort(2).values
    boxes = corners.flatten(2) + torch.tensor([0, 0, 1, 1])
    found = correct_localization(boxes[:, 0], list(boxes[:, 1:]))
    overlaps = [[(pixels(own), pixels(each)) for each in others] for own, *others in boxes.tolist()]
    expected = [any(len(a & b) / len(a | b) > 0.5 for a, b in pairs) for pairs in overlaps]
    assert found.tolist() == expected
    assert 0 < sum(expected) < 40


def test_half_is_not_enough_and_no_box_is_never_correct():
    truth = [torch.tensor([[0, 0, 4, 4]])]
    assert not correct_localization(torch.tensor([[0, 0, 4, 2]]), truth)
    assert correct_localization(torch.tensor([[0, 0, 4, 2]]), truth, iou_threshold=0.49)
    assert not correct_localization(torch.full((1, 4), -1), [torch.tensor([[-1, -1, 0, 0]])], iou_threshold=0)
    assert not correct_localization(torch.tensor([[0, 0, 4, 2]]), [torch.zeros(0, 4)])
    assert correct_localization(torch.zeros(0, 4), []).shape == (0,)


def test_bad_input_is_named():
    truth = [torch.ones(1, 4)] * 2
    with pytest.raises(ValueError, match="`boxes` parameter of `correct_localization` must be a box for each of 2"):
        correct_localization(torch.ones(3, 4), truth)
    with pytest.raises(ValueError, match=r"boxes \(M, 4\) for each image; those of image 1 are not"):
        correct_localization(torch.ones(2, 4), [truth[0], torch.ones(4)])
    with pytest.raises(ValueError, match="`iou_threshold`"):
        correct_localization(torch.ones(2, 4), truth, iou_threshold=1.5)
    with pytest.raises(ValueError, match="`mask` parameter of `largest_component_box` must be bool"):
        largest_component_box(torch.ones(3, 3))
    with pytest.raises(ValueError, match=r"must be 4 or 8\. Got 6"):
        largest_component_box(torch.ones(3, 3).bool(), connectivity=6)
    with pytest.raises(ValueError, match="two images at least"):
        colocalize(planted_network(3), planted_regions(1))
