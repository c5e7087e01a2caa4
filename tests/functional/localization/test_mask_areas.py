import sys

import pytest
import torch

from lightning_interp.functional.localization.mask_areas import MaskAreas, iou_matrix, mask_areas, object_iou


def random_masks(n=5, n_factors=4, n_parts=3, size=(6, 7), seed=0):
    """Factors, and parts of which a tenth is not annotated."""
    generator = torch.Generator().manual_seed(seed)
    binary = torch.rand(n, n_factors, *size, generator=generator) > 0.6
    truth = (torch.rand(n, n_parts, *size, generator=generator) > 0.5).long()
    truth[torch.rand(truth.shape, generator=generator) > 0.9] = -1
    return binary, truth


def by_hand(binary, truth, k, t):
    """Equations 4.3 to 4.6 pixel by pixel: IoU, intersection over parts, intersection over factors."""
    both = either = factor = part = 0
    for own, target in zip(binary[:, k].flatten().tolist(), truth[:, t].flatten().tolist(), strict=True):
        if target < 0:
            continue
        both += own and target > 0
        either += own or target > 0
        factor += own
        part += target > 0
    return both / either, both / part, both / factor


@pytest.mark.parametrize("at_once", [1, 100, 2**20])
def test_ratios_equal_a_loop_over_pixels_however_many_images_are_taken_at_once(at_once, monkeypatch):
    monkeypatch.setattr(sys.modules[mask_areas.__module__], "_PIXELS_AT_ONCE", at_once)
    binary, truth = random_masks()
    areas = mask_areas(binary, truth)
    for k in range(4):
        for t in range(3):
            found = [areas.iou[k, t], areas.intersection_over_parts[k, t], areas.intersection_over_factors[k, t]]
            assert [float(each) for each in found] == pytest.approx(by_hand(binary, truth, k, t))
    assert torch.equal(iou_matrix(binary, truth), areas.iou)


def test_disjoint_sets_of_images_add_up():
    binary, truth = random_masks()
    parts = mask_areas(binary[:2], truth[:2]) + mask_areas(binary[2:], truth[2:]) + MaskAreas.zeros(4, 3)
    assert torch.equal(parts.iou, iou_matrix(binary, truth))
    assert torch.equal(mask_areas(binary[:0], truth[:0]).parts, torch.zeros(3).long())


def test_the_order_of_images_and_pixels_does_not_matter():
    binary, truth = random_masks()
    order = torch.randperm(5, generator=torch.Generator().manual_seed(1))
    expected = iou_matrix(binary, truth)
    assert torch.equal(iou_matrix(binary[order], truth[order]), expected)
    assert torch.equal(iou_matrix(binary.mT.flip(2), truth.mT.flip(2)), expected)
    assert torch.equal(iou_matrix(binary[:, [2, 0]], truth), expected[[2, 0]])


def test_counts_stay_exact_under_autocast_and_beyond_what_half_precision_counts():
    binary = torch.ones(3, 1, 70, 71, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        areas = mask_areas(binary, binary)
    assert areas.intersection.item() == areas.parts.item() == 3 * 70 * 71


def test_nothing_there_is_nan_and_nothing_in_common_is_zero():
    empty, full = torch.zeros(2, 1, 3, 3, dtype=torch.bool), torch.ones(2, 1, 3, 3, dtype=torch.bool)
    assert iou_matrix(empty, empty).isnan().all()
    assert iou_matrix(empty, full) == 0
    assert iou_matrix(full, empty) == 0
    assert mask_areas(empty, full).intersection_over_factors.isnan().all()
    assert mask_areas(full, empty).intersection_over_parts.isnan().all()
    assert iou_matrix(full, torch.full((2, 1, 3, 3), -1)).isnan().all()


def test_object_iou_of_the_set_is_that_of_one_long_mask_and_of_images_their_mean():
    binary, truth = random_masks(n_factors=1, n_parts=1)
    masks, target = binary[:, 0], truth[:, 0]
    assert float(object_iou(masks, target)) == pytest.approx(by_hand(binary, truth, 0, 0)[0])
    single = [by_hand(binary[i : i + 1], truth[i : i + 1], 0, 0)[0] for i in range(5)]
    assert float(object_iou(masks, target, average="images")) == pytest.approx(sum(single) / 5)
    assert float(object_iou(masks, target)) != pytest.approx(sum(single) / 5)


def test_images_without_a_pixel_are_left_out_of_the_mean():
    masks = torch.zeros(2, 2, 2, dtype=torch.bool)
    masks[0, 0, 0] = True
    assert object_iou(masks, masks, average="images") == 1
    assert object_iou(masks[1:], masks[1:], average="images").isnan()
    assert object_iou(masks[1:], masks[1:]).isnan()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda b, t: (b.float(), t), "`masks` parameter of `mask_areas` must be bool"),
        (lambda b, t: (b[:, 0], t), r"\(N, K, H, W\): see `binarize`"),
        (lambda b, t: (b, t[..., :-1]), "must be 5 images of 6 x 7 pixels"),
        (lambda b, t: (b, t[:-1]), "must be 5 images of 6 x 7 pixels"),
        (lambda b, t: (b, t[:, 0]), "must be 5 images of 6 x 7 pixels"),
        (lambda b, t: (b, t.float()), "bool or whole numbers. Got torch.float32"),
    ],
)
def test_bad_masks_are_named(change, text):
    with pytest.raises(ValueError, match=text):
        mask_areas(*change(*random_masks()))


def test_an_unknown_average():
    masks = torch.zeros(1, 2, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match="`average` parameter of `object_iou`"):
        object_iou(masks, masks, average="image")
