import pickle

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from lightning_interp.datasets import FolderImages
from lightning_interp.datasets.folder_images import decode
from lightning_interp.exceptions import DatasetNotFoundError
from tests.data import image_folder


@pytest.fixture
def root(tmp_path):
    image_folder.write(tmp_path)
    return tmp_path / "train"


@pytest.mark.parametrize("in_memory", [False, True])
def test_pixels_labels_and_files(root, in_memory):
    data = FolderImages(root, in_memory=in_memory)
    assert data.classes == ["ant", "bee", "cow"]
    assert data.targets.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert [file.name for file in data.files[:2]] == ["0000.png", "0001.png"]
    image, label = data[14]
    assert image.shape == (3, 20, 20)
    assert label == 2
    assert (image[:, 0, 0] * 255).round().tolist() == [80, 20, 0]
    assert data.pixels([14]).dtype == torch.uint8


@pytest.mark.parametrize("in_memory", [False, True])
def test_workers_and_pickle_change_nothing(root, in_memory):
    data = pickle.loads(pickle.dumps(FolderImages(root, in_memory=in_memory)))
    plain, parallel = (
        torch.cat([x for x, _ in DataLoader(data, batch_size=4, num_workers=workers)]) for workers in (0, 2)
    )
    assert torch.equal(plain, parallel)


def test_nested_folders_hidden_files_and_other_files(root):
    (root / "ant" / "deep").mkdir()
    (root / "ant" / "0000.png").rename(root / "ant" / "deep" / "x.PNG")
    (root / "ant" / ".thumbs.png").write_bytes(b"no")
    (root / "ant" / "notes.txt").write_text("no")
    (root / ".cache").mkdir()
    data = FolderImages(root)
    assert len(data) == 18
    assert sum(file.name == "x.PNG" for file in data.files) == 1


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    suffix = ".jpg" if mode == "CMYK" else ".png"
    Image.new("RGB", (8, 6), (255, 255, 255)).convert(mode).save(tmp_path / f"x{suffix}")
    picture = decode(tmp_path / f"x{suffix}", size=None)
    assert picture.shape == (3, 6, 8)
    assert picture.min() >= 250


def test_palette_with_transparency_reads_without_warning(tmp_path):
    image = Image.new("P", (4, 4))
    image.putpalette([200, 100, 50] * 256)
    image.save(tmp_path / "x.png", transparency=b"\x80" * 256)
    assert decode(tmp_path / "x.png", size=None)[:, 0, 0].tolist() == [200, 100, 50]


@pytest.mark.parametrize("size", [(16, 16), (10, 30), (60, 60)])
def test_resize_covers_then_keeps_the_centre(tmp_path, size):
    from torchvision.transforms import functional

    image = Image.effect_mandelbrot((90, 45), (-2, -1.5, 1, 1.5), 50).convert("RGB")
    image.save(tmp_path / "x.png")
    scale = max(size[0] / 45, size[1] / 90)
    scaled = functional.resize(image, [max(size[0], round(45 * scale)), max(size[1], round(90 * scale))])
    expected = functional.pil_to_tensor(functional.center_crop(scaled, size))
    assert (decode(tmp_path / "x.png", size=size).int() - expected.int()).abs().max() <= 1


def test_sizes_differ(root):
    Image.new("RGB", (7, 9)).save(root / "bee" / "odd.png")
    lazy = FolderImages(root)
    with pytest.raises(ValueError, match=r"one size when `size` is None. Got 20 x 20 .*9 x 7 .*'odd.png'.*Pass `size`"):
        lazy[12]
    with pytest.raises(ValueError, match="one size"):
        FolderImages(root, in_memory=True)
    assert FolderImages(root, size=12)[12][0].shape == (3, 12, 12)


def truncate(file):
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def test_damaged_picture_is_named(tmp_path):
    image_folder.write(tmp_path, suffix=".jpg", size=(64, 64))
    truncate(tmp_path / "train" / "bee" / "0002.jpg")
    with pytest.raises(DatasetNotFoundError, match=r"0002.jpg.*truncated.*damaged=\"skip\""):
        FolderImages(tmp_path / "train")[8]
    with pytest.raises(DatasetNotFoundError, match=r"0002.jpg"):
        FolderImages(tmp_path / "train", in_memory=True)


@pytest.mark.parametrize("in_memory", [False, True])
def test_damaged_pictures_are_counted_and_left_out(tmp_path, in_memory):
    image_folder.write(tmp_path, suffix=".jpg", size=(64, 64))
    truncate(tmp_path / "train" / "bee" / "0002.jpg")
    (tmp_path / "train" / "ant" / "0000.jpg").write_text("<html>")
    with pytest.warns(UserWarning, match=r"2 of 18 pictures .* left out: 'ant/0000.jpg', 'bee/0002.jpg'"):
        data = FolderImages(tmp_path / "train", damaged="skip", in_memory=in_memory)
    assert data.targets.bincount().tolist() == [5, 5, 6]
    assert len(data.files) == len(list(data)) == 16


def test_class_without_readable_picture(root):
    for file in (root / "cow").iterdir():
        file.write_bytes(b"")
    with pytest.raises(DatasetNotFoundError, match="No picture of class 'cow' remains"):
        FolderImages(root, damaged="skip")


def test_missing_folders(tmp_path):
    with pytest.raises(DatasetNotFoundError, match=r"There is no folder .*nothere.* Expected one folder per class"):
        FolderImages(tmp_path / "nothere")
    with pytest.raises(DatasetNotFoundError, match="has no class folders"):
        FolderImages(tmp_path)
    (tmp_path / "ant").mkdir()
    with pytest.raises(DatasetNotFoundError, match="no pictures in the class folders 'ant'"):
        FolderImages(tmp_path)


@pytest.mark.parametrize("options", [{"size": 0}, {"size": (4, -1)}, {"damaged": "ignore"}])
def test_bad_input(root, options):
    with pytest.raises(ValueError, match="parameter of `FolderImages` must be"):
        FolderImages(root, **options)
