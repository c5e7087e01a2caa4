import pickle
import random
import warnings

import pytest
from PIL import Image

from lightning_interp.datasets.voc_files import VOC_CLASSES
from lightning_interp.datasets.voc_retrieval import VOCRetrieval, merge_boxes
from lightning_interp.exceptions import DatasetNotFoundError
from tests.data import voc

NAMES = [f"2010_{i:06d}" for i in range(9)]
# class, left, top, right, bottom (from 0, exclusive), difficult, truncated
SCENES = {
    NAMES[0]: [("dog", 0, 0, 30, 30, 0, 0), ("cat", 30, 30, 40, 40, 0, 0)],
    NAMES[1]: [("cat", 0, 0, 30, 30, 0, 0), ("dog", 30, 30, 40, 40, 1, 0)],
    NAMES[2]: [("dog", 0, 0, 30, 30, 1, 0), ("cat", 30, 30, 40, 40, 0, 0)],  # the main object is difficult
    NAMES[3]: [("dog", 0, 0, 30, 30, 0, 1)],  # or truncated
    NAMES[4]: [("dog", 0, 0, 9, 9, 0, 1), ("dog", 5, 5, 20, 20, 0, 0), ("dog", 22, 0, 40, 11, 0, 0)],
    NAMES[5]: [("dog", 0, 0, 12, 40, 0, 0)],
    NAMES[6]: [],
    NAMES[7]: [("person", 0, 0, 40, 40, 0, 0), ("cat", 0, 0, 9, 9, 0, 0)],
    NAMES[8]: [("dog", 0, 0, 20, 20, 0, 0), ("cat", 20, 20, 40, 40, 1, 0)],  # as large: the first one counts
}
KEPT = [NAMES[i] for i in (0, 1, 4, 5, 7, 8)]


def write(root, scenes=SCENES):
    kit = root / "VOCdevkit" / "VOC2010"
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (kit / folder).mkdir(parents=True)
    for name, objects in scenes.items():
        Image.new("RGB", (48, 40)).save(kit / "JPEGImages" / f"{name}.jpg")
        text = "".join(
            f"<object><name>{label}</name><difficult>{difficult}</difficult><truncated>{truncated}</truncated><bndbox>"
            f"<xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
            for label, x0, y0, x1, y1, difficult, truncated in objects
        )
        (kit / "Annotations" / f"{name}.xml").write_text(f"<annotation>{text}</annotation>")
    (kit / "ImageSets" / "Main" / "trainval.txt").write_text("".join(f"{name}\n" for name in scenes))
    return kit


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("voc")
    write(root)
    return root


def few(root, **options):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*classes have fewer than")
        return VOCRetrieval(root, **options)


def slow_merge(boxes):
    """Joins the first two boxes that have a pixel in common, and starts again."""
    boxes = list(boxes)

    def cells(box):
        return {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}

    for i in range(len(boxes)):
        for j in range(i):
            if cells(boxes[i]) & cells(boxes[j]):
                a, b = boxes.pop(i), boxes.pop(j)
                return slow_merge([*boxes, (min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3]))])
    return sorted(boxes)


def test_pictures_without_a_clear_main_object_are_left_out(root):
    data = pickle.loads(pickle.dumps(few(root)))
    assert (data.names, data.protocols) == (KEPT, ("semantic",))
    assert [file.stem for file in data.files] == KEPT


def test_queries_and_what_is_to_be_found(root):
    data = few(root, n_queries=9)
    assert [VOC_CLASSES[label - 1] for label in data.labels] == ["cat", "dog", "dog", "dog", "dog", "person"]
    assert [query.name for query in data.queries] == [NAMES[1], NAMES[0], NAMES[4], NAMES[5], NAMES[8], NAMES[7]]
    for label, query in zip(data.labels, data.queries, strict=True):
        positives, junk = query.relevance("semantic")
        name = VOC_CLASSES[label - 1]
        # difficult and small ones too
        assert [data.names[i] for i in positives] == [
            each for each in KEPT if any(found[0] == name for found in SCENES[each])
        ]
        assert junk == ()
        assert (data.names[query.index], query.index in positives) == (query.name, True)


def test_overlapping_boxes_of_the_class_become_one(root):
    boxes = {query.name: query.box for query in few(root).queries}
    assert boxes[NAMES[4]] == (0, 0, 20, 20)
    assert boxes[NAMES[5]] == (0, 0, 12, 40)
    assert boxes[NAMES[7]] == (0, 0, 40, 40)  # the cat inside of it is another class


@pytest.mark.parametrize("seed", range(20))
def test_merging_equals_the_slow_way(seed):
    draw = random.Random(seed)
    corners = [(draw.randrange(20), draw.randrange(20)) for _ in range(draw.randrange(1, 12))]
    boxes = [(x, y, x + draw.randrange(1, 6), y + draw.randrange(1, 6)) for x, y in corners]
    merged = merge_boxes(boxes)
    assert merged == slow_merge(boxes)
    assert merged == merge_boxes(reversed(boxes)) == merge_boxes(merged)
    assert all(any(a[0] <= b[0] and a[1] <= b[1] and b[2] <= a[2] and b[3] <= a[3] for a in merged) for b in boxes)


def test_a_grown_box_reaches_others():
    a, b = (0, 0, 3, 10), (2, 9, 10, 12)  # around both there is a box that has the third one in it
    assert merge_boxes([(6, 1, 7, 2), a, b]) == merge_boxes([a, (6, 1, 7, 2), b]) == [(0, 0, 10, 12)]
    assert merge_boxes([(0, 0, 4, 4), (4, 0, 8, 4)]) == [(0, 0, 4, 4), (4, 0, 8, 4)]  # they only touch
    assert merge_boxes([]) == []


def test_the_seed_draws_the_queries(root):
    drawn = {tuple(query.name for query in few(root, n_queries=1, seed=seed).queries) for seed in range(30)}
    assert len(drawn) == 4  # one of four dogs
    assert few(root, n_queries=2, seed=3).queries == few(root, n_queries=2, seed=3).queries
    assert all(len(few(root, n_queries=2, seed=seed).queries) == 4 for seed in range(5))


def test_classes_with_few_pictures_are_counted(root):
    with pytest.warns(UserWarning, match=r"19 classes have fewer than 2 .*cat \(1\)") as seen:
        VOCRetrieval(root, n_queries=2)
    assert [warning.filename for warning in seen] == [__file__]


def test_toy_scenes_in_the_byte_format_of_voc(tmp_path):
    truth = voc.write(tmp_path, year=2010, lists={"trainval": 36})
    data = few(tmp_path, image_size=32, n_queries=1)
    for label, query in zip(data.labels, data.queries, strict=True):
        positives, _ = query.relevance("semantic")
        name = VOC_CLASSES[label - 1]
        assert {data.names[i] for i in positives} <= {
            id_ for id_, found in truth.items() if name in {o[0] for o in found}
        }
        assert any(query.box == found[1:5] for found in truth[query.name] if found[0] == name)
    image, box, _ = data.query_images("factors")[0]
    assert image.shape[1] == 32
    assert box.tolist() == [side / 2 for side in data.queries[0].box]


def test_missing_files_are_named(tmp_path):
    kit = write(tmp_path)
    with pytest.raises(DatasetNotFoundError, match=r"The list '.*val.txt' cannot be read"):
        VOCRetrieval(tmp_path, image_set="val")
    with pytest.raises(DatasetNotFoundError, match="There is no folder"):
        VOCRetrieval(tmp_path, year=2007)
    (kit / "JPEGImages" / f"{NAMES[4]}.jpg").unlink()
    with pytest.raises(DatasetNotFoundError, match=f"1 of 6 pictures are missing, among them '.*{NAMES[4]}.jpg'"):
        VOCRetrieval(tmp_path)
    (kit / "Annotations" / f"{NAMES[6]}.xml").write_text("<annotation>")
    with pytest.raises(DatasetNotFoundError, match=f"{NAMES[6]}.xml' cannot be read"):
        VOCRetrieval(tmp_path)


def test_no_picture_remains(tmp_path):
    write(tmp_path, {name: SCENES[name] for name in (NAMES[2], NAMES[3])})
    with pytest.raises(
        DatasetNotFoundError, match=r"No picture on the list 'trainval' .* neither difficult nor truncated"
    ):
        VOCRetrieval(tmp_path)


@pytest.mark.parametrize(
    ("options", "error"),
    [({"year": 2013}, ValueError), ({"year": "2010"}, TypeError), ({"image_set": "trainvall"}, ValueError),
     ({"n_queries": 0}, ValueError), ({"seed": -1}, ValueError), ({"image_size": 0}, ValueError)],
)  # fmt: skip
def test_bad_options_are_named(root, options, error):
    with pytest.raises(error, match=f"The `{next(iter(options))}` parameter of `VOCRetrieval` must be"):
        few(root, **options)
