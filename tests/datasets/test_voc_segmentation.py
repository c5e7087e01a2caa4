import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from lightning_interp.datasets.concepts import VOID, ConceptDataset, checked_targets, collate_concepts
from lightning_interp.datasets.voc_files import VOC_CLASSES, read_objects
from lightning_interp.datasets.voc_segmentation import VOCSegmentation
from lightning_interp.exceptions import DatasetNotFoundError
from tests.data import voc_segmentation
from tests.data.shared import shared


def expected(mask):
    return np.where(mask == 255, -1, mask.astype(np.int64))


@pytest.mark.parametrize(("year", "mode"), [(2007, "P"), (2011, "P"), (2012, "P"), (2012, "L")])
def test_every_pixel_is_what_was_written(tmp_path, year, mode):
    truth = voc_segmentation.write(tmp_path, year=year, mode=mode)
    data = pickle.loads(pickle.dumps(VOCSegmentation(tmp_path, year=year)))
    assert isinstance(data, ConceptDataset)
    assert (data.ids, len(data)) == (list(truth)[:6], 6)
    assert data.concepts == {"object": ["unlabelled", *VOC_CLASSES]}
    for i, name in enumerate(data.ids):
        image, targets = data[i]
        assert (image.shape, image.dtype) == ((3, 64, 128 if i % 2 else 64), torch.float32)
        assert np.array_equal(targets["object"].numpy(), expected(truth[name][0]))
        assert np.array_equal(data.instances(i).numpy(), expected(truth[name][1]))
        checked_targets(targets, data.concepts, parameter="item", owner="VOCSegmentation")


def test_void_is_neither_a_concept_nor_background(tmp_path):
    truth = voc_segmentation.write(tmp_path)
    for (_, targets), (mask, _) in zip(VOCSegmentation(tmp_path), truth.values(), strict=False):
        target = targets["object"]
        assert int((target == VOID).sum()) == int((mask == 255).sum()) > 0
        assert int((target >= 0).sum()) == int((mask != 255).sum())


def test_the_palette_is_that_of_voc():
    colors = [tuple(map(int, color)) for color in voc_segmentation.palette()]
    assert colors[:9] == [
        (0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128),
        (128, 128, 128), (64, 0, 0),
    ]  # fmt: skip
    assert (colors[20], colors[255]) == ((0, 64, 128), (224, 224, 192))


def test_cut_to_one_size(tmp_path):
    voc_segmentation.write(tmp_path)
    whole, cut = VOCSegmentation(tmp_path), VOCSegmentation(tmp_path, size=(32, 16), transform=lambda image: 1 - image)
    images, targets = next(iter(DataLoader(cut, batch_size=6, collate_fn=collate_concepts, num_workers=1)))
    assert images.shape == (6, 3, 32, 16)
    assert torch.equal(targets[1]["object"], whole[1][1]["object"][:, 48:80])
    assert torch.equal(targets[2]["object"], whole[2][1]["object"][:, 16:48])
    assert torch.equal(cut.instances(1), whole.instances(1)[:, 48:80])
    images, _ = collate_concepts([whole[0], whole[1]])
    assert [tuple(image.shape) for image in images] == [(3, 64, 64), (3, 64, 128)]


def test_the_mask_lies_on_the_picture_after_the_cut(tmp_path):
    """A bright square, pictured and masked: the bright pixels stay those of the mask."""
    voc_segmentation.write(tmp_path, lists={"train": 1})
    kit = tmp_path / "VOCdevkit" / "VOC2012"
    mask = np.zeros((90, 120), np.uint8)
    mask[20:60, 30:80] = 7
    Image.fromarray(np.repeat(mask[..., None] * 36, 3, 2)).save(kit / "JPEGImages" / "2012_000000.jpg", quality=95)
    voc_segmentation.save(kit / "SegmentationClass" / "2012_000000.png", mask)
    for size in (45, 60, 90, 120, (30, 50), (200, 64)):
        image, targets = VOCSegmentation(tmp_path, size=size)[0]
        target = targets["object"][None, None].float()
        on_image = torch.nn.functional.interpolate(target, size=image.shape[1:], mode="nearest-exact")[0, 0] > 0
        bright = image.mean(0) > 0.5
        assert (bright & on_image).sum() > 0.85 * (bright | on_image).sum()  # half a pixel on every side


def test_damaged_files_are_named(tmp_path):
    voc_segmentation.write(tmp_path)
    kit = tmp_path / "VOCdevkit" / "VOC2012"
    masks, data = kit / "SegmentationClass", VOCSegmentation(tmp_path)
    voc_segmentation.save(masks / "2012_000000.png", np.full((64, 64), 21))
    Image.new("RGB", (128, 64)).save(masks / "2012_000001.png")
    voc_segmentation.save(masks / "2012_000002.png", np.zeros((64, 60)))
    (masks / "2012_000003.png").write_bytes((masks / "2012_000003.png").read_bytes()[:-40])
    (kit / "JPEGImages" / "2012_000004.jpg").write_bytes(b"<html>302 Found</html>")
    for i, match in enumerate(
        (
            "000000.png' holds 21, which is no class of VOC",
            r"000001.png' cannot be read \(its pixels are colours of mode RGB, not numbers\)",
            r"000002.png' has 64 x 60 pixels \(height x width\), its picture has 64 x 64",
            r"000003.png' cannot be read \(",
            r"picture '.*2012_000004.jpg' cannot be decoded \(",
        )
    ):
        with pytest.raises(DatasetNotFoundError, match=match):
            data[i]
    (kit / "SegmentationObject" / "2012_000005.png").unlink()
    with pytest.raises(DatasetNotFoundError, match=r"SegmentationObject.2012_000005.png' cannot be read"):
        data.instances(5)


def test_missing_files_are_named_at_once(tmp_path):
    voc_segmentation.write(tmp_path)
    kit = tmp_path / "VOCdevkit" / "VOC2012"
    (kit / "SegmentationClass" / "2012_000001.png").unlink()
    with pytest.raises(DatasetNotFoundError, match=r"1 of 6 masks are missing, among them '.*2012_000001.png'"):
        VOCSegmentation(tmp_path)
    (kit / "JPEGImages" / "2012_000004.jpg").unlink()
    with pytest.raises(DatasetNotFoundError, match=r"1 of 6 pictures are missing, among them '.*2012_000004.jpg'"):
        VOCSegmentation(tmp_path)
    (kit / "ImageSets" / "Segmentation" / "train.txt").write_text("../../../etc/passwd\n")
    with pytest.raises(DatasetNotFoundError, match="which is no name of a picture"):
        VOCSegmentation(tmp_path)
    with pytest.raises(DatasetNotFoundError, match=r"test.txt' cannot be read"):
        VOCSegmentation(tmp_path, image_set="test")
    with pytest.raises(DatasetNotFoundError, match="There is no folder"):
        VOCSegmentation(tmp_path, year=2007)


@pytest.mark.parametrize(
    ("options", "error"),
    [({"year": 2006}, ValueError), ({"year": "2007"}, TypeError), ({"image_set": "tset"}, ValueError),
     ({"size": 0}, ValueError), ({"size": (32, 1.5)}, TypeError)],
)  # fmt: skip
def test_bad_options_are_named(tmp_path, options, error):
    (name,) = options
    with pytest.raises(error, match=f"The `{name}` parameter of `VOCSegmentation` must be"):
        VOCSegmentation(tmp_path, **options)


def linked(tmp_path, year, files):
    """A VOC folder of links to real files: ``[(folder, id, path)]``."""
    kit = tmp_path / "VOCdevkit" / f"VOC{year}"
    for folder, id_, path in files:
        (kit / folder).mkdir(parents=True, exist_ok=True)
        (kit / folder / f"{id_}{path.suffix}").symlink_to(path)
    (kit / "ImageSets" / "Segmentation").mkdir(parents=True)
    (kit / "ImageSets" / "Segmentation" / "train.txt").write_text("\n".join(sorted({id_ for _, id_, _ in files})))
    return kit


def test_real_files_with_and_without_palette(tmp_path):
    real = shared("voc2012_seg")
    found = [*real.glob("*.png"), *(real / "decolorised").glob("*.png")]
    pairs = [(path.stem, folder, path.with_suffix(suffix)) for path in found
             for folder, suffix in (("JPEGImages", ".jpg"), ("SegmentationClass", ".png"))]  # fmt: skip
    linked(tmp_path, 2012, [(folder, id_, path) for id_, folder, path in pairs])
    data = VOCSegmentation(tmp_path)
    shown = {}
    for name, (image, targets) in zip(data.ids, data, strict=True):
        assert image.shape[1:] == targets["object"].shape
        values = targets["object"].unique().tolist()
        assert values[:2] == [VOID, 0]
        shown[name] = {data.concepts["object"][v] for v in values[2:]}
    assert shown == {
        "2007_000129": {"bicycle", "person"}, "2007_004189": {"dog"}, "2007_006449": {"bicycle"},
        "2008_002536": {"dog", "sheep"}, "2010_005582": {"bottle", "person"},
    }  # fmt: skip


def test_real_instances_are_in_the_order_of_the_annotation(tmp_path):
    real = shared("voc2007")
    ids = [path.stem for path in (real / "SegmentationObject").glob("*.png")]
    files = [("SegmentationObject", id_, real / "SegmentationObject" / f"{id_}.png") for id_ in ids]
    files += [("SegmentationClass", id_, real / "SegmentationObject" / f"{id_}.png") for id_ in ids]  # only to be there
    linked(tmp_path, 2007, files + [("JPEGImages", id_, real / "JPEGImages" / f"{id_}.jpg") for id_ in ids])
    data = VOCSegmentation(tmp_path, year=2007)
    for i, name in enumerate(data.ids):
        instances = data.instances(i)
        objects = read_objects(real / "Annotations" / f"{name}.xml")
        assert instances.max() == len(objects)
        for k, each in enumerate(objects, start=1):
            left, top, right, bottom = each.box
            own = instances == k
            assert own[top:bottom, left:right].sum() > 0.98 * own.sum() > 0
