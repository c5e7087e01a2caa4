import pytest
import torch
from torch import nn

from lightning_interp.functional.inverse_set.generators import CodeGenerator, as_generator
from lightning_interp.models import UpconvDecoder


def test_our_decoder_tells_its_code():
    made = as_generator(UpconvDecoder((5,), (3, 9, 7), width=2), mean=(0.5,) * 3, std=(0.25,) * 3)
    images = made(torch.randn(4, 5))
    assert made.code_shape == (5,)
    assert images.shape == (4, 3, 9, 7)
    assert bool(((images >= -2) & (images <= 2)).all())  # of pixels in [0, 1]


def test_a_dcgan_tells_its_code_and_range():
    gan = nn.Sequential(nn.ConvTranspose2d(7, 4, 4), nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 3, 4, 2, 1), nn.Tanh())
    made = as_generator(gan.eval(), mean=[0.5], std=[0.5])
    codes = torch.randn(2, 7, 1, 1)
    assert (made.code_shape, made.output_range) == ((7, 1, 1), (-1.0, 1.0))
    assert torch.allclose(made(codes), gan(codes), atol=1e-6)  # such networks take images in [-1, 1]


def test_a_function_needs_its_shape():
    made = as_generator(lambda codes: codes.view(-1, 1, 2, 2).sigmoid(), code_shape=4, output_range=(0, 1))
    assert made(torch.zeros(3, 4)).tolist() == torch.full((3, 1, 2, 2), 0.5).tolist()
    with pytest.raises(ValueError, match=r"`code_shape` parameter.*does not tell it"):
        as_generator(lambda codes: codes)
    assert as_generator(made) is made


def test_pixels_are_cut_unless_told_otherwise():
    wild = nn.Unflatten(1, (1, 1, 2))
    codes = torch.tensor([[-1.0, 3.0]])
    assert CodeGenerator(wild, (2,))(codes).flatten().tolist() == [0, 1]
    assert CodeGenerator(wild, (2,), valid=False)(codes).flatten().tolist() == [-1, 3]


@pytest.mark.parametrize("scale", [2.0, 255.0])
def test_another_range_is_refused(scale):
    made = as_generator(lambda codes: scale * codes.view(-1, 1, 2, 2), code_shape=4)
    codes = torch.linspace(-1, 1, 40).view(10, 4)
    with pytest.raises(ValueError, match=r"`output_range` parameter.*far outside.*Set `output_range`"):
        made.check_range(codes)
    as_generator(made.network, code_shape=4, output_range=(-scale, scale)).check_range(codes)


def test_what_is_no_image_is_refused():
    with pytest.raises(ValueError, match=r"images \(N, C, H, W\) of codes \(N, \*\(4,\)\)"):
        as_generator(nn.Linear(4, 5))(torch.zeros(2, 4))
    with pytest.raises(ValueError, match="a lower and a higher number"):
        as_generator(nn.Linear(4, 5), output_range=(1, 0))
