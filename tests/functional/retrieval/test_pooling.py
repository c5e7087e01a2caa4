import numpy as np
import pytest
import torch

from lightning_interp.functional.retrieval.pooling import channel_weights, crow, gem, mac, rmac, rmac_regions, spoc
from tests.reference import retrieval_descriptors as slow


def maps(*shape, seed=0):
    """Sparse, like activations; one channel is silent."""
    found = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).clamp(min=0)
    found[:, 1] = 0
    return found


def test_sums_and_maxima_are_numpys():
    a = maps(3, 5, 4, 6)
    assert np.allclose(mac(a)[:, 0], a.numpy().max((2, 3)))
    assert np.allclose(spoc(a)[:, 0], a.numpy().sum((2, 3)))
    assert np.allclose(gem(a, power=3)[:, 0], (a.numpy() ** 3).mean((2, 3)) ** (1 / 3))


def test_a_generalised_mean_goes_from_the_mean_to_the_maximum():
    a = maps(2, 5, 4, 6)
    assert torch.allclose(gem(a, power=1)[:, 0], a.mean((2, 3)))
    assert torch.allclose(gem(a, power=300), mac(a), rtol=0.02)
    assert torch.equal(gem(-a), torch.zeros(2, 1, 5, dtype=a.dtype))


@pytest.mark.parametrize("size", [(4, 4), (7, 5), (5, 7), (3, 11), (1, 1), (1, 6), (32, 43), (43, 32)])
@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_regions_are_those_of_the_paper(size, levels):
    found = rmac_regions(*size, levels=levels)
    assert found == slow.rmac_regions(*size, levels)
    assert all(y >= 0 and x >= 0 and y + s <= size[0] and x + s <= size[1] for y, x, s in found)


@pytest.mark.parametrize("size", [(6, 6), (5, 8), (9, 4)])
def test_region_maxima_are_those_of_a_loop(size):
    a = maps(2, 4, *size)
    assert np.allclose(rmac(a), np.stack([slow.rmac(image.numpy()) for image in a]))


def test_crow_is_that_of_a_loop():
    a = maps(3, 5, 4, 6)
    assert np.allclose(channel_weights(a), np.stack([slow.crow_weights(image.numpy()) for image in a]))
    assert np.allclose(crow(a)[:, 0], np.stack([slow.crow(image.numpy()) for image in a]))


def test_a_rare_channel_weighs_more_and_a_silent_one_nothing():
    a = torch.zeros(1, 3, 10, 10)
    a[0, 0], a[0, 2, 0, 0] = 1, 1
    everywhere, nowhere, once = channel_weights(a)[0].tolist()
    assert once > everywhere > nowhere == 0
    assert torch.equal(crow(torch.zeros(2, 3, 4, 4)), torch.zeros(2, 1, 3))


def test_options_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="`levels` parameter of `rmac`"):
        rmac(maps(1, 2, 3, 3), levels=0)
    with pytest.raises(ValueError, match="`power` parameter of `gem`"):
        gem(maps(1, 2, 3, 3), power=0.5)
