import math

import pytest
import torch

from lightning_interp.functional.generalization import intrinsic_dimension


def loop(features, k):
    """Equation 5, neighbour by neighbour."""
    values = []
    for i, x in enumerate(features):
        distances = sorted(math.dist(x, y) for j, y in enumerate(features) if j != i)[:k]
        values.append(-k / sum(math.log(r / distances[-1] + 1e-8) for r in distances))
    return values


def ball(n, d, width, seed=0):
    """Uniform in a ball of ``d`` dimensions, rotated into a space of ``width``."""
    generator = torch.Generator().manual_seed(seed)
    direction = torch.nn.functional.normalize(torch.randn(n, d, generator=generator, dtype=torch.float64))
    points = direction * torch.rand(n, 1, generator=generator, dtype=torch.float64) ** (1 / d)
    return points @ torch.linalg.qr(torch.randn(width, d, generator=generator, dtype=torch.float64)).Q.T


def test_it_equals_the_loop_over_batches():
    x = torch.randn(70, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    order = torch.randperm(70, generator=torch.Generator().manual_seed(2))
    for rows, generator in ((torch.arange(70), None), (order, torch.Generator().manual_seed(2))):
        values = [v for batch in x[rows].split(32)[:2] for v in loop(batch.tolist(), 6)]  # the last 6 are too few
        got = intrinsic_dimension(x, n_neighbours=6, batch_size=32, generator=generator)
        assert got == pytest.approx(sum(values) / 64, rel=1e-6)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_a_ball_in_a_wider_space_has_its_own_dimension(d):
    assert intrinsic_dimension(ball(1000, d, 40), batch_size=1000) == pytest.approx(d, rel=0.2)


def test_scale_shift_and_order_do_not_matter():
    x = ball(128, 3, 10)
    plain = intrinsic_dimension(x)
    assert intrinsic_dimension(1e-3 * x) == pytest.approx(plain)
    assert intrinsic_dimension(x + 7) == pytest.approx(plain, rel=1e-5)
    assert intrinsic_dimension(x.flip(0)) == pytest.approx(plain)


def test_equal_features_are_finite_and_broken_ones_nan():
    assert math.isfinite(intrinsic_dimension(torch.zeros(30, 4)))
    assert math.isfinite(intrinsic_dimension(ball(15, 2, 4).repeat(2, 1), n_neighbours=5))
    assert math.isnan(intrinsic_dimension(torch.full((30, 4), math.nan)))


@pytest.mark.parametrize(
    ("n", "options", "error", "text"),
    [
        (20, {}, ValueError, r"`n_neighbours` parameter of `intrinsic_dimension` must be an int in \[2, 19\]. Got 20"),
        (30, {"n_neighbours": 1}, ValueError, "Got 1"),
        (2, {"n_neighbours": 2}, ValueError, "Got 2"),
        (0, {}, ValueError, "`n_neighbours`"),
        (30, {"n_neighbours": 2.0}, TypeError, "`n_neighbours`"),
        (30, {"n_neighbours": 8, "batch_size": 8}, ValueError, r"`batch_size` .* must be an int in \[9, inf\)"),
    ],
)
def test_bad_input_is_named(n, options, error, text):
    with pytest.raises(error, match=text):
        intrinsic_dimension(torch.rand(n, 3), **options)
