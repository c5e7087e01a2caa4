import pytest

from lightning_interp.datamodules import CIFAR10DataModule
from lightning_interp.exceptions import DatasetNotFoundError
from tests.data import cifar10


def test_missing_damaged_and_unreadable_files(tmp_path, monkeypatch):
    with pytest.raises(
        DatasetNotFoundError, match=r"no file .*data_batch_1.*delete the damaged files, or pass download=True"
    ):
        CIFAR10DataModule(tmp_path).setup()
    cifar10.write(tmp_path, monkeypatch)
    file = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DatasetNotFoundError, match=r"data_batch_3' has md5 \w{32} instead of \w{32}") as error:
        CIFAR10DataModule(tmp_path).setup()
    assert "data_batch_2" not in str(error.value)


def test_download_is_asked_for_and_its_failure_explained(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    asked = []

    def download(self):
        asked.append(self.train)
        raise OSError("no route to host")

    monkeypatch.setattr(CIFAR10, "download", download)
    CIFAR10DataModule(tmp_path).prepare_data()
    assert asked == []
    with pytest.raises(
        DatasetNotFoundError, match=r"`CIFAR10DataModule` .* could not be downloaded \(no route to host\)"
    ):
        CIFAR10DataModule(tmp_path, download=True).prepare_data()
    assert asked == [True]


def test_download_that_finds_everything(tmp_path, monkeypatch):
    cifar10.write(tmp_path, monkeypatch)
    data = CIFAR10DataModule(tmp_path, download=True)
    data.prepare_data()
    data.setup()
    assert len(data.test_dataset) == 20
