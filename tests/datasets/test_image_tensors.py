import pickle

import pytest
import torch
from torch.utils.data import DataLoader

from lightning_interp.datasets import ImageTensors, Normalize

PIXELS = torch.randint(256, (12, 3, 5, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_normalize_against_torchvision_and_back():
    from torchvision.transforms.functional import normalize

    mean, std, images = [0.1, 0.2, 0.3], [0.5, 0.4, 0.3], PIXELS / 255
    ours = Normalize(mean, std)
    assert torch.allclose(ours(images), normalize(images, mean, std))
    assert torch.allclose(ours(images[0]), ours(images)[0])
    assert torch.allclose(ours.invert(ours(images)), images, atol=1e-6)
    assert ours(images.double()).dtype == torch.float64


@pytest.mark.parametrize("workers", [0, 2])
def test_items_and_batches(workers):
    data = pickle.loads(pickle.dumps(ImageTensors(PIXELS, range(12), transform=Normalize([0.5] * 3, [0.5] * 3))))
    expected = PIXELS.float() / 255 * 2 - 1
    assert torch.allclose(data[3][0], expected[3])
    assert data[3][1] == 3
    loader = DataLoader(data, batch_size=5, num_workers=workers)
    assert torch.allclose(torch.cat([x for x, _ in loader]), expected)
    assert torch.cat([y for _, y in loader]).tolist() == list(range(12))


def test_bytes_stay_as_they_are():
    data = ImageTensors(PIXELS.clone(), torch.zeros(12))
    data[0][0].fill_(7)
    assert torch.equal(data.images, PIXELS)


@pytest.mark.parametrize(
    ("images", "targets", "error"),
    [(PIXELS.float(), range(12), TypeError), (PIXELS[0], range(3), TypeError), (PIXELS, range(3), ValueError)],
)
def test_bad_input(images, targets, error):
    with pytest.raises(error, match="parameter of `ImageTensors` must be"):
        ImageTensors(images, targets)
