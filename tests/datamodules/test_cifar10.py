import pickle

import numpy as np
import torch

from lightning_interp.datamodules import CIFAR10DataModule
from tests.data import cifar10


def test_reads_the_python_version(tmp_path, monkeypatch):
    images, labels = cifar10.write(tmp_path, monkeypatch)
    data = pickle.loads(pickle.dumps(CIFAR10DataModule(tmp_path, batch_size=7)))
    data.prepare_data()
    data.setup()
    assert data.classes == tuple(cifar10.NAMES)
    assert data.train_dataset.targets.tolist() == labels[:100].tolist()
    test = torch.cat([x for x, _ in data.test_dataloader()])
    pixels = (data.normalize.invert(test) * 255).round().byte().permute(0, 2, 3, 1)
    assert np.array_equal(pixels, images[100:])
    assert torch.allclose(test[0, 2, 3, 4], torch.tensor((images[100, 3, 4, 2] / 255 - 0.4465) / 0.2616).float())
