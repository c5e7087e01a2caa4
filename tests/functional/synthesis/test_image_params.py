import pytest
import torch
from torch import Generator, nn

from lightning_interp.functional.synthesis import (
    FourierImages,
    GeneratedImages,
    PixelImages,
    PixelSpace,
    color_basis,
)

SPACE = PixelSpace((0.5, 0.4, 0.6), (0.2, 0.25, 0.3))


def test_pixels_are_the_image_and_stay_in_bounds():
    start = torch.full((1, 3, 2, 2), 9.0)
    free, bounded = PixelImages(start), PixelImages(start, space=SPACE)
    free.restrict()
    bounded.restrict()
    assert torch.equal(free(), start)
    torch.testing.assert_close(SPACE.to_pixels(bounded()), torch.ones(1, 3, 2, 2))
    assert torch.equal(start, torch.full((1, 3, 2, 2), 9.0))  # the caller's tensor is not touched


def test_noise_is_grey_and_its_own():
    state = torch.get_rng_state()
    images = PixelImages.noise((4, 3, 16, 16), space=SPACE, generator=Generator().manual_seed(0))
    again = PixelImages.noise((4, 3, 16, 16), space=SPACE, generator=Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images(), again())
    pixels = SPACE.to_pixels(images()).detach()
    assert abs(float(pixels.mean()) - 0.5) < 0.01
    assert abs(float(pixels.std()) - 0.05) < 0.01


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (2, 3, 9, 7), (1, 4, 6, 11), (1, 3, 1, 1)])
def test_fourier_images_of_any_shape(shape):
    images = FourierImages(shape, generator=Generator().manual_seed(0))
    assert images().shape == shape
    assert ((images() > 0) & (images() < 1)).all()
    assert (images() - 0.5).abs().max() < 0.1  # starts grey


def test_fourier_is_a_wave_per_coefficient():
    images = FourierImages((1, 1, 8, 8), colors=torch.eye(1))
    with torch.no_grad():
        images.values.zero_()
        images.values[0, 0, 0, 2, 0] = 1.0  # two periods along the width
    logits = torch.logit(images()[0, 0])
    wave = torch.cos(2 * torch.pi * 2 * torch.arange(8) / 8)
    expected = (2 / 64) * (4 * 64**0.5) * wave / 4  # inverse transform, scale 1 / frequency, quarter
    torch.testing.assert_close(logits, expected.expand(8, 8), atol=1e-5, rtol=1e-4)


def test_fourier_colours_correlate_as_those_of_photographs():
    pixels = FourierImages((200, 3, 8, 8), generator=Generator().manual_seed(0))().detach()
    correlation = pixels.transpose(0, 1).flatten(1).corrcoef()
    assert correlation[0, 1] > 0.8
    assert correlation[0, 2] < correlation[0, 1]


def test_color_basis_gives_the_covariance_back():
    mix = torch.tensor([[1.0, 0.2, 0.0], [0.5, 1.0, 0.3], [0.2, 0.1, 1.0]])
    pixels = torch.einsum("dc,nchw->ndhw", mix, torch.rand(50, 3, 8, 8, generator=Generator().manual_seed(0)))
    basis, covariance = color_basis(pixels), pixels.transpose(0, 1).flatten(1).cov()
    torch.testing.assert_close(
        basis @ basis.T, covariance / torch.linalg.matrix_norm(covariance, 2), atol=1e-5, rtol=1e-4
    )
    assert color_basis(torch.rand(3, 1, 4, 4)).tolist() == [[1.0]]


def test_generated_images_ranges_bounds_and_penalty():
    net = nn.Sequential(nn.Linear(2, 12), nn.Unflatten(1, (3, 2, 2)), nn.Tanh())
    codes = torch.tensor([[3.0, -4.0]])
    images = GeneratedImages(
        net, codes, l2=0.1, bounds=(-1.0, torch.tensor([2.0, 5.0])), output_range=(-1, 1), space=SPACE
    )
    torch.testing.assert_close(images(), SPACE.to_network((net(codes) + 1) / 2))
    torch.testing.assert_close(images.penalty(), torch.tensor([0.1 * 12.5]))
    images.restrict()
    assert images.values.tolist() == [[2.0, -1.0]]
    plain = GeneratedImages(lambda code: code.view(1, 1, 1, 2), codes)
    plain.restrict()
    assert torch.equal(plain(), codes.view(1, 1, 1, 2))


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"`colors` parameter .* of shape \(4, 4\)"):
        FourierImages((1, 4, 8, 8), colors=torch.eye(3))
    with pytest.raises(ValueError, match="`output_range` parameter"):
        GeneratedImages(nn.Identity(), torch.zeros(1, 2), output_range=(1, -1))
    with pytest.raises(ValueError, match=r"images .* that vary"):
        color_basis(torch.ones(2, 3, 4, 4))
