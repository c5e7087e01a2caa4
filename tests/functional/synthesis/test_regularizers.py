import pytest
import torch
from torch import Generator

from lightning_interp.functional.synthesis import (
    AlphaNorm,
    ClipSmall,
    Decay,
    GaussianBlur,
    Jitter,
    L2Norm,
    Regularizer,
    TotalVariation,
)

IMAGES = torch.randn(2, 3, 6, 5, generator=Generator().manual_seed(0))


def test_the_base_changes_nothing():
    base = Regularizer()
    assert base.penalty(IMAGES) == 0
    assert base.view(IMAGES, Generator()) is IMAGES
    assert base.edit(IMAGES, IMAGES, 0) is IMAGES


def test_norms_by_hand():
    torch.testing.assert_close(L2Norm(2.0).penalty(IMAGES), 2 * IMAGES.square().mean((1, 2, 3)))
    slow = torch.stack([sum((abs(v) / 2) ** 6 for v in image.flatten()) / image.numel() for image in IMAGES])
    torch.testing.assert_close(AlphaNorm(1.0, alpha=6, scale=2).penalty(IMAGES), slow)


@pytest.mark.parametrize("beta", [1.0, 2.0])
def test_total_variation_by_a_slow_loop(beta):
    slow = torch.zeros(2)
    for n in range(2):
        for c in range(3):
            for i in range(6):
                for j in range(5):
                    x = IMAGES[n, c]
                    right = x[i, j + 1] - x[i, j] if j < 4 else 0.0
                    below = x[i + 1, j] - x[i, j] if i < 5 else 0.0
                    slow[n] += (right**2 + below**2) ** (beta / 2) / 90
    torch.testing.assert_close(TotalVariation(1.0, beta=beta).penalty(IMAGES), slow, rtol=1e-3, atol=1e-4)


def test_total_variation_reaches_every_pixel():
    image = IMAGES.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(TotalVariation(1.0).penalty(image).sum(), image)
    assert (gradient != 0).all()


def test_total_variation_has_a_gradient_on_flat_images():
    flat = torch.full((1, 1, 4, 4), 0.3, requires_grad=True)
    (gradient,) = torch.autograd.grad(TotalVariation(1.0, beta=1.0).penalty(flat).sum(), flat)
    assert gradient.isfinite().all()


def test_jitter_moves_by_its_reach_and_by_its_own_generator():
    image = torch.zeros(1, 1, 32, 48)
    image[0, 0, 16, 24] = 1
    generator = Generator().manual_seed(0)
    where = torch.stack([Jitter().view(image, generator).nonzero()[0, 2:] for _ in range(200)])
    assert where.amin(0).tolist() == [14, 22]  # a sixteenth of the shorter side
    assert where.amax(0).tolist() == [18, 26]
    state = torch.get_rng_state()
    assert torch.equal(Jitter(0).view(image, generator), image)
    assert torch.equal(torch.get_rng_state(), state)


def test_decay_and_blur():
    torch.testing.assert_close(Decay(0.1).edit(IMAGES, IMAGES, 0), 0.9 * IMAGES)
    blur = GaussianBlur(1.0, every=2)
    assert blur.edit(IMAGES, IMAGES, 0) is IMAGES
    blurred = blur.edit(IMAGES, IMAGES, 1)
    assert TotalVariation(1.0).penalty(blurred).sum() < 0.3 * TotalVariation(1.0).penalty(IMAGES).sum()
    torch.testing.assert_close(blur.edit(torch.ones(1, 3, 2, 9), IMAGES, 1), torch.ones(1, 3, 2, 9))


@pytest.mark.parametrize("by", ["norm", "contribution"])
def test_clip_small_zeroes_the_smallest_share(by):
    gradient = torch.randn(IMAGES.shape, generator=Generator().manual_seed(1))
    size = IMAGES.norm(dim=1) if by == "norm" else (IMAGES * gradient).sum(1).abs()
    clip = ClipSmall(0.2, by=by, every=1)
    clipped = clip.edit(IMAGES, gradient, 0)
    for n in range(2):
        gone = (clipped[n] == 0).all(0)
        assert int(gone.sum()) == 6
        assert size[n][gone].max() < size[n][~gone].min()
        assert torch.equal(clipped[n][:, ~gone], IMAGES[n][:, ~gone])
    assert ClipSmall(0.2, every=3).edit(IMAGES, gradient, 0) is IMAGES


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: L2Norm(-1.0), "`weight` parameter of `L2Norm`"),
        (lambda: TotalVariation(1.0, beta=0.0), "`beta` parameter"),
        (lambda: AlphaNorm(1.0, alpha=0.5), "`alpha` parameter"),
        (lambda: Jitter(-1), "`pixels` parameter"),
        (lambda: Decay(2.0), r"number in \[0, 1\]"),
        (lambda: GaussianBlur(0.0), "`sigma` parameter"),
        (lambda: ClipSmall(0.1, by="size"), "'norm' or 'contribution'"),
    ],
)
def test_bad_options(make, says):
    with pytest.raises(ValueError, match=says):
        make()
