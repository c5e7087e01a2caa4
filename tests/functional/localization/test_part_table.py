import pytest
import torch

from lightning_interp.functional.localization.mask_areas import iou_matrix
from lightning_interp.functional.localization.part_table import PartTable, part_table
from tests.functional.localization.test_mask_areas import random_masks
from tests.functional.localization.test_matching import strips

NAMES = ["head", "neck", "tail", "background"]
PARTS = strips([1, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 1, 1])


def test_a_factor_that_covers_two_parts_gets_both_names():
    factors = strips([1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1], [0, 0, 0, 1, 0, 0]).bool()
    table = part_table(factors, PARTS, NAMES)
    assert table.parts == (("head", "neck"), ("background",), ("tail",))
    assert table.factors == ((0,), (1,), (2,))
    assert table.iou.tolist() == [1.0, 0.5, 1.0]
    assert table.mutual.all()
    assert table.mean_iou() == 1.0
    assert table.mean_iou(without=()) == pytest.approx(2.5 / 3)
    alone = part_table(factors, PARTS, NAMES, merging="none")
    assert alone.parts[0] == ("head",)
    assert float(alone.iou[0]) == pytest.approx(2 / 3)


def test_factors_of_one_part_are_joined_only_when_asked():
    factors = strips([1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0]).bool()
    assert part_table(factors, PARTS, NAMES).factors == ((0,), (1,), (2,))
    for merging in ("factors", "both"):
        table = part_table(factors, PARTS, NAMES, merging=merging)
        assert table.factors == ((0,), (1,), (2,), (0, 1))
        assert table.parts == (("head",), ("head",), ("tail",), ("head",))
        assert table.iou.tolist() == [0.5, 0.5, 1.0, 1.0]
        assert table.mutual.tolist() == [False, False, True, True]


def test_a_factor_that_overlaps_nothing_has_no_name():
    factors = strips([0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0]).bool()
    table = part_table(factors, PARTS, NAMES)
    assert table.parts == ((), ("tail",))
    assert table.iou.tolist() == [0.0, 1.0]
    assert table.mutual.tolist() == [False, True]
    assert str(part_table(factors[:, :1], PARTS, NAMES).mean_iou()) == "nan"


def test_without_merging_rows_are_the_maxima_of_the_matrix():
    binary, truth = random_masks()
    table = part_table(binary, truth, NAMES[:3], merging="none")
    iou, best = iou_matrix(binary, truth).max(1)
    assert torch.equal(table.iou, iou)
    assert table.parts == tuple((NAMES[t],) for t in best.tolist())


def test_predictions_are_measured_on_images_that_they_have_not_seen():
    binary, truth = random_masks()
    table = part_table(binary, truth, NAMES[:3], known=[3, 1], merging="none")
    guess = iou_matrix(binary[[1, 3]], truth[[1, 3]]).argmax(1)
    assert table.parts == tuple((NAMES[t],) for t in guess.tolist())
    rest = iou_matrix(binary[[0, 2, 4]], truth[[0, 2, 4]])
    assert torch.equal(table.iou, rest.gather(1, guess[:, None])[:, 0])


def test_the_truth_of_other_images_changes_no_prediction():
    binary, truth = random_masks()
    other = truth.clone()
    other[1:] = 1 - other[1:].clamp(min=0)
    first, second = (part_table(binary, each, NAMES[:3], known=[0], merging="both") for each in (truth, other))
    assert (first.factors, first.parts) == (second.factors, second.parts)
    assert torch.equal(first.mutual, second.mutual)
    assert not torch.equal(first.iou, second.iou)


def test_permuted_images_give_the_same_table():
    binary, truth = random_masks()
    order = [4, 2, 0, 1, 3]
    first = part_table(binary, truth, NAMES[:3], merging="both")
    second = part_table(binary[order], truth[order], NAMES[:3], merging="both")
    assert first.to_dataframe().equals(second.to_dataframe())


def test_table_and_file(tmp_path):
    binary, truth = random_masks()
    table = part_table(binary, truth, NAMES[:3], merging="both")
    frame = table.to_dataframe()
    assert list(frame) == ["factors", "parts", "iou", "mutual"]
    assert frame.iou.tolist() == table.iou.tolist()
    assert frame.factors.iloc[-1] == "+".join(map(str, table.factors[-1]))
    assert frame.parts[0] == "/".join(table.parts[0])
    table.save(tmp_path / "table.safetensors")
    again = PartTable.load(tmp_path / "table.safetensors")
    assert (again.factors, again.parts) == (table.factors, table.parts)
    assert torch.equal(again.iou, table.iou)
    assert torch.equal(again.mutual, table.mutual)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"part_names": ["head"]}, "a name for each of 3 parts"),
        ({"known": [5]}, r"`known` parameter of `part_table` must be an int in \[0, 4\]"),
        ({"known": range(5)}, "some, but not all, of 5 images"),
        ({"known": []}, "some, but not all, of 5 images"),
        ({"merging": "part"}, "`merging` parameter of `part_table`.*Did you mean"),
        ({"share": 2.0}, "`share` parameter of `merge_parts`"),
    ],
)
def test_bad_input_is_named(options, text):
    binary, truth = random_masks()
    names = options.pop("part_names", NAMES[:3])
    with pytest.raises(ValueError, match=text):
        part_table(binary, truth, names, **options)


def test_masks_of_another_size_and_no_parts():
    binary, truth = random_masks()
    with pytest.raises(ValueError, match="5 images of 6 x 7 pixels"):
        part_table(binary, truth[..., :3], NAMES[:3])
    with pytest.raises(ValueError, match="a factor and a part at least"):
        part_table(binary, truth[:, :0], [])
