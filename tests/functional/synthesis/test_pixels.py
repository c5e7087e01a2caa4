import pytest
import torch
from torchvision.transforms.v2 import Normalize

from lightning_interp.functional.synthesis import PixelSpace


def test_is_torchvisions_normalisation_and_back():
    pixels = torch.rand(2, 3, 5, 7)
    space = PixelSpace.of((0.4, 0.5, 0.6), (0.2, 0.3, 0.25), channels=3)
    images = space.to_network(pixels)
    torch.testing.assert_close(images, Normalize(space.mean, space.std)(pixels))
    torch.testing.assert_close(space.to_pixels(images), pixels)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_one_number_serves_all_channels_and_none_means_pixels(channels):
    pixels = torch.rand(1, channels, 2, 2)
    torch.testing.assert_close(PixelSpace.of([0.5], [0.5], channels=channels).to_network(pixels), 2 * pixels - 1)
    assert torch.equal(PixelSpace.of(None, None, channels=channels).to_network(pixels), pixels)


def test_bounds_are_black_and_white():
    space = PixelSpace.of((0.5, 0.0), (0.5, 2.0), channels=2)
    low, high = space.bounds(torch.zeros(3, 2, 4, 4))
    assert (low.flatten().tolist(), high.flatten().tolist()) == ([-1.0, 0.0], [1.0, 0.5])
    assert space.scale(torch.zeros(3, 2, 4, 4)).flatten().tolist() == [2.0, 0.5]
    assert space.to_pixels(torch.full((1, 2, 1, 1), 9.0)).flatten().tolist() == [1.0, 1.0]


def test_bad_numbers():
    with pytest.raises(ValueError, match=r"`mean` parameter .* one number, or one for each of 4 channels"):
        PixelSpace.of((0.1, 0.2, 0.3), None, channels=4)
    with pytest.raises(ValueError, match="one positive number"):
        PixelSpace.of(None, (0.1, 0.0, 0.3), channels=3)
