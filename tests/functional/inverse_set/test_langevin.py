import pytest
import torch

from lightning_interp.functional.inverse_set.langevin import langevin_codes
from tests.functional.inverse_set.test_seeds import cube
from tests.functional.inverse_set.worlds import DIM, DIRECTION


def test_chains_climb_or_stay_at_a_level():
    start = torch.randn(10, DIM, generator=torch.Generator().manual_seed(0))
    with cube(0.5, 1.0, bounds=None) as found:
        free, n_steps = langevin_codes(found, start, 100)
        held, _ = langevin_codes(found, start, 100, towards=0.5, every=40)
    assert (len(free), n_steps) == (100, 200)
    assert not free.requires_grad
    assert float((free[-10:] @ DIRECTION).mean()) > 5  # up and up
    assert float(((held[-50:] @ DIRECTION) - 0.75).abs().mean()) < 0.1


def test_without_a_condition_it_samples_the_prior():
    with cube(0.5, 1.0, bounds=None) as found:
        codes, _ = langevin_codes(found, torch.zeros(200, DIM), 2000, condition=0, prior=0.05, noise=0.3)
    # an autoregression of order 1: variance noise^2 / (1 - (1 - prior)^2)
    assert float(codes[-1000:].var()) == pytest.approx(0.3**2 / (1 - 0.95**2), rel=0.15)


def test_bounds_noise_and_input_are_kept():
    start = torch.zeros(4, DIM)
    with cube(0.5, 1.0) as found:
        one, _ = langevin_codes(found, start, 8, noise=0.5)
        two, _ = langevin_codes(found, start, 8, noise=0.5)
        with pytest.raises(ValueError, match="`every` parameter of `langevin_codes`"):
            langevin_codes(found, start, 8, every=0)
    assert torch.equal(one, two)
    assert bool(((one >= 0) & (one <= 1)).all())
    assert not start.any()
