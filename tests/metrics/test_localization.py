import pickle

import pytest
import torch
from torch import distributed, multiprocessing

from lightning_interp.functional.localization.colocalization import correct_localization
from lightning_interp.functional.localization.mask_areas import iou_matrix, mask_areas, object_iou
from lightning_interp.metrics.localization import CorLoc, ObjectIoU, PartIoU
from tests.functional.localization.test_mask_areas import random_masks

BINARY, TRUTH = random_masks(n=9)
MASKS, TARGET = BINARY[:, 0], TRUTH[:, 0]
LABELS = torch.arange(9) % 3


def random_boxes():
    generator = torch.Generator().manual_seed(0)
    corners = torch.randint(0, 6, (9, 3, 2, 2), generator=generator).sort(2).values
    boxes = corners.flatten(2) + torch.tensor([0, 0, 1, 1])
    return boxes[:, 0], list(boxes[:, 1:])


@pytest.mark.parametrize("average", ["set", "images"])
def test_batches_of_objects_add_up_to_the_function(average):
    metric = ObjectIoU(average=average)
    for rows in (*torch.arange(9).split(4), torch.arange(0)):
        metric.update(MASKS[rows], TARGET[rows])
    expected = object_iou(MASKS, TARGET, average=average)
    assert torch.allclose(metric.compute(), expected)
    assert torch.allclose(pickle.loads(pickle.dumps(metric)).compute(), expected)
    metric.reset()
    metric.update(MASKS[:0], TARGET[:0])
    assert metric.compute().isnan()


def test_images_without_any_pixel_do_not_count():
    metric, empty = ObjectIoU(average="images"), torch.zeros(2, 6, 7, dtype=torch.bool)
    metric.update(MASKS, TARGET)
    before = metric.compute()
    metric.update(empty, empty)
    assert metric.n_images == 9
    metric.reset()
    metric.update(torch.cat([MASKS, empty]), torch.cat([TARGET, empty.long()]))
    assert metric.compute() == before


def test_batches_of_parts_add_up_to_the_function():
    metric = PartIoU(4, 3)
    for rows in (*torch.arange(9).split(2), torch.arange(0)):
        metric.update(BINARY[rows], TRUTH[rows])
    assert torch.equal(metric.compute(), iou_matrix(BINARY, TRUTH))
    expected, found = mask_areas(BINARY, TRUTH), metric.areas()
    assert torch.equal(found.intersection_over_parts, expected.intersection_over_parts)
    found.intersection.zero_()
    assert torch.equal(metric.areas().intersection, expected.intersection), "areas are a copy"
    metric.reset()
    metric.update(BINARY[:0], TRUTH[:0])
    assert metric.compute().isnan().all()


def test_batches_of_boxes_add_up_to_the_function():
    boxes, truth = random_boxes()
    metric = CorLoc(n_classes=4)
    for start in (0, 4, 8, 9):
        own = slice(start, start + 4 if start < 8 else 9)
        metric.update(boxes[own], truth[own], LABELS[own])
    right = correct_localization(boxes, truth)
    shares = torch.stack([right[c == LABELS].float().mean() for c in range(3)])
    assert torch.allclose(metric.per_class()[:3], shares)
    assert metric.per_class()[3].isnan()
    assert torch.allclose(metric.compute(), shares.mean())
    alone = CorLoc()
    alone.update(boxes, truth)
    assert torch.allclose(alone.compute(), right.float().mean())
    assert 0 < right.float().mean() < 1


def test_corloc_is_at_its_ends_for_the_truth_and_for_nothing():
    boxes, _ = random_boxes()
    metric = CorLoc()
    assert metric(boxes, list(boxes[:, None])) == 1
    assert metric(torch.full((9, 4), -1), list(boxes[:, None])) == 0
    assert metric.compute() == 0.5
    metric.reset()
    metric.update(boxes[:0], [])
    assert metric.compute().isnan()


def test_parts_of_merged_states_are_those_of_the_whole():
    first, second = PartIoU(4, 3), PartIoU(4, 3)
    first.update(BINARY[:2], TRUTH[:2])
    second.update(BINARY[2:], TRUTH[2:])
    areas = first.areas() + second.areas()
    assert torch.equal(areas.iou, iou_matrix(BINARY, TRUTH))


def measured(rows):
    boxes, truth = random_boxes()
    metrics = {average: ObjectIoU(average=average) for average in ("set", "images")}
    for metric in metrics.values():
        metric.update(MASKS[rows], TARGET[rows])
    parts, corloc = PartIoU(4, 3), CorLoc(3)
    parts.update(BINARY[rows], TRUTH[rows])
    corloc.update(boxes[rows], [truth[i] for i in rows], LABELS[rows])
    found = {name: metric.compute() for name, metric in metrics.items()}
    found["over_parts"] = parts.areas().intersection_over_parts
    found["per_class"] = corloc.per_class()
    return {**found, "parts": parts.compute(), "corloc": corloc.compute()}


def on_rank(rank, folder, shares):
    distributed.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=2)
    torch.save(measured(shares[rank]), folder / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.parametrize("shares", [([0, 2, 4, 6, 8], [1, 3, 5, 7]), (list(range(9)), [])], ids=["even", "one idle"])
def test_two_ranks_are_one(tmp_path, shares):
    multiprocessing.start_processes(on_rank, (tmp_path, shares), nprocs=2, start_method="fork")
    expected = measured(list(range(9)))
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert found.keys() == expected.keys()
        for name, value in found.items():
            assert torch.allclose(value, expected[name]), name


def test_bad_input_is_named():
    boxes, truth = random_boxes()
    with pytest.raises(ValueError, match="`average` parameter of `ObjectIoU`"):
        ObjectIoU(average="mean")
    with pytest.raises(ValueError, match="9 images of 6 x 7 pixels"):
        ObjectIoU().update(MASKS, TARGET[:, 1:])
    with pytest.raises(ValueError, match="`n_parts` parameter of `PartIoU`"):
        PartIoU(4, 0)
    with pytest.raises(ValueError, match="masks of 4 factors, held against 1 parts"):
        PartIoU(4, 1).update(BINARY, TRUTH)
    with pytest.raises(ValueError, match="`n_classes` parameter of `CorLoc`"):
        CorLoc(0)
    with pytest.raises(ValueError, match=r"a class in \[0, 1\] for each of 9 images"):
        CorLoc(2).update(boxes, truth, LABELS)
    with pytest.raises(ValueError, match="for each of 9 images"):
        CorLoc(3).update(boxes, truth, LABELS[:4])
