import warnings

import pytest
import torch

from lightning_interp.exceptions import ConvergenceWarning
from lightning_interp.functional.factorization import factorize, factorize_path, pca

METHODS = ("nmf", "pca", "kmeans", "random_ablation")


def activations(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    product = torch.rand(*shape[:-1], 8, generator=g) ** 4 @ torch.rand(8, shape[-1], generator=g) ** 4
    return (product + 0.2 * torch.randn(shape, generator=g)).clamp(min=0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(60, 16), (2, 60, 16)])
def test_path_visits_all_ranks_with_falling_error(method, shape):
    ks = [1, 2, 5, 11, 16]
    path = list(factorize_path(activations(*shape), ks, method=method))
    assert [f.k for f in path] == ks
    errors = torch.stack([f.error for f in path])
    assert (errors[1:] <= errors[:-1] * 1.01).all()
    assert errors.shape == (5, *shape[:-2])


def test_nmf_path_is_as_good_as_cold_starts():
    a = activations(2, 80, 24)
    for f in factorize_path(a, [1, 3, 6, 12], tol=1e-5):
        cold = factorize(a, f.k, tol=1e-5)
        assert (f.error <= 1.03 * cold.error).all()


def test_pca_path_equals_single_fits():
    a = activations(30, 10)
    for f in factorize_path(a, [2, 3, 10], method="pca"):
        torch.testing.assert_close(f.v, pca(a, f.k).v)
        torch.testing.assert_close(f.error, pca(a, f.k).error)


def test_random_ablation_path_is_nested():
    first, *others = (f.v for f in factorize_path(activations(3, 30, 10), [2, 5, 9], method="random_ablation"))
    assert all(torch.equal(v[:, :2], first) for v in others)


@pytest.mark.parametrize("method", ["nmf", "kmeans", "random_ablation"])
def test_same_generator_same_path(method):
    a, state = activations(40, 12), torch.get_rng_state()
    runs = [
        [f.v for f in factorize_path(a, [1, 4], method=method, generator=torch.Generator().manual_seed(3))]
        for _ in range(2)
    ]
    assert all(torch.equal(one, two) for one, two in zip(*runs, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_path_warns_once_and_names_the_ranks():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        list(factorize_path(activations(60, 30), [1, 4, 8, 12], max_iter=2))
    assert [w.category for w in caught] == [ConvergenceWarning]
    assert "k = 1, 4, 8, 12" in str(caught[0].message)


def test_path_of_a_zero_matrix():
    assert [float(f.error) for f in factorize_path(torch.zeros(5, 4), [1, 2, 4])] == [0, 0, 0]


@pytest.mark.parametrize("ks", [[], [2, 2], [3, 1]])
def test_ranks_must_increase(ks):
    with pytest.raises(ValueError, match="strictly increasing"):
        factorize_path(torch.ones(5, 4), ks)


def test_bad_arguments():
    with pytest.raises(ValueError, match="Did you mean 'kmeans'"):
        factorize(torch.ones(5, 4), 2, method="k-means")
    with pytest.raises(ValueError, match="`method`"):
        factorize_path(torch.ones(5, 4), [1], method="svd")
    with pytest.raises(ValueError, match="Got 5"):
        list(factorize_path(torch.ones(5, 4), [5]))
    with pytest.raises(TypeError, match="`ks`"):
        factorize_path(torch.ones(5, 4), [1.5])
