import pytest

from lightning_interp.datamodules.pascal_part import PascalPartDataModule
from lightning_interp.exceptions import DatasetNotFoundError
from tests.data import pascal_part


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("pascal_part")
    pascal_part.write(root, lists={"train": 7, "val": 5}, size=32)
    return root


def ready(root, **options):
    data = PascalPartDataModule(root, **options)
    data.prepare_data()
    data.setup()
    return data


def test_lists_of_2010(root):
    data = ready(root, batch_size=3)
    assert (len(data.train_dataset), len(data.val_dataset)) == (7, 5)
    assert data.test_dataset is data.val_dataset
    images, targets = next(iter(data.val_dataloader()))
    assert [tuple(image.shape) for image in images] == [(3, 32, 64), (3, 32, 32), (3, 32, 64)]
    assert all("object" in target for target in targets)


def test_options_reach_the_dataset(root):
    groups = {"leg": ["cow/*leg"], "eye": ["*eye"]}
    data = ready(root, groups=groups, categories=["part"], size=16, transform=lambda image: image - 1)
    assert data.concepts == {"part": ["unlabelled", "leg", "eye"]}
    images, _ = next(iter(data.train_dataloader()))
    assert images.shape == (7, 3, 16, 16)
    assert images.max() <= 0
    assert "car/door_10" in ready(root, numbered=True).concepts["part"]


def test_there_is_no_test_split_and_no_download(root, tmp_path):
    with pytest.raises(ValueError, match="`image_set` parameter of `PascalPart` must be one of 'train', 'val'"):
        ready(root, test_split="test")
    with pytest.raises(TypeError, match="download"):
        PascalPartDataModule(root, download=True)
    with pytest.raises(DatasetNotFoundError, match=r"There is no folder .*VOC2010"):
        ready(tmp_path)
    (tmp_path / "VOCdevkit").symlink_to(root / "VOCdevkit")
    with pytest.raises(DatasetNotFoundError, match=r"unpack trainval.tar.gz of PASCAL-Part there"):
        ready(tmp_path)
