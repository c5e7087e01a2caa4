import pickle

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
