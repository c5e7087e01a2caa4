import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity

from lightning_interp.exceptions import NegativeActivationsError
from lightning_interp.functional import nmf
from lightning_interp.functional.retrieval.nmf_rows import mixed, nmf_rows
from lightning_interp.functional.retrieval.pooling import channel_weights
from tests.reference import retrieval_descriptors as slow


def planted(b=3, k=3, channels=12, size=(9, 7), seed=0):
    """Maps that are made of ``k`` factors, each with channels of its own."""
    generator = torch.Generator().manual_seed(seed)
    v = torch.zeros(k, channels)
    for i in range(k):
        v[i, i::k] = torch.rand(channels // k, generator=generator) + 0.5
    u = torch.rand(b, size[0] * size[1], k, generator=generator)
    u[torch.rand(u.shape, generator=generator) < 0.6] = 0
    return (u @ v).mT.reshape(b, channels, *size), v


def test_planted_factors_are_found():
    maps, truth = planted()
    v, u = nmf_rows(maps, 3)
    for image in range(3):
        expected = truth * channel_weights(maps)[image]  # rare channels count for more
        found = cosine_similarity(v[image][:, None], expected[None], dim=2)
        assert bool((found.amax(0) > 0.999).all())
    assert u.shape == (3, 3, 9, 7)


def test_it_is_the_factorisation_of_each_image_alone():
    maps, _ = planted(b=2)
    maps = maps + 0.1 * torch.rand(maps.shape, generator=torch.Generator().manual_seed(1))
    v, u = nmf_rows(maps, 3)
    for image in range(2):
        a = (maps[image] * channel_weights(maps)[image][:, None, None]).flatten(1).T
        alone = nmf(a, 3, max_iter=300, tol=1e-7)
        error = (a - u[image].flatten(1).T @ v[image]).norm() / a.norm()
        assert float(error) == pytest.approx(float(alone.error), abs=2e-3)
        assert torch.allclose(v[image].norm(dim=1), torch.ones(3))


def test_mixing_is_that_of_a_loop():
    generator = torch.Generator().manual_seed(0)
    v, u = torch.rand(2, 3, 5, generator=generator).double(), torch.rand(2, 3, 8, 10, generator=generator).double()
    expected = np.stack([slow.mixed(v[i].numpy(), u[i].numpy()) for i in range(2)])
    assert np.allclose(mixed(v, u), expected)


def test_factors_at_one_place_become_alike():
    u = torch.zeros(1, 2, 20, 20)
    u[0, :, 10, 10] = 1
    assert torch.allclose(mixed(torch.eye(2)[None], u), torch.ones(1, 2, 2))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"`k` parameter of `nmf_rows` must be an int in \[1, 4\]"):
        nmf_rows(torch.rand(1, 4, 5, 5), 5)
    with pytest.raises(ValueError, match=r"in \[1, 6\]"):
        nmf_rows(torch.rand(1, 9, 2, 3), 7)
    with pytest.raises(NegativeActivationsError, match="non-negative"):
        nmf_rows(torch.randn(1, 4, 5, 5), 2)
    with pytest.raises(ValueError, match="`u` parameter of `mixed`"):
        mixed(torch.rand(1, 3, 5), torch.rand(1, 2, 4, 4))


def test_a_black_image_has_no_factors_and_harms_no_other():
    maps, _ = planted()
    maps[1] = 0
    v, u = nmf_rows(maps, 3)
    assert not v[1].any()
    assert not u[1].any()
    alone, _ = nmf_rows(maps[:1], 3)
    assert torch.allclose(v[0], alone[0], atol=1e-5)
    assert torch.isfinite(mixed(v, u)).all()
