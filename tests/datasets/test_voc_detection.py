import pickle
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from lightning_interp.datasets.voc_detection import VOCDetection
from lightning_interp.exceptions import DatasetNotFoundError
from tests.data import voc
from tests.data.shared import shared


def objects(data, i):
    target = data.target(i)
    names = [data.classes[label - 1] for label in target["labels"]]
    columns = zip(names, target["boxes"].tolist(), target["difficult"].tolist(), strict=True)
    return [(name, *map(int, box), flag) for name, box, flag in columns]


@pytest.mark.parametrize("year", [2007, 2012])
def test_pictures_and_boxes(tmp_path, year):
    truth = voc.write(tmp_path, year=year)
    data = pickle.loads(pickle.dumps(VOCDetection(tmp_path, year=year)))
    assert data.ids == list(truth)[:6]
    assert [objects(data, i) for i in range(6)] == [truth[id_] for id_ in data.ids]
    image, target = data[3]
    assert (image.shape, image.dtype) == ((3, 64, 128), torch.float32)
    assert 0 <= image.min() < 0.2 < 0.8 < image.max() <= 1
    assert {name: value.dtype for name, value in target.items() if name != "image_id"} == {
        "boxes": torch.float32, "labels": torch.int64, "difficult": torch.bool,
    }  # fmt: skip
    assert target["image_id"] == voc.name(3, year)
    assert data[-1][1]["image_id"] == data.ids[-1]


def test_boxes_lie_on_the_objects(tmp_path):
    voc.write(tmp_path, lists={"train": 12})
    data, scenes = VOCDetection(tmp_path, year=2007), voc.ToyScenes(24, size=64)
    for i in range(0, 12, 2):
        left, top, right, bottom = map(int, data.target(i)["boxes"][0])
        mask = scenes.truth(i).object_mask
        assert mask[top:bottom, left:right].sum() == mask.sum()
        assert all(side.any() for side in (mask[top], mask[bottom - 1], mask[:, left], mask[:, right - 1]))


def test_difficult_objects_can_be_left_out(tmp_path):
    voc.write(tmp_path)
    kept, rest = (VOCDetection(tmp_path, year=2007, keep_difficult=keep) for keep in (True, False))
    assert kept.target(3)["difficult"].tolist() == [False, True]
    assert torch.equal(rest.target(3)["boxes"], kept.target(3)["boxes"][:1])
    assert torch.equal(rest.target(4)["boxes"], kept.target(4)["boxes"])


def flagged(tmp_path, pictures):
    """Six pictures with objects ``(class, flags)``, box k of a picture being ``[k, 0, k + 2, 3]``."""
    voc.write(tmp_path)
    for i, found in enumerate(pictures):
        text = "".join(
            f"<object><name>{name}</name>{''.join(f'<{flag}>1</{flag}>' for flag in flags)}<bndbox><xmin>{k + 1}</xmin>"
            f"<ymin>1</ymin><xmax>{k + 2}</xmax><ymax>3</ymax></bndbox></object>"
            for k, (name, *flags) in enumerate(found)
        )
        (tmp_path / f"VOCdevkit/VOC2007/Annotations/{i:06d}.xml").write_text(f"<annotation>{text}</annotation>")


def columns(images):
    """First columns of the boxes by picture."""
    assert all(boxes.shape == (len(boxes), 4) and boxes.dtype == torch.float32 for boxes in images.values())
    return {index: boxes[:, 0].int().tolist() for index, boxes in images.items()}


def test_images_of_a_class_without_those_where_all_its_objects_are_difficult_or_truncated(tmp_path):
    dog, cat = ("dog",), ("cat",)
    pictures = [
        [cat, dog], [cat, ("dog", "difficult")], [("dog", "truncated"), cat], [("dog", "truncated"), dog, dog],
        [("dog", "difficult"), ("dog", "truncated")], [("dog", "difficult", "truncated")],
    ]  # fmt: skip
    flagged(tmp_path, pictures)
    data = VOCDetection(tmp_path, year=2007)
    assert columns(data.class_images("dog")) == {0: [1], 3: [0, 1, 2]}
    assert columns(data.class_images("dog", ignore=["difficult"])) == {0: [1], 2: [0], 3: [0, 1, 2], 4: [0, 1]}
    assert columns(data.class_images("dog", ignore=["truncated"])) == {0: [1], 1: [1], 3: [0, 1, 2], 4: [0, 1]}
    assert list(data.class_images("dog", ignore=())) == [0, 1, 2, 3, 4, 5]
    assert columns(data.class_images("cat")) == {0: [0], 1: [0], 2: [1]}
    assert data.class_images("sheep") == {}
    without = VOCDetection(tmp_path, year=2007, keep_difficult=False)
    assert columns(without.class_images("dog", ignore=())) == {0: [1], 2: [0], 3: [0, 1, 2], 4: [1]}
    for options in ({"name": "dgo"}, {"name": "dog", "ignore": ["occluded"]}):
        with pytest.raises(
            ValueError, match=rf"`{list(options)[-1]}` parameter of `VOCDetection.class_images` must be"
        ):
            data.class_images(**options)


def test_no_object_at_all(tmp_path):
    flagged(tmp_path, [[]] * 6)
    assert VOCDetection(tmp_path, year=2007).class_images("dog", ignore=()) == {}


def test_a_picture_without_objects(tmp_path):
    voc.write(tmp_path)
    (tmp_path / "VOCdevkit/VOC2007/Annotations/000002.xml").write_text("<annotation/>")
    target = VOCDetection(tmp_path, year=2007).target(2)
    assert (target["boxes"].shape, target["labels"].shape, target["difficult"].shape) == ((0, 4), (0,), (0,))
    for i in range(6):
        (tmp_path / f"VOCdevkit/VOC2007/Annotations/{i:06d}.xml").write_text("<annotation/>")
    assert VOCDetection(tmp_path, year=2007).target(5)["boxes"].shape == (0, 4)


def test_transform_and_workers(tmp_path):
    voc.write(tmp_path)
    data = VOCDetection(tmp_path, year=2007, transform=lambda image: image.mean())
    means = [float(image) for image, _ in data]
    loader = DataLoader(VOCDetection(tmp_path, year=2007), batch_size=None, num_workers=1)
    assert [float(image.mean()) for image, _ in loader] == pytest.approx(means)


def test_truncated_picture_is_named(tmp_path):
    voc.write(tmp_path)
    file = tmp_path / "VOCdevkit" / "VOC2007" / "JPEGImages" / "000004.jpg"
    file.write_bytes(file.read_bytes()[:-300])
    data = VOCDetection(tmp_path, year=2007)
    with pytest.raises(DatasetNotFoundError, match=r"picture '.*000004.jpg' cannot be decoded \(.*truncated"):
        data[4]


def test_missing_pictures_and_annotations_are_named_at_once(tmp_path):
    voc.write(tmp_path)
    kit = tmp_path / "VOCdevkit" / "VOC2007"
    (kit / "Annotations" / "000001.xml").unlink()
    with pytest.raises(DatasetNotFoundError, match=r"000001\.xml' cannot be read"):
        VOCDetection(tmp_path, year=2007)
    (kit / "JPEGImages" / "000004.jpg").unlink()
    with pytest.raises(DatasetNotFoundError, match=r"1 of 6 pictures of VOC2007 train .* among them '000004\.jpg'"):
        VOCDetection(tmp_path, year=2007)


@pytest.mark.parametrize(
    ("options", "error"),
    [({"year": 2006}, ValueError), ({"year": "2007"}, TypeError), ({"image_set": "tset"}, ValueError)],
)
def test_bad_options_are_named(tmp_path, options, error):
    (name,) = options
    with pytest.raises(error, match=f"The `{name}` parameter of `VOCDetection` must be"):
        VOCDetection(tmp_path, **options)


def test_real_files(tmp_path):
    real = shared("voc2007")
    kit = tmp_path / "VOCdevkit" / "VOC2007"
    (kit / "ImageSets" / "Main").mkdir(parents=True)
    for folder in ("Annotations", "JPEGImages"):
        (kit / folder).symlink_to(real / folder)
    ids = sorted(file.stem for file in (real / "Annotations").glob("*.xml"))
    (kit / "ImageSets" / "Main" / "trainval.txt").write_text("\n".join(ids))
    data = VOCDetection(tmp_path, year=2007, image_set="trainval")
    assert objects(data, 0) == [("dog", 47, 239, 195, 371, False), ("person", 7, 11, 352, 498, False)]
    trees = [ElementTree.parse(real / "Annotations" / f"{id_}.xml") for id_ in ids]
    found = 0
    for name in data.classes:  # by the files themselves, one by one
        clear = [
            i for i, tree in enumerate(trees)
            if any((o.findtext("name"), o.findtext("difficult"), o.findtext("truncated")) == (name, "0", "0")
                   for o in tree.findall("object"))
        ]  # fmt: skip
        assert list(data.class_images(name)) == clear
        found += len(clear)
    assert 0 < found < sum(len(data.class_images(name, ignore=())) for name in data.classes)
    chairs = data.target(ids.index("000005"))
    assert chairs["difficult"].tolist()[:3] == [False, False, True]
    for i, id_ in enumerate(ids):
        image, target = data[i]
        assert (target["boxes"][:, 2:] <= torch.tensor([image.shape[2], image.shape[1]])).all()
        mask = real / "SegmentationObject" / f"{id_}.png"
        if mask.exists():  # value k of the mask is the k-th object
            with Image.open(mask) as opened:
                instances = np.array(opened)
            for k, (left, top, right, bottom) in enumerate(target["boxes"].int().tolist(), start=1):
                own = instances == k
                assert own[top:bottom, left:right].sum() > 0.98 * own.sum() > 0
