import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from lightning_interp.datasets.broden import Broden
from lightning_interp.datasets.concepts import ConceptDataset, checked_targets, collate_concepts
from lightning_interp.exceptions import DatasetNotFoundError
from tests.data import broden


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    root = tmp_path_factory.mktemp("broden")
    return root / "broden1_224", broden.write(root)


@pytest.fixture
def folder(tmp_path):
    broden.write(tmp_path, n=8, size=32)
    return tmp_path / "broden1_224"


def change_row(folder, name, **cells):
    """Replaces cells of the row whose image begins with ``name``; returns its line."""
    file = folder / "index.csv"
    lines = file.read_bytes().decode().split("\r\n")
    header = lines[0].split(",")
    (at,) = [i for i, line in enumerate(lines) if line.startswith(name)]
    row = dict(zip(header, lines[at].split(","), strict=True)) | cells
    lines[at] = ",".join(row.values())
    file.write_bytes("\r\n".join(lines).encode())
    return at + 1


def names(data, category, target):
    """A target in the words of the generator."""
    found = np.array(data.concepts[category])
    return [str(found[target])] if isinstance(target, int) else found[target.numpy()]


def test_rows_are_split_and_sorted_as_in_the_real_dataset():
    assert broden.hashed("opensurfaces/25605.jpg") == pytest.approx(6.4e-06, rel=0.01)
    assert broden.hashed("opensurfaces/6582.jpg") == pytest.approx(1.44e-04, rel=0.01)


def test_every_pixel_has_the_name_that_was_written(pristine):
    folder, truth = pristine
    data = pickle.loads(pickle.dumps(Broden(folder)))
    assert isinstance(data, ConceptDataset)
    assert [row.image for row in data.rows] == list(truth)
    assert list(data.concepts) == list(broden.CATEGORIES)
    seen = set()
    for i, expected in enumerate(truth.values()):
        image, targets = data[i]
        assert (image.shape, image.dtype) == ((3, 64, 64), torch.float32)
        assert 0 <= image.min() < image.max() <= 1
        assert set(targets) == set(expected)
        assert checked_targets(targets, data.concepts, parameter="item", owner="Broden").keys() == targets.keys()
        for category, names_ in expected.items():
            found, kind = names(data, category, targets[category]), (category, np.ndim(targets[category]))
            seen.add(kind)
            if category == "texture" and len(names_) > 1:
                assert targets[category].shape == (len(names_), 32, 32)
                assert [set(layer.ravel()) for layer in found] == [{name} for name in names_]
            else:
                assert np.array_equal(found, names_)
    layered = {("part", 2), ("part", 3), ("texture", 3), ("scene", 0)}
    assert layered < seen == {("color", 2), ("object", 2), ("material", 2), *layered} | (seen & {("texture", 0)})


def test_numbers_over_255_and_names_with_commas(pristine):
    folder, _ = pristine
    data = Broden(folder, categories=["object"])
    assert data.concepts["object"][0] == "unlabelled"
    assert "thing, no. 7" in data.concepts["object"]
    assert len(data.concepts["object"]) == 1 + 300 + len(
        {n for image, of in pristine[1].items() for n in np.unique(of.get("object", [])) if n != "unlabelled"}
    )
    greens = [np.array(Image.open(file))[..., 1].max() for file in folder.glob("images/pascal/*_object.png")]
    assert greens
    assert min(greens) == 1


def test_splits_and_categories(pristine):
    folder, truth = pristine
    train, val = Broden(folder, split="train"), Broden(folder, split="val", categories=["scene", "color"])
    assert [row.image for row in train.rows] == [image for image in truth if broden.hashed(image) <= 0.7]
    assert len(train) + len(val) == len(truth)
    assert list(val.concepts) == ["scene", "color"]
    assert not any("scene" in row.annotations for row in val.rows)  # of 16 pictures; the names stay those of train
    assert all(set(targets) <= {"scene", "color"} for _, targets in val)
    scenes = Broden(folder, categories=["scene"])
    assert [row.image for row in scenes.rows] == [image for image, of in truth.items() if "scene" in of]
    assert all(0 < targets["scene"] < len(scenes.concepts["scene"]) for _, targets in scenes)


def test_transform_loader_and_workers(pristine):
    data = Broden(pristine[0], transform=lambda image: 1 - image)
    assert torch.equal(data[0][0], 1 - Broden(pristine[0])[0][0])
    loader = DataLoader(Broden(pristine[0]), batch_size=5, collate_fn=collate_concepts, num_workers=1)
    images, targets = next(iter(loader))
    assert (images.shape, len(targets)) == ((5, 3, 64, 64), 5)
    assert torch.equal(targets[3]["color"], data[3][1]["color"])


def test_a_label_that_was_too_rare_to_be_kept_is_unlabelled(folder):
    change_row(folder, "ade20k/ADE_train_00000000", scene="0")
    data = Broden(folder)
    (i,) = [i for i, row in enumerate(data.rows) if row.annotations.get("scene") == ("0",)]
    assert data[i][1]["scene"] == 0


def mask_of(folder, category, image="pascal/2010_000003"):
    return folder / "images" / f"{image}_{category}.png"


def small(folder):
    Image.fromarray(np.zeros((8, 16, 3), np.uint8)).save(mask_of(folder, "object"))


def grey(folder):
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(mask_of(folder, "object"))


def blue(folder):
    Image.fromarray(np.full((16, 16, 3), 1, np.uint8)).save(mask_of(folder, "object"))


def unknown(folder):
    broden.write_mask(mask_of(folder, "object"), np.full((16, 16), 9999))


def of_another_category(folder):
    mask_of(folder, "color").replace(mask_of(folder, "object"))


def truncated(folder):
    file = mask_of(folder, "object")
    file.write_bytes(file.read_bytes()[:-30])


def large_picture(folder):
    Image.new("RGB", (32, 40)).save(folder / "images" / "pascal" / "2010_000003.jpg")


def no_picture(folder):
    (folder / "images" / "pascal" / "2010_000003.jpg").write_text("<html>302 Found</html>")


DAMAGED = [
    (small, r"object.png' has 8 x 16 pixels \(height x width\), index.csv says 16 x 16"),
    (grey, r"object.png' cannot be read \(its mode is L, not RGB\)"),
    (blue, "object.png' is none of Broden's: there is blue in it"),
    (unknown, "object.png' holds the number 9999, which is no label of 'object'"),
    (of_another_category, r"object.png' holds the number \d+, which is no label of 'object'"),
    (truncated, r"object.png' cannot be read \("),
    (large_picture, r"2010_000003.jpg' has 40 x 32 pixels \(height x width\), index.csv says 32 x 32"),
    (no_picture, r"picture '.*2010_000003.jpg' cannot be decoded"),
]


@pytest.mark.parametrize(("damage", "match"), DAMAGED, ids=lambda value: getattr(value, "__name__", ""))
def test_damaged_files_are_named_or_left_out(folder, damage, match):
    line = change_row(folder, "pascal/2010_000003")
    damage(folder)
    data = Broden(folder, categories=["object"])
    (i,) = [i for i, row in enumerate(data.rows) if row.image.endswith("2010_000003.jpg")]
    with pytest.raises(DatasetNotFoundError, match=rf"Line {line} of '.*index.csv': .*{match}.*strict=False"):
        data[i]
    with pytest.warns(UserWarning, match=rf"1 rows or categories .* are left out. Line {line} of .*{match}"):
        rest = Broden(folder, categories=["object"], strict=False)
    assert len(rest) == len(data) - 1 == len(list(rest))
    assert len(rest.skipped) == 1


@pytest.mark.parametrize(
    ("cells", "match"),
    [
        ({"object": "../../etc/passwd.png"}, "mask '../../etc/passwd.png' of the category 'object' is no path inside"),
        ({"object": "pascal/../../x.png"}, "no path inside of the folder images"),
        ({"object": "/etc/passwd"}, "mask '/etc/passwd' of the category 'object' is no path inside"),
        ({"object": r"C:\x.png"}, "no path inside"),
        ({"object": r"pascal\..\..\..\x.png"}, "no path inside"),
        ({"image": "/pascal/2010_000003.jpg"}, "image '/pascal/2010_000003.jpg' is no path inside"),
        ({"image": ""}, "image '' is no path inside"),
        ({"object": "pascal/nowhere.png"}, "there is no file '.*nowhere.png'"),
        ({"object": "pascal"}, "there is no file '.*pascal'"),
        ({"image": "pascal/nowhere.jpg"}, "there is no file '.*nowhere.jpg'"),
        ({"object": ";"}, "category 'object' is empty between semicolons. Got ';'"),
        ({"object": "pascal/2010_000003_object.png;"}, "category 'object' is empty between semicolons"),
        ({"object": "99999"}, r"category 'object' has the label '99999', not one in \[0, 65535\]"),
        ({"object": "007"}, "has the label '007'"),
        ({"object": "٣"}, "has the label '٣'"),
        ({"sh": "0"}, "ih, iw, sh and sw must be sizes in pixels. Got '32,32,0,16'"),
        ({"ih": "nan"}, "must be sizes in pixels"),
        ({"iw": "1e2"}, "must be sizes in pixels"),
    ],
)
def test_bad_rows_are_named_at_once_or_left_out(folder, cells, match):
    line = change_row(folder, "pascal/2010_000003", **cells)
    with pytest.raises(DatasetNotFoundError, match=rf"Line {line} of '.*index.csv': .*{match}.*strict=False"):
        Broden(folder)
    with pytest.warns(UserWarning, match=f"1 rows or categories .*Line {line} of .*{match}"):
        data = Broden(folder, strict=False)
    assert len(data) == 7
    assert len(data.skipped) == 1


def test_a_number_that_is_no_label_of_the_category_is_found(folder):
    change_row(folder, "ade20k/ADE_train_00000000", scene="5")
    data = Broden(folder)
    (i,) = [i for i, row in enumerate(data.rows) if row.annotations.get("scene") == ("5",)]
    with pytest.raises(DatasetNotFoundError, match="The number 5 is no label of 'scene'"):
        data[i]


def test_empty_categories(folder):
    for i in (0, 4):
        change_row(folder, f"ade20k/ADE_train_{i:08d}", scene="")
    (folder / "c_material.csv").write_text("code,number,name,frequency,coverage\r\n")
    for category, why in (("scene", "no picture is annotated"), ("material", "its table lists no labels")):
        with pytest.raises(DatasetNotFoundError, match=f"category '{category}' of '.*' is empty: {why}.*strict=False"):
            Broden(folder, categories=["color", category])
    with pytest.warns(UserWarning, match="2 rows or categories"):
        data = Broden(folder, strict=False)
    assert list(data.concepts) == ["color", "object", "part", "texture"]
    assert len(data) == len(list(data)) == 8
    with pytest.raises(
        DatasetNotFoundError, match=r"No picture of '.*' is left \(split None, categories none\). The category"
    ):
        Broden(folder, categories=["scene"], strict=False)


def test_a_split_without_the_category(pristine):
    with pytest.raises(DatasetNotFoundError, match=r"is left \(split 'val', categories 'scene'\).$"):
        Broden(pristine[0], split="val", categories=["scene"])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"categories": ["objects"]}, "`categories` .* must be None or some of 'color', .*Did you mean 'object'"),
        ({"split": "test"}, "`split` .* must be None or one of 'train', 'val', the splits in index.csv. Got 'test'"),
    ],
)
def test_bad_options(pristine, options, match):
    with pytest.raises(ValueError, match=match):
        Broden(pristine[0], **options)
