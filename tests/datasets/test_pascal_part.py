import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from lightning_interp.datasets.concepts import ConceptDataset, checked_targets, collate_concepts
from lightning_interp.datasets.pascal_part import PascalPart
from lightning_interp.datasets.pascal_part_files import PART_NAMES
from lightning_interp.datasets.voc_detection import VOCDetection
from lightning_interp.exceptions import DatasetNotFoundError
from tests.data import pascal_part, voc
from tests.data.shared import shared


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    root = tmp_path_factory.mktemp("pascal_part")
    return root, pascal_part.write(root)


def layers(data, category, targets):
    """Pixels by name: {name: bool (h, w)}, whatever layers they are in."""
    target = targets[category]
    target = target if target.ndim == 3 else target[None]
    names = data.concepts[category]
    return {names[v]: (target == v).any(0).numpy() for v in target.unique().tolist() if v}


def united(pairs):
    found = {}
    for name, mask in pairs:
        found[name] = found.get(name, False) | mask
    return {name: mask for name, mask in found.items() if mask.any()}


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def in_voc(label):
    return "diningtable" if label == "table" else label


def test_every_object_and_part_is_where_it_was_written(pristine):
    root, truth = pristine
    data = pickle.loads(pickle.dumps(PascalPart(root)))
    assert isinstance(data, ConceptDataset)
    assert data.ids == list(truth)
    assert {len(data.concepts["object"]), len(data.concepts["part"])} == {21, 194}
    stacked = without_parts = 0
    for (image, targets), objects in zip(data, truth.values(), strict=True):
        assert (image.shape[1:], image.dtype) == (targets["object"].shape[-2:], torch.float32)
        checked_targets(targets, data.concepts, parameter="item", owner="PascalPart")
        assert same(layers(data, "object", targets), united((in_voc(label), mask) for label, mask, _ in objects))
        parts = [(f"{in_voc(label)}/{part.split('_')[0]}", mask) for label, _, found in objects for part, mask in found]
        if not parts:
            without_parts += "part" not in targets
            continue
        assert same(layers(data, "part", targets), united(parts))
        stacked += targets["part"].ndim == 3
    assert stacked > 1
    assert without_parts == sum(not any(parts for _, _, parts in objects) for objects in truth.values()) > 1


def test_silhouettes_are_objects_only(pristine):
    data = PascalPart(pristine[0])
    shown = {name for _, targets in data for name in layers(data, "object", targets)}
    assert {"boat", "chair", "diningtable", "sofa"} <= shown
    assert not any(name.split("/")[0] in {"boat", "chair", "diningtable", "sofa"} for name in data.concepts["part"])


def test_numbered_parts_are_kept_apart_when_asked(pristine):
    root, truth = pristine
    data = PascalPart(root, numbered=True, categories=["part"])
    assert list(data.concepts) == ["part"]
    assert "car/wheel_10" in data.concepts["part"]
    assert "car/wheel" not in data.concepts["part"]
    found = set()
    for i, objects in enumerate(truth.values()):
        parts = united((f"{in_voc(label)}/{part}", mask) for label, _, pieces in objects for part, mask in pieces)
        if parts:
            assert same(layers(data, "part", data[i][1]), parts)
            found |= set(parts)
    assert {"car/wheel_1", "car/wheel_2"} <= found


def test_groups_of_parts(pristine):
    root, truth = pristine
    groups = {"head": ["head"], "neck+torso": ["*/neck", "torso"], "round": ["c*/wheel", "bus/wheel", "*/*eye"]}
    data = PascalPart(root, groups=groups)
    assert data.concepts["part"] == ["unlabelled", "head", "neck+torso", "round"]
    wanted = {"head": "head", "torso": "neck+torso", "wheel_1": "round", "wheel_2": "round", "leye": "round"}
    none = 0
    for (_, targets), objects in zip(data, truth.values(), strict=True):
        parts = [(wanted[part], mask) for _, _, found in objects for part, mask in found if part in wanted]
        if "part" in targets:  # annotated, although it may show none of the groups
            assert same(layers(data, "part", targets), united(parts))
            none += not parts
        else:
            assert not parts
    assert none > 0


@pytest.mark.parametrize("name", ["cow", "horse"])
def test_groups_of_the_thesis(tmp_path, name):
    """Table 4.5: head, neck and torso, leg, in a picture of a cow above a horse whose every part has two columns."""
    pascal_part.write(tmp_path, lists={"train": 1}, size=48)
    rows, objects, columns = {"cow": slice(0, 24), "horse": slice(24, 48)}, [], {}
    for animal in rows:
        parts = []
        for k, part in enumerate(part for part in PART_NAMES if part.startswith(f"{animal}/")):
            mask = np.zeros((48, 48), bool)
            mask[rows[animal], 2 * k : 2 * k + 2] = True
            parts.append((part.split("/")[1], mask))
        columns[animal] = dict(parts)
        objects.append((animal, np.any([mask for _, mask in parts], axis=0), parts))
    pascal_part.save(tmp_path / "Annotations_Part" / "2010_000000.mat", objects)
    groups = {"head": [f"{name}/head"], "neck+torso": [f"{name}/neck", f"{name}/torso"], "leg": [f"{name}/*leg"]}
    data, own = PascalPart(tmp_path, groups=groups, categories=["part"]), columns[name]
    legs = ["lfuleg", "lflleg", "rfuleg", "rflleg", "lbuleg", "lblleg", "rbuleg", "rblleg"]
    wanted = {"head": own["head"], "neck+torso": own["neck"] | own["torso"]}
    wanted["leg"] = np.any([own[part] for part in legs], axis=0)
    assert data.concepts == {"part": ["unlabelled", "head", "neck+torso", "leg"]}
    assert same(layers(data, "part", data[0][1]), wanted)


def test_pictures_of_a_class_are_found_by_the_boxes_of_voc(tmp_path):
    lists = {"train": 12, "val": 12}
    truth = pascal_part.write(tmp_path, lists=lists)
    voc.write(tmp_path, year=2010, lists=lists)  # the same scenes, with boxes
    shown = [i for i, objects in enumerate(truth.values()) if any(label == "cow" for label, *_ in objects)]
    file = tmp_path / "VOCdevkit" / "VOC2010" / "Annotations" / f"{voc.name(shown[0], 2010)}.xml"
    file.write_text(file.read_text().replace("<object>", "<object><truncated>1</truncated>"))
    data, boxes = PascalPart(tmp_path), VOCDetection(tmp_path, year=2010, image_set="trainval")
    assert list(boxes.class_images("cow")) == shown[1:] != []
    for i, found in boxes.class_images("cow", ignore=()).items():
        mask = data[i][1]["object"] == data.concepts["object"].index("cow")
        inside = [int(mask[top:bottom, left:right].sum()) for left, top, right, bottom in found.int().tolist()]
        assert min(inside) > 0
        assert sum(inside) == int(mask.sum())


def test_a_part_may_be_in_several_groups(pristine):
    data = PascalPart(pristine[0], groups={"a": ["cat/head"], "b": ["cat/head", "cat/nose"]})
    found = [layers(data, "part", t) for _, t in data if "part" in t and t["part"].any()]
    assert found
    assert all(np.array_equal(each["a"], each["b"]) for each in found)  # the nose is on the head


def test_cut_to_one_size(pristine):
    whole, cut = PascalPart(pristine[0]), PascalPart(pristine[0], size=32)
    images, targets = next(iter(DataLoader(cut, batch_size=4, collate_fn=collate_concepts, num_workers=1)))
    assert images.shape == (4, 3, 32, 32)
    assert targets[1]["object"].shape[-2:] == (64, 64)  # 64 x 128 in the file
    assert torch.equal(targets[1]["object"], whole[1][1]["object"][..., 32:96])
    assert torch.equal(targets[0]["object"], whole[0][1]["object"])


def test_a_picture_without_objects(tmp_path):
    pascal_part.write(tmp_path, lists={"train": 2}, size=32)
    pascal_part.save(tmp_path / "Annotations_Part" / "2010_000000.mat", [])
    _, targets = PascalPart(tmp_path, image_set="train")[0]
    assert (set(targets), targets["object"].shape, int(targets["object"].max())) == ({"object"}, (32, 32), 0)


def test_files_that_do_not_fit_or_are_missing(tmp_path):
    pascal_part.write(tmp_path, lists={"train": 3}, size=32)
    picture = tmp_path / "VOCdevkit" / "VOC2010" / "JPEGImages" / "2010_000000.jpg"
    Image.new("RGB", (40, 32)).save(picture)
    data = PascalPart(tmp_path)
    with pytest.raises(DatasetNotFoundError, match=r"2010_000000.mat' has 32 x 32 pixels .* its picture has 32 x 40"):
        data[0]
    (tmp_path / "Annotations_Part" / "2010_000001.mat").write_bytes(b"MATLAB 5.0")
    with pytest.raises(DatasetNotFoundError, match=r"annotation '.*2010_000001.mat' cannot be read"):
        data[1]
    (tmp_path / "Annotations_Part" / "2010_000002.mat").unlink()
    with pytest.raises(DatasetNotFoundError, match=r"1 of 3 annotations are missing, among them '.*2010_000002.mat'"):
        PascalPart(tmp_path)
    picture.unlink()
    with pytest.raises(DatasetNotFoundError, match=r"1 of 3 pictures are missing, among them '.*2010_000000.jpg'"):
        PascalPart(tmp_path)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"image_set": "test"}, "must be one of 'train', 'val', 'trainval'. Got 'test'"),
        ({"categories": ["parts"]}, "must be one of 'object', 'part'. Got 'parts'. Did you mean 'part'"),
        ({"groups": {"h": ["haed"]}}, "must be lists of parts of PASCAL-Part .* Got 'haed'. Did you mean 'head'"),
        ({"groups": {"h": ["dog/haed"]}}, ".* Got 'dog/haed'. Did you mean 'dog/head'"),
        ({"groups": {"h": ["boat/head"]}}, ".* Got 'boat/head'"),
        ({"groups": {"h": ["head"]}, "numbered": True}, "must be False when `groups` are given"),
        ({"size": 0}, r"must be an int in \[1, inf\). Got 0"),
    ],
)
def test_bad_options(pristine, options, match):
    name = list(options)[-1]
    with pytest.raises(ValueError, match=f"The `{name}` parameter of `PascalPart` {match}"):
        PascalPart(pristine[0], **options)


def test_the_sample(tmp_path):
    kit = tmp_path / "VOCdevkit" / "VOC2010"
    (kit / "ImageSets" / "Main").mkdir(parents=True)
    (kit / "JPEGImages").mkdir()
    (kit / "ImageSets" / "Main" / "train.txt").write_text("2010_000001\n")
    Image.new("RGB", (8, 6)).save(kit / "JPEGImages" / "2010_000001.jpg")
    (tmp_path / "Annotations_Part").symlink_to(shared("pascal_part_synthetic"))
    data = PascalPart(tmp_path, image_set="train")
    _, targets = data[0]
    assert set(layers(data, "object", targets)) == {"person", "diningtable"}
    assert {name: int(mask.sum()) for name, mask in layers(data, "part", targets).items()} == {
        "person/head": 2, "person/torso": 2,
    }  # fmt: skip
