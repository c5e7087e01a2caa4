import numpy as np
import pytest
import torch

from lightning_interp.datamodules import SVHNDataModule
from lightning_interp.exceptions import DatasetNotFoundError
from tests.data import svhn


def test_reads_mat_files_and_digit_zero_is_class_zero(tmp_path, monkeypatch):
    made = svhn.write(tmp_path, monkeypatch)
    data = SVHNDataModule(tmp_path)
    data.setup()
    images, labels = made["test"]
    assert data.n_classes == 10
    assert set(labels) == set(range(1, 11))
    assert data.test_dataset.targets.tolist() == (labels % 10).tolist()
    found = torch.stack([x for x, _ in data.test_dataset])
    assert np.array_equal((data.normalize.invert(found) * 255).round().byte().permute(0, 2, 3, 1), images)


def test_damaged_file(tmp_path, monkeypatch):
    svhn.write(tmp_path, monkeypatch)
    (tmp_path / "test_32x32.mat").write_bytes(b"MATLAB")
    with pytest.raises(DatasetNotFoundError, match=r"test_32x32.mat' has md5"):
        SVHNDataModule(tmp_path).setup()
