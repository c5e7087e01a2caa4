import pickle

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from lightning_interp.datasets import ImageNetImages
from lightning_interp.datasets.imagenet import list_wnids
from lightning_interp.exceptions import DatasetNotFoundError
from tests.data import imagenet


@pytest.fixture
def train(tmp_path):
    imagenet.write(tmp_path)
    return tmp_path / "train"


def test_pictures_and_labels(train):
    data = ImageNetImages(train)
    assert data.wnids == list(imagenet.NAMES)
    assert data.targets.tolist() == [0] * 6 + [1] * 6 + [2] * 6 + [3] * 6
    image, label = data[16]
    assert (image.shape, image.dtype, label) == ((3, 224, 224), torch.float32, 2)
    assert (image[:, 100, 100] * 255 - torch.tensor([120.0, 80.0, 128.0])).abs().max() < 3
    assert data.file(16) == train / "n02012849" / "n02012849_4.JPEG"


def test_png_cmyk_and_grey_files_called_jpeg(train):
    data = ImageNetImages(train, wnids=["n03126707"], size=32)
    for i, kind in enumerate([("PNG", "RGB"), ("JPEG", "CMYK"), ("JPEG", "L")]):
        with Image.open(data.file(i)) as image:
            assert (image.format, image.mode) == kind
    colours = [(data[i][0][:, 5, 5] * 255).round() for i in range(3)]
    assert colours[0].tolist() == [180, 0, 128]
    assert (colours[1] - torch.tensor([180.0, 20.0, 128.0])).abs().max() < 6
    assert colours[2].unique().numel() == 1


def test_resize_and_crop_are_torchvisions(tmp_path):
    from torchvision.transforms import functional

    (tmp_path / "a").mkdir()
    picture = Image.effect_mandelbrot((500, 375), (-2, -1.5, 1, 1.5), 50).convert("RGB")
    picture.save(tmp_path / "a" / "x.png")
    scaled = functional.resize(picture, 256)
    expected = functional.to_tensor(functional.center_crop(scaled, 224))
    assert (ImageNetImages(tmp_path)[0][0] - expected).abs().mean() < 0.01


def test_some_classes_only(train):
    data = ImageNetImages(train, wnids=["n03126707", "n01443537"], size=16)
    assert data.wnids == ["n01443537", "n03126707"]
    assert data.targets.tolist() == [0] * 6 + [1] * 6
    assert (data[11][0][0] * 255).round().mode().values.mode().values == 180


def test_nested_folders_and_what_is_no_picture(train):
    folder = train / "n01440764"
    (folder / "n01440764").mkdir()
    (folder / "n01440764_0.JPEG").rename(folder / "n01440764" / "é.jpeg")
    for name in (".DS_Store", "._n01440764_1.JPEG", "boxes.xml"):
        (folder / name).write_bytes(b"no")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "x.JPEG").write_bytes(b"no")
    (train / ".git").mkdir()
    data = ImageNetImages(train, size=8)
    assert len(data) == 24
    assert data.file(0).name == "é.jpeg"
    assert data[0][0].shape == (3, 8, 8)


def test_batches_workers_pickle_and_transform(train):
    data = pickle.loads(pickle.dumps(ImageNetImages(train, size=8)))
    loaders = [DataLoader(data, batch_size=7, num_workers=workers) for workers in (0, 2)]
    first, second = (torch.cat([x for x, _ in loader]) for loader in loaders)
    assert torch.equal(first, second)
    assert torch.equal(first[9], data[9][0])
    assert torch.equal(ImageNetImages(train, size=8, transform=lambda x: 1 - x)[9][0], 1 - first[9])


def test_no_picture_is_opened_or_kept_before_it_is_asked_for(train):
    for file in train.rglob("*.JPEG"):
        file.write_bytes(b"")
    data = ImageNetImages(train)
    assert len(pickle.dumps(data)) < 6000
    with pytest.raises(DatasetNotFoundError, match=r"n01440764_3.JPEG' cannot be decoded .* Replace or delete it"):
        data[3]


def test_truncated_picture(train):
    Image.effect_noise((200, 200), 50).save(train / "n01440764" / "n01440764_0.JPEG")
    content = (train / "n01440764" / "n01440764_0.JPEG").read_bytes()
    (train / "n01440764" / "n01440764_0.JPEG").write_bytes(content[: len(content) // 2])
    with pytest.raises(DatasetNotFoundError, match="truncated"):
        ImageNetImages(train)[0]


def test_missing_classes_and_pictures(train):
    (train / "n09999999").mkdir()
    with pytest.raises(DatasetNotFoundError, match=r"no pictures .* in the class folder '.*n09999999'"):
        ImageNetImages(train)
    with pytest.raises(DatasetNotFoundError, match=r"has no class folders, such as n01440764"):
        list_wnids(train / "n09999999")
    with pytest.raises(ValueError, match="`size` parameter of `ImageNetImages` must be"):
        ImageNetImages(train, size=0)
