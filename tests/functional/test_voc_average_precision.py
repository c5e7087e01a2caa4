import numpy as np
import pytest
import torch
from sklearn.metrics import precision_recall_curve

from lightning_interp.functional.voc_average_precision import match_detections, voc_average_precision
from tests.reference.voc_average_precision import average_precision

BOX = [0.0, 0.0, 10.0, 10.0]


def boxes(rows, labels=None, **columns):
    n = len(rows)
    columns = {name: torch.tensor(value) for name, value in columns.items()}
    return {"boxes": torch.tensor(rows).reshape(n, 4), "labels": torch.tensor(labels or [1] * n), **columns}


def ranking(hits, n_objects):
    """One image per detection: a box on the object or beside it, confidence falling."""
    hits = list(hits)
    scores = torch.linspace(0.9, 0.1, len(hits)).tolist()
    found = [boxes([BOX if hit else [50.0, 50.0, 60.0, 60.0]], scores=[s]) for hit, s in zip(hits, scores, strict=True)]
    targets = [boxes([BOX]) if hit else boxes([]) for hit in hits]
    missed = n_objects - sum(hits)
    return [*found, *[boxes([], scores=[])] * missed], [*targets, *[boxes([BOX])] * missed]


def random_images(n_images=30, *, n_classes=3, seed=0):
    """Objects, some difficult; detections near them, twice, elsewhere, or under another class."""
    rng = np.random.default_rng(seed)
    predictions, targets = [], []
    for _ in range(n_images):
        n = int(rng.integers(0, 5))
        corner = rng.integers(0, 40, (n, 2))
        truth = np.concatenate([corner, corner + rng.integers(5, 30, (n, 2))], 1).astype(np.float32)
        labels = rng.integers(1, n_classes + 1, n)
        near = np.repeat(np.arange(n), rng.integers(0, 4, n))
        found = truth[near] + rng.integers(-4, 5, (len(near), 4))
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        wild = np.concatenate([found, np.tile([3.0, 3.0, 20.0, 25.0], (2, 1))]).astype(np.float32)
        guess = np.where(rng.random(len(near)) < 0.8, labels[near], rng.integers(1, n_classes + 1, len(near)))
        guess = np.concatenate([guess, rng.integers(1, n_classes + 1, 2)])
        targets.append(boxes(truth.tolist(), labels.tolist(), difficult=(rng.random(n) < 0.25).tolist()))
        predictions.append(boxes(wild.tolist(), guess.tolist(), scores=rng.random(len(guess)).tolist()))
    return predictions, targets


@pytest.mark.parametrize("rule", ["area", "eleven_point"])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("iou_threshold", [0.3, 0.5, 0.75])
def test_against_the_loop_of_the_development_kit(rule, seed, iou_threshold):
    predictions, targets = random_images(seed=seed)
    got = voc_average_precision(predictions, targets, n_classes=3, iou_threshold=iou_threshold, rule=rule)
    options = {"iou_threshold": iou_threshold, "rule": rule}
    expected = [average_precision(predictions, targets, label, **options) for label in (1, 2, 3)]
    assert 0 < min(expected) < max(expected) < 1
    assert got.per_class.tolist() == pytest.approx(expected, abs=1e-6)
    assert float(got.mean) == pytest.approx(np.mean(expected), abs=1e-6)
    assert got.n_objects.sum() == sum(int((target["difficult"] == 0).sum()) for target in targets)


def test_area_is_that_under_the_envelope_of_scikit_learn():
    hits = np.random.default_rng(0).random(60) < 0.6
    predictions, targets = ranking(hits.tolist(), int(hits.sum()))
    scores = np.array([float(found["scores"][0]) for found in predictions])
    precision, recall, _ = precision_recall_curve(hits, scores)  # recall falls
    area = -np.sum(np.diff(recall) * np.maximum.accumulate(precision)[:-1])
    assert float(voc_average_precision(predictions, targets, n_classes=1).mean) == pytest.approx(area, abs=1e-6)


@pytest.mark.parametrize(
    ("hits", "n_objects", "area", "eleven_point"),
    [
        ([True, True], 2, 1, 1),
        ([], 3, 0, 0),
        ([False, False], 1, 0, 0),
        ([True, False, True], 2, 0.5 + 0.5 * 2 / 3, (6 + 5 * 2 / 3) / 11),
        ([False, True], 1, 0.5, 0.5),
        ([True, True, True], 10, 0.3, 4 / 11),  # recall 3/10 reaches the point 0.3
    ],
)
def test_crafted_rankings(hits, n_objects, area, eleven_point):
    predictions, targets = ranking(hits, n_objects)
    assert float(voc_average_precision(predictions, targets, n_classes=1).mean) == pytest.approx(area)
    got = voc_average_precision(predictions, targets, n_classes=1, rule="eleven_point")
    assert float(got.mean) == pytest.approx(eleven_point)


def hits(found, truth, **options):
    return match_detections([found], [truth], n_classes=2, **options).hits.tolist()


def test_an_object_is_found_once_by_the_most_confident():
    assert hits(boxes([BOX] * 3, scores=[0.5, 0.9, 0.7]), boxes([BOX])) == [False, True, False]


def test_the_object_of_most_overlap_is_the_one_even_when_it_is_taken():
    near = [0.0, 0.0, 10.0, 9.0]  # 0.9 with the first object, 0.6 with the second, which stays alone
    truth = boxes([BOX, [0.0, 0.0, 10.0, 5.4]])
    assert hits(boxes([BOX, near], scores=[0.9, 0.8]), truth) == [True, False]


def test_an_overlap_of_exactly_one_half_is_enough():
    half = boxes([[0.0, 0.0, 10.0, 5.0]], scores=[0.9])
    assert hits(half, boxes([BOX])) == [True]
    assert hits(half, boxes([BOX]), iou_threshold=0.501) == [False]


def test_difficult_objects_are_neither_missed_nor_found():
    truth = boxes([BOX, [20.0, 20.0, 40.0, 40.0]], difficult=[True, False])
    found = boxes([BOX, BOX, [20.0, 20.0, 40.0, 40.0]], scores=[0.9, 0.8, 0.7])
    matches = match_detections([found], [truth], n_classes=1)
    assert (matches.hits.tolist(), matches.n_objects.tolist()) == ([True], [1])
    assert float(voc_average_precision([found], [truth], n_classes=1).mean) == 1


def test_classes_are_kept_apart_and_empty_ones_left_out_of_the_mean():
    got = voc_average_precision([boxes([BOX], [2], scores=[0.9])], [boxes([BOX], [1])], n_classes=3)
    assert got.per_class[0] == 0
    assert got.per_class[1:].isnan().all()
    assert got.mean == 0
    assert voc_average_precision([], [], n_classes=2).mean.isnan()


def test_neither_the_order_of_images_nor_ties_matter():
    predictions, targets = random_images(seed=1)
    for found in predictions:
        found["scores"] = (found["scores"] * 4).round() / 4
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(0)).tolist()
    got = voc_average_precision(predictions, targets, n_classes=3)
    again = voc_average_precision([predictions[i] for i in order], [targets[i] for i in order], n_classes=3)
    assert got.per_class.tolist() == again.per_class.tolist()


def test_boxes_without_area_match_nothing():
    point = [5.0, 5.0, 5.0, 5.0]
    assert hits(boxes([point], scores=[0.9]), boxes([point])) == [False]


@pytest.mark.parametrize(
    ("found", "truth", "options", "match"),
    [
        (boxes([BOX], scores=[0.9, 0.8]), boxes([BOX]), {}, r"`predictions` .* boxes \(n, 4\) and labels and scores"),
        (boxes([BOX]), boxes([BOX]), {}, r"`predictions` parameter of `match_detections` must be dicts"),
        (boxes([BOX], scores=[0.9]), {"boxes": torch.zeros(1, 4)}, {}, r"`targets` .* and labels \(n,\). Got {'boxes'"),
        (boxes([BOX], scores=[0.9]), boxes([BOX], [0]), {}, r"`targets` .* labels in \[1, 2\]. Got \[0\]"),
        (boxes([BOX], [3], scores=[0.9]), boxes([BOX]), {}, r"`predictions` .* labels in \[1, 2\]. Got \[3\]"),
        (boxes([BOX], scores=[0.9]), boxes([BOX]), {"iou_threshold": 0.0}, "`iou_threshold`"),
        (boxes([BOX], scores=[0.9]), boxes([BOX]), {"rule": "coco"}, "`rule` .* must be one of 'area'"),
    ],
)
def test_bad_input(found, truth, options, match):
    with pytest.raises(ValueError, match=match):
        voc_average_precision([found], [truth], **{"n_classes": 2, **options})


def test_every_image_needs_a_target():
    with pytest.raises(ValueError, match=r"one dict for each of 1 targets\. Got '2 dicts'"):
        voc_average_precision([boxes([], scores=[])] * 2, [boxes([])], n_classes=1)
