import numpy as np
import pytest
import torch

from lightning_interp.datamodules import FashionMNISTDataModule
from lightning_interp.exceptions import DatasetNotFoundError
from tests.data import fashion_mnist


def test_reads_idx_files(tmp_path):
    made = fashion_mnist.write(tmp_path)
    data = FashionMNISTDataModule(tmp_path, label_noise=0.5)
    data.setup()
    images, labels = made["train"]
    assert len(data.classes) == data.n_classes == 10
    assert data.train_dataset.true_targets.tolist() == labels.tolist() != data.train_dataset.targets.tolist()
    found = torch.stack([x for x, _ in data.train_dataset])
    assert found.shape == (40, 1, 28, 28)
    assert np.array_equal((data.normalize.invert(found) * 255).round().byte()[:, 0], images)


def test_missing_and_cut_files(tmp_path):
    with pytest.raises(DatasetNotFoundError, match=r"no file .*train-images-idx3-ubyte'"):
        FashionMNISTDataModule(tmp_path).setup()
    fashion_mnist.write(tmp_path)
    file = tmp_path / "FashionMNIST" / "raw" / "t10k-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(DatasetNotFoundError, match="cannot be read"):
        FashionMNISTDataModule(tmp_path).setup()
