import pickle

import pytest
import torch

from lightning_interp.datamodules import ToyScenesDataModule


def test_toy_datamodule():
    data = pickle.loads(pickle.dumps(ToyScenesDataModule(n_train=150, n_test=60, size=(32, 40), train_size=60, seed=3)))
    data.setup()
    x, y = next(iter(data.train_dataloader()))
    assert x.shape == (60, 3, 32, 40)
    assert abs(x.mean()) < 0.2
    assert 0.8 < x.std() < 1.2
    position = int(data.train_dataset.indices[5])
    image, label = data.scenes["train"][position]
    assert torch.allclose(data.normalize(image), data.train_dataset[5][0], atol=1e-5)
    assert label == data.train_dataset[5][1] == data.scenes["train"].truth(position).label
    assert y.bincount().tolist() == [5] * 12


def test_bad_options():
    with pytest.raises(ValueError, match="`n_test` parameter of `ToyScenesDataModule` must be"):
        ToyScenesDataModule(n_test=0)


def test_its_concepts_are_those_of_the_test_images_as_the_network_sees_them():
    data = ToyScenesDataModule(n_train=24, n_test=12)
    data.setup()
    image, target = data.concept_dataset[5]
    assert torch.equal(image, data.test_dataset[5][0])
    assert torch.equal(target["part"], data.scenes["test"].truth(5).part_map)
