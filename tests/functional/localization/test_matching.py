import itertools
from fractions import Fraction

import pytest
import torch

from lightning_interp.functional.localization.mask_areas import MaskAreas, iou_matrix, mask_areas
from lightning_interp.functional.localization.matching import (
    match_parts,
    merge_factors,
    merge_parts,
    select_factors,
    union_masks,
)
from tests.functional.localization.test_mask_areas import random_masks


def strips(*rows):
    """Masks of one image, a row of pixels each: ``(1, K, 1, W)``."""
    return torch.tensor(rows)[None, :, None]


@pytest.mark.parametrize("seed", range(4))
def test_matches_equal_the_definition(seed):
    iou = iou_matrix(*random_masks(n_factors=5, seed=seed))
    rows, columns = (range(size) for size in iou.shape)
    expected = [
        (k, t)
        for k, t in itertools.product(rows, columns)
        if all(iou[k, t] >= iou[k, other] for other in columns) and all(iou[k, t] >= iou[other, t] for other in rows)
    ]
    assert match_parts(iou) == expected
    assert expected, "the largest of all always matches"


def test_nothing_matches_what_has_no_pixel_in_common():
    assert match_parts(torch.tensor([[0.0, torch.nan], [0.0, 0.5]])) == [(1, 1)]
    assert match_parts(torch.zeros(2, 3)) == []
    assert match_parts(torch.zeros(0, 3)) == []


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [0.2, 0.4, 0.45])
def test_groups_equal_equations_4_7_and_4_9(seed, share):
    binary, truth = random_masks(seed=seed)
    present, known = truth > 0, truth >= 0

    def holds(k, t, whole):
        return Fraction(int((present[:, t] & binary[:, k]).sum()), int(whole.sum())) >= Fraction(str(share))

    parts = [tuple(t for t in range(3) if holds(k, t, present[:, t])) for k in range(4)]
    factors = [tuple(k for k in range(4) if holds(k, t, binary[:, k] & known[:, t])) for t in range(3)]
    areas = mask_areas(binary, truth)
    assert set(merge_parts(areas, share=share)) == {group for group in parts if len(group) > 1}
    assert set(merge_factors(areas, share=share)) == {group for group in factors if len(group) > 1}
    assert len(set(merge_parts(areas, share=share))) == len(merge_parts(areas, share=share))


def test_the_two_shares_are_not_mixed_up():
    """A wide factor covers two small parts; two small factors lie in one wide part."""
    wide, small = strips([1, 1, 1, 1]), strips([1, 0, 0, 0], [0, 1, 0, 0])
    areas = mask_areas(wide.bool(), small)
    assert merge_parts(areas, share=0.9) == ((0, 1),)
    assert merge_factors(areas, share=0.9) == ()
    areas = mask_areas(small.bool(), wide)
    assert merge_factors(areas, share=0.9) == ((0, 1),)
    assert merge_parts(areas, share=0.2) == ()


def test_unions_of_bools_and_of_masks_with_void():
    masks = strips([1, 1, 0, 0, -1, -1], [0, -1, 0, -1, -1, 0])
    assert union_masks(masks, [[0, 1]]).tolist() == [[[[1, 1, 0, -1, -1, -1]]]]
    binary, _ = random_masks()
    found = union_masks(binary, [[0, 3], [2]])
    assert torch.equal(found[:, 0], binary[:, 0] | binary[:, 3])
    assert torch.equal(found[:, 1], binary[:, 2])
    assert found.dtype == torch.bool
    assert union_masks(binary, []).shape == (5, 0, 6, 7)


def test_the_factors_of_an_object_in_pieces_are_found():
    """Planted: the object is pieces 1, 4 and 5 of a background in seven."""
    generator = torch.Generator().manual_seed(0)
    pieces = torch.randint(0, 7, (3, 8, 8), generator=generator)
    binary = torch.stack([pieces == number for number in range(7)], 1)
    truth = torch.isin(pieces, torch.tensor([1, 4, 5]))
    assert select_factors(binary, truth) == (1, 4, 5)
    order = [3, 1, 0, 6, 5, 2, 4]
    assert [order[i] for i in select_factors(binary[:, order], truth)] == [1, 5, 4]


def test_one_factor_that_fits_beats_the_union():
    binary = strips([1, 1, 0, 0, 0, 0], [0, 1, 1, 1, 1, 0]).bool()
    assert select_factors(binary, torch.tensor([[[1, 1, 0, 0, 0, 0]]])) == (0,)


def test_a_union_within_one_factorisation_may_beat_that_of_all():
    """The first has halves of the object, the second a piece that is mostly background."""
    binary = strips([1, 1, 0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1, 0, 0]).bool()
    truth = torch.tensor([[[1, 1, 1, 1, 0, 0, 0, 0]]])
    assert select_factors(binary, truth, ks=[2, 1]) == (0, 1)
    assert select_factors(binary, truth) == (0, 1, 2)
    with pytest.raises(ValueError, match="`ks` parameter of `select_factors` must be numbers that add up to 3"):
        select_factors(binary, truth, ks=[2])


def test_pixels_that_are_not_annotated_do_not_choose():
    binary = strips([1, 1, 0, 0], [1, 0, 1, 1]).bool()
    assert select_factors(binary, torch.tensor([[[1, 0, 0, 0]]]), share=0.9) == (0,)
    assert select_factors(binary, torch.tensor([[[1, 0, -1, -1]]]), share=0.9) == (1,)


def test_bad_input_is_named():
    binary = strips([1, 0, 0]).bool()
    with pytest.raises(ValueError, match="`truth` parameter of `select_factors` must be masks that some factor"):
        select_factors(binary, torch.tensor([[[0, 1, 1]]]))
    with pytest.raises(ValueError, match="1 images of 1 x 3 pixels"):
        select_factors(binary, torch.ones(1, 1, 4).long())
    for merge in (merge_parts, merge_factors):
        with pytest.raises(ValueError, match=f"`share` parameter of `{merge.__name__}`"):
            merge(MaskAreas.zeros(2, 2), share=0.0)
