import pytest
import torch

from lightning_interp.metrics.image_descriptors import ImageDescriptors


def test_images_come_sorted_and_once():
    found = ImageDescriptors()
    rows = torch.rand(5, 3)
    found.update(torch.tensor([4, 1, 3]), rows[[4, 1, 3]])
    found.update(torch.tensor([0, 4, 2]), rows[[0, 4, 2]])
    assert found.compute().tolist() == [0, 1, 2, 3, 4]
    assert torch.equal(found.vectors(), rows)


def test_nothing_is_fine():
    found = ImageDescriptors()
    assert found.vectors().shape == (0, 0)
    found.update(torch.zeros(0, dtype=torch.long), torch.zeros(0, 3))
    found.update(torch.tensor([2]), torch.ones(1, 3))
    assert found.vectors().tolist() == [[1, 1, 1]]


def test_rows_must_be_those_of_the_images():
    with pytest.raises(ValueError, match="a row for each of 2 images"):
        ImageDescriptors().update(torch.tensor([1, 2]), torch.ones(3, 4))
