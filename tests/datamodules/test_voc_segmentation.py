import pytest
from torchvision.datasets import voc as torchvision_voc

from lightning_interp.datamodules.voc_segmentation import VOCSegmentationDataModule
from lightning_interp.exceptions import DatasetNotFoundError
from tests.data import voc, voc_segmentation


def ready(root, **options):
    data = VOCSegmentationDataModule(root, **options)
    data.prepare_data()
    data.setup()
    return data


def test_lists_of_2012(tmp_path):
    voc_segmentation.write(tmp_path)
    data = ready(tmp_path, batch_size=2)
    assert (len(data.train_dataset), len(data.val_dataset)) == (6, 4)
    assert data.test_dataset is data.val_dataset
    assert data.train_dataset.ids == [voc.name(i, 2012) for i in range(6)]
    images, targets = next(iter(data.val_dataloader()))
    assert [tuple(image.shape) for image in images] == [(3, 64, 64), (3, 64, 128)]
    assert [set(target) for target in targets] == [{"object"}] * 2
    images, _ = next(iter(ready(tmp_path, size=48, transform=lambda image: image - 1).train_dataloader()))
    assert images.shape == (6, 3, 48, 48)
    assert images.max() <= 0


def test_2007_has_a_test_list(tmp_path):
    voc_segmentation.write(tmp_path, year=2007, lists={"train": 3, "val": 2, "test": 4})
    assert ready(tmp_path, year=2007).test_dataset.ids == [voc.name(i, 2007) for i in range(5, 9)]
    data = ready(tmp_path, year=2007, test_split="val")
    assert data.test_dataset is data.val_dataset


@pytest.mark.parametrize(
    ("options", "error"), [({"year": 2013}, ValueError), ({"size": 0}, ValueError), ({"batch_size": "2"}, TypeError)]
)
def test_bad_options_are_named(tmp_path, options, error):
    (name,) = options
    with pytest.raises(error, match=f"The `{name}` parameter of `VOCSegmentationDataModule` must be"):
        VOCSegmentationDataModule(tmp_path, **options)


@pytest.mark.filterwarnings("ignore:Python 3.14 will:DeprecationWarning")  # torchvision's business
def test_download_unpacks_what_is_missing(tmp_path, monkeypatch):
    root, folder = tmp_path / "root", tmp_path / "2012"
    root.mkdir()
    folder.mkdir()
    voc_segmentation.write(folder)
    entry = torchvision_voc.DATASET_YEAR_DICT["2012"]
    md5 = voc.pack(folder, root / entry["filename"])
    monkeypatch.setattr(torchvision_voc, "DATASET_YEAR_DICT", {"2012": {**entry, "md5": md5}})
    with pytest.raises(DatasetNotFoundError, match="There is no folder"):
        ready(root)
    assert len(ready(root, download=True).train_dataset) == 6
    (root / "VOCdevkit" / "VOC2012" / "SegmentationClass" / "2012_000001.png").unlink()  # as after an interruption
    assert len(ready(root, download=True).val_dataset) == 4
    (root / entry["filename"]).unlink()
    assert len(ready(root, download=True).train_dataset) == 6  # complete: nothing is fetched


def test_failed_download_is_explained(tmp_path, monkeypatch):
    def download(*args, **options):
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision_voc, "download_and_extract_archive", download)
    VOCSegmentationDataModule(tmp_path).prepare_data()
    with pytest.raises(DatasetNotFoundError, match=r"VOC2012 train could not be downloaded to .* \(no route to host\)"):
        VOCSegmentationDataModule(tmp_path, download=True).prepare_data()
