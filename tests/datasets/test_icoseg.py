import pickle
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_interp.datasets.icoseg import ICoseg, find_group, find_icoseg, list_groups
from lightning_interp.exceptions import DatasetNotFoundError
from tests.data import icoseg
from tests.data.shared import shared

BEAR, TAJ, TAJ_2004, ELEPHANTS, GYMNASTICS, BROWN = icoseg.GROUPS
GROUND_TRUTH = "dataset_public/ground_truth"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    root = tmp_path_factory.mktemp("icoseg")
    return root, icoseg.write(root)


@pytest.fixture
def elephants(tmp_path):
    """A folder to be damaged, and its pictures and masks."""
    icoseg.write(tmp_path, {ELEPHANTS: 4})
    base = tmp_path / "dataset_public"
    return tmp_path, *(sorted((base / kind / ELEPHANTS).glob("2909*")) for kind in ("images", "ground_truth"))


def test_every_pixel_is_what_was_written(pristine):
    root, truth = pristine
    for group, masks in truth.items():
        data = pickle.loads(pickle.dumps(ICoseg(root, group)))
        assert (data.group, [file.name for file in data.files]) == (group, list(masks))
        assert (len(data), data.annotated) == (len(masks), [True] * len(masks))
        for i, (image, mask) in enumerate(data):
            written = masks[data.files[i].name]
            assert (image.shape, image.dtype, mask.dtype) == ((3, *written.shape), torch.float32, torch.int64)
            assert 0 <= image.min() < image.max() <= 1
            assert np.array_equal(mask.numpy(), written)
            assert torch.equal(mask, data.mask(i))
    assert len({image.shape for image, _ in ICoseg(root, ELEPHANTS)}) == 4


def test_the_mask_lies_on_the_picture_at_any_size(elephants):
    """A bright square, pictured and masked: nothing is cut off, and the bright pixels stay those of the mask."""
    root, (file, *_), (mask_file, *_) = elephants
    square = np.zeros((90, 120), bool)
    square[20:60, 90:120] = True
    Image.fromarray(np.repeat(square[..., None] * np.uint8(255), 3, 2)).save(file, quality=95)
    icoseg.save(mask_file, square)
    for size in (45, 60, 90, 200, (30, 50), (64, 20)):
        image, mask = ICoseg(root, ELEPHANTS, image_size=size)[0]
        assert mask.shape == image.shape[1:] == (torch.Size(size) if isinstance(size, tuple) else (size, size))
        assert mask.unique().tolist() == [0, 1]
        assert mask.float().mean().item() == pytest.approx(square.mean(), abs=0.02)
        bright = image.mean(0) > 0.5
        assert (bright & (mask == 1)).sum() > 0.9 * (bright | (mask == 1)).sum()
        assert ICoseg(root, ELEPHANTS, image_size=size).mask(0).shape == (90, 120)


def test_transform_is_of_the_image_alone(pristine):
    plain, other = ICoseg(pristine[0], BEAR), ICoseg(pristine[0], BEAR, transform=lambda image: 1 - image)
    assert torch.equal(other[1][0], 1 - plain[1][0])
    assert torch.equal(other[1][1], plain[1][1])


@pytest.mark.parametrize(
    ("group", "meant"),
    [("021", ELEPHANTS), ("21", ELEPHANTS), (" 2", BEAR), ("elephants", ELEPHANTS), ("Alaskan brown", BEAR),
     ("brown_bear", BROWN), ("BROWN_", BROWN), ("don't stop!", GYMNASTICS), ("agra & fatehpur (2.0)", TAJ),
     ("018 taj", TAJ_2004), *((name, name) for name in icoseg.GROUPS)],
)  # fmt: skip
def test_a_group_is_known_by_number_or_part_of_its_name(group, meant):
    assert find_group(group, list(icoseg.GROUPS)) == meant


@pytest.mark.parametrize(
    ("group", "match"),
    [
        ("Taj Mahal", r"It fits '017 Taj Mahal.*', '018 Taj Mahal[^,]*'\.$"),
        ("", r"It fits '002 .*, 'brown_bear'\.$"),
        ("Elefants", r"Did you mean 'Elephants'\? The groups are '002 .*', '017 .*, 'brown_bear'\.$"),
        ("Taj Mahl", "Did you mean 'Taj Mahal'"),
        ("22", "The groups are '002 "),
        ("0", "The groups are '002 "),
        ("2006", "The groups are '002 "),
        ("../images", "The groups are '002 "),
    ],
)
def test_unclear_groups_are_explained(pristine, group, match):
    must = f"The `group` parameter of `ICoseg` must be the number or a part of the name of one group. Got '{group}'"
    with pytest.raises(ValueError, match=rf"^{must}\. ?.*{match}"):
        ICoseg(pristine[0], group)
    if group == "Taj Mahal":
        assert find_group(group, [TAJ, ELEPHANTS]) == TAJ


def test_places_of_the_folder(pristine, tmp_path):
    root = pristine[0]
    assert find_icoseg(root) == find_icoseg(root / "dataset_public") == root / "dataset_public"
    (tmp_path / "CMU_Cornell_iCoseg_dataset").symlink_to(root)  # as when a file manager unpacks it
    assert find_icoseg(tmp_path).samefile(root / "dataset_public")
    assert list_groups(find_icoseg(tmp_path)) == list(icoseg.GROUPS)


def test_missing_folders_are_explained(tmp_path):
    with pytest.raises(
        DatasetNotFoundError, match=r"no folder .*dataset_public.images' .* put CMU_Cornell_iCoseg_data"
    ):
        ICoseg(tmp_path, "021")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "Thumbs.db").touch()
    with pytest.raises(DatasetNotFoundError, match=r"images' has no groups. Unpack CMU_Cornell_iCoseg_dataset.zip"):
        ICoseg(tmp_path, "021")


def test_pictures_without_mask_are_counted_and_not_annotated(elephants):
    root, _, masks = elephants
    masks[2].unlink()
    with pytest.warns(UserWarning, match=r"1 of 4 pictures of the group '021 Elephants.*' of iCoseg have no mask in"):
        data = ICoseg(root, "021", image_size=16)
    assert data.annotated == [True, True, False, True]
    assert (data[2][1].shape, data[2][1].unique().tolist()) == ((16, 16), [-1])
    assert (data.mask(2).shape, data.mask(2).unique().tolist()) == ((40, 48), [-1])
    assert data[1][1].unique().tolist() == [0, 1]
    shutil.rmtree(root / GROUND_TRUTH)
    with pytest.warns(UserWarning, match="4 of 4 pictures"):
        assert not any(ICoseg(root, "021").annotated)


def test_a_mask_of_another_size_names_both_files(elephants):
    root, pictures, masks = elephants
    icoseg.save(masks[1], np.ones((48, 40), bool))
    data, text = (
        ICoseg(root, "021"),
        rf"'.*{masks[1].name}' has 48 x 40 pixels .* its picture '.*{pictures[1].name}' has",
    )
    for read in (data.__getitem__, data.mask):
        with pytest.raises(DatasetNotFoundError, match=f"{text} 48 x 44"):
            read(1)


def test_damaged_files_are_named(elephants):
    root, pictures, masks = elephants
    pictures[0].write_bytes(pictures[0].read_bytes()[:300])
    masks[3].write_bytes(b"<html>")
    data = ICoseg(root, "021")
    with pytest.raises(DatasetNotFoundError, match=rf"picture '.*{pictures[0].name}' cannot be decoded"):
        data[0]
    with pytest.raises(DatasetNotFoundError, match=rf"mask '.*{masks[3].name}' cannot be read"):
        data[3]


@pytest.mark.parametrize("n", [0, 1])
def test_one_picture_cannot_be_compared(elephants, n):
    root, pictures, _ = elephants
    for file in pictures[n:]:
        file.unlink()
    match = rf"two pictures or more, since co-segmentation compares them. Got '021 .*'\. It has {n}\."
    with pytest.raises(ValueError, match=match):
        ICoseg(root, "021")


@pytest.mark.parametrize(
    ("options", "error"),
    [({"group": 21}, TypeError), ({"image_size": 0}, ValueError), ({"image_size": (32, 1.5)}, TypeError)],
)
def test_bad_options_are_named(pristine, options, error):
    (name,) = options
    with pytest.raises(error, match=f"The `{name}` parameter of `ICoseg` must be"):
        ICoseg(pristine[0], **{"group": "021", **options})


def test_real_pictures(tmp_path):
    """Real files, without masks, under the names of their groups."""
    (tmp_path / "images").mkdir()
    for name, folder in ((ELEPHANTS, "elephants"), ("036 Gymnastics-1", "gymnastics")):
        (tmp_path / "images" / name).symlink_to(shared(f"icoseg/{folder}"))
    with pytest.warns(UserWarning, match="5 of 5 pictures"):
        sizes = [image.shape[1:] for image, _ in ICoseg(tmp_path, "elephants")]
    assert len(sizes) == 5
    assert all(max(size) <= 500 for size in sizes)
    with pytest.warns(UserWarning, match="6 of 6 pictures"):
        data = ICoseg(tmp_path, "gymnastics", image_size=64)
    assert torch.stack([image for image, _ in data]).shape == (6, 3, 64, 64)
