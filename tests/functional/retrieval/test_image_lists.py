import pytest
import torch

from lightning_interp.functional.retrieval.image_lists import by_size, images_of, prepare, scale_box

IMAGES = torch.rand(3, 3, 8, 12)


@pytest.mark.parametrize(
    "batch",
    [IMAGES, (IMAGES, torch.zeros(3)), [IMAGES, torch.zeros(3)], list(IMAGES), (list(IMAGES), 0), [list(IMAGES), 0]],
)
def test_images_are_found_in_what_loaders_yield(batch):
    assert torch.equal(torch.stack(images_of(batch)), IMAGES)


def test_gaps_are_kept():
    assert images_of([None, IMAGES[0]])[0] is None
    assert images_of(([None, None], 0)) == [None, None]
    assert images_of([]) == []


@pytest.mark.parametrize("batch", [IMAGES[0], [IMAGES[0, 0]], ["a.jpg"], (7, 8)])
def test_what_is_no_image_is_refused(batch):
    with pytest.raises((ValueError, TypeError), match="`loader` parameter of `describe_images`"):
        images_of(batch)


def test_images_are_cut_outwards_and_scaled():
    ready, skipped = prepare([IMAGES[0], None, IMAGES[2]], torch.tensor([[2.5, 1.0, 7.2, 5.0]] * 3), 6)
    assert ready[0].shape == (3, 6, 9)  # 4 x 6 pixels before
    assert skipped == {1: "cannot be read"}
    whole, _ = prepare([IMAGES[0]], torch.tensor([[2.5, 1.0, 7.2, 5.0]]), None)
    assert torch.equal(whole[0], IMAGES[0, :, 1:5, 2:8])


def test_nan_is_skipped():
    broken = IMAGES[0].clone()
    broken[0, 0, 0] = float("nan")
    ready, skipped = prepare([broken, IMAGES[1]], None, None)
    assert list(ready) == [1]
    assert skipped == {0: "holds NaN or inf"}


def test_a_box_follows_its_image():
    assert scale_box(torch.tensor([2.0, 4, 6, 8]), IMAGES[0], torch.rand(3, 16, 36)).tolist() == [6, 8, 18, 16]
    with pytest.raises(ValueError, match="outside of the image, 8 x 12"):
        scale_box(torch.tensor([2.0, 4, 16, 8]), IMAGES[0], IMAGES[0])


def test_groups_hold_images_of_one_size_in_order():
    found = by_size({0: IMAGES[0], 2: IMAGES[1].mT, 5: IMAGES[2]})
    assert [places for places, _ in found] == [[0, 5], [2]]
    assert torch.equal(found[0][1], IMAGES[[0, 2]])


def test_a_side_must_be_positive():
    with pytest.raises(ValueError, match="`image_size` parameter"):
        prepare([IMAGES[0]], None, 0)
