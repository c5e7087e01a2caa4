import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.decomposition import NMF

from lightning_interp.exceptions import ConvergenceWarning, NegativeActivationsError
from lightning_interp.functional.factorization import nmf
from lightning_interp.functional.factorization._matrix import as_matrix
from lightning_interp.functional.factorization._solvers import Sweep, hals, multiplicative


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def activations(*shape, seed=0, threshold=0.8):
    """Sparse non-negative data with some structure, like activations after a ReLU."""
    g = seeded(seed)
    low_rank = torch.rand(*shape[:-1], 12, generator=g) ** 4 @ torch.rand(12, shape[-1], generator=g) ** 4
    return (low_rank + 0.3 * torch.randn(shape, generator=g) - threshold + 0.6).clamp(min=0)


def product_error(a, f):
    return (a - f.u @ f.v).norm(dim=(-2, -1)) / a.norm(dim=(-2, -1))


def slow_hals(a, u, v):
    """One cycle of textbook HALS (Cichocki and Phan 2009), one column after the other, in float64."""
    for x, other, data in ((u, v, a), (v.T, u.T, a.T)):
        for j in range(x.shape[1]):
            residual = data - x @ other + np.outer(x[:, j], other[j])
            if other[j].any():
                x[:, j] = np.maximum(0, residual @ other[j] / (other[j] @ other[j]))


def slow_mu(a, u, v):
    """One cycle of Lee and Seung's multiplicative updates in float64."""
    u *= (a @ v.T) / (u @ v @ v.T)
    v *= (u.T @ a) / (u.T @ u @ v)


@pytest.mark.parametrize("k", [1, 3, 10, 40])
@pytest.mark.parametrize("threshold", [0.5, 1.0])
def test_error_is_no_worse_than_that_of_scikit_learn(k, threshold):
    a = activations(300, 60, threshold=threshold)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = NMF(k, init="nndsvda", max_iter=1000, tol=1e-5, random_state=0).fit(a.numpy())
    ours = nmf(a, k, tol=1e-6, max_iter=1000)
    # both find local minima; one percent is what separates them
    assert float(ours.error) <= 1.01 * peer.reconstruction_err_ / float(a.norm())


@pytest.mark.parametrize("init", ["random", "nndsvd", "nndsvda", "channels", "auto"])
def test_planted_product_is_recovered_up_to_order(init):
    g = seeded(1)
    u = torch.rand(200, 4, generator=g) * (torch.rand(200, 4, generator=g) < 0.5)
    v = torch.rand(4, 30, generator=g) * (torch.rand(4, 30, generator=g) < 0.5)
    f = nmf(u @ v, 4, init=init, tol=0.0, max_iter=400, generator=g)
    cosine = torch.nn.functional.normalize(v, dim=-1) @ f.v.T
    assert float(f.error) < 1e-3
    assert sorted(cosine.argmax(dim=1).tolist()) == [0, 1, 2, 3]
    assert float(cosine.amax(dim=1).min()) > 0.999


def test_one_sweep_is_one_cycle_of_textbook_hals():
    a, k = activations(50, 40).double(), 37  # more than two blocks of rows
    u, v = torch.rand(50, k, generator=seeded()).double(), torch.rand(k, 40, generator=seeded(2)).double()
    expected_u, expected_v = u.numpy().copy(), v.numpy().copy()
    slow_hals(a.numpy(), expected_u, expected_v)
    u, v = u.T[None].clone(), v[None].clone()
    Sweep(u)(v @ v.mT, v @ a.T, 1)
    Sweep(v)(u @ u.mT, u @ a, 1)
    np.testing.assert_allclose(u[0].T, expected_u, atol=1e-9)
    np.testing.assert_allclose(v[0], expected_v, atol=1e-9)


def test_multiplicative_steps_follow_lee_and_seung_and_never_rise():
    a = activations(50, 20).double() + 0.01
    u, v = torch.rand(50, 5, generator=seeded()).double(), torch.rand(5, 20, generator=seeded(2)).double()
    expected_u, expected_v = u.numpy().copy(), v.numpy().copy()
    u, v = u.T[None].clone(), v[None].clone()
    steps = multiplicative(as_matrix(a[None]), u, v)
    residuals = [float(next(steps))]
    slow_mu(a.numpy(), expected_u, expected_v)
    np.testing.assert_allclose(u[0].T, expected_u, rtol=1e-9)
    np.testing.assert_allclose(v[0], expected_v, rtol=1e-9)
    residuals += [float(next(steps)) for _ in range(50)]
    assert all(later <= before * (1 + 1e-12) for before, later in pairwise(residuals))


def test_plain_sweeps_never_raise_the_residual():
    a = activations(80, 30).double()
    u, v = torch.rand(1, 20, 80, generator=seeded()).double(), torch.rand(1, 20, 30, generator=seeded(2)).double()
    on_u, on_v = Sweep(u), Sweep(v)
    residuals = []
    for _ in range(20):
        on_u(v @ v.mT, v @ a.T, 1)
        residuals.append(float((a - u[0].T @ v[0]).norm()))
        on_v(u @ u.mT, u @ a, 1)
        residuals.append(float((a - u[0].T @ v[0]).norm()))
    assert all(later <= before * (1 + 1e-12) for before, later in pairwise(residuals))


def test_reported_residual_is_that_of_the_factors():
    a = activations(2, 60, 25).double()
    u, v = torch.zeros(2, 5, 60).double(), torch.rand(2, 5, 25, generator=seeded()).double()
    steps = hals(as_matrix(a), u, v)
    for _ in range(4):
        residual = next(steps)
        torch.testing.assert_close(residual, (a - u.mT @ v).square().sum((1, 2)))


@pytest.mark.parametrize("solver", ["hals", "mu"])
@pytest.mark.parametrize("init", ["random", "nndsvda"])
def test_batch_equals_loop(solver, init):
    a = activations(3, 40, 20)
    options = {"solver": solver, "init": init, "tol": 0.0, "max_iter": 15}
    together = nmf(a, 4, **options)
    for i in range(3):
        alone = nmf(a[i], 4, **options)
        torch.testing.assert_close(together.u[i], alone.u, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(together.v[i], alone.v, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(together.error[i], alone.error, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layout", ["coo", "csr"])
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
def test_sparse_equals_dense(layout):
    a = activations(60, 25, threshold=1.2)
    sparse = a.to_sparse() if layout == "coo" else a.to_sparse_csr()
    dense, f = nmf(a, 4, tol=0.0, max_iter=20), nmf(sparse, 4, tol=0.0, max_iter=20)
    torch.testing.assert_close(f.reconstruct(), dense.reconstruct(), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(f.transform(sparse), dense.transform(a), rtol=1e-2, atol=1e-2)
    assert float(nmf(sparse, 25).error) == 0


def test_sparse_negatives():
    a = torch.randn(20, 8, generator=seeded()) * (torch.rand(20, 8, generator=seeded(2)) < 0.5)
    for mode in ("clamp", "split"):
        dense, f = (nmf(x, 3, negatives=mode, tol=0.0, max_iter=20) for x in (a, a.to_sparse()))
        torch.testing.assert_close(f.error, dense.error, rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match=r"to_dense\(\)"):
        nmf(a.to_sparse(), 3, negatives="shift")
    with pytest.raises(NegativeActivationsError, match="minimum"):
        nmf(a.to_sparse(), 3)


def test_float32_agrees_with_float64():
    a = activations(100, 30)
    single, double = nmf(a, 5, tol=0.0, max_iter=30), nmf(a.double(), 5, tol=0.0, max_iter=30)
    assert (single.u.dtype, double.u.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(single.error.double(), double.error, rtol=1e-3, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    a = activations(50, 20).to(dtype)
    f = nmf(a, 4)
    torch.testing.assert_close(f.error, nmf(a.float(), 4).error)
    assert (f.u.dtype, f.reconstruct().dtype) == (torch.float32, dtype)


def test_randomness_comes_from_the_generator_alone():
    a, state = activations(40, 20), torch.get_rng_state()
    first, again, other = (nmf(a, 4, init="random", generator=seeded(s), tol=0.0, max_iter=3) for s in (5, 5, 6))
    assert torch.equal(first.u, again.u)
    assert torch.equal(nmf(a, 4).u, nmf(a, 4).u)
    assert not torch.allclose(first.u, other.u, atol=1e-3)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("solver", ["hals", "mu"])
def test_warm_start_continues(solver):
    a = activations(80, 30)
    cold = nmf(a, 6, solver=solver, tol=0.0, max_iter=60)
    warm = nmf(a, 6, solver=solver, v=cold.v, tol=0.0, max_iter=5)
    fresh = nmf(a, 6, solver=solver, tol=0.0, max_iter=5)
    assert float(warm.error) <= float(cold.error) * 1.01
    assert float(warm.error) < float(fresh.error)


def test_warm_start_of_fewer_rows_keeps_them():
    u, v = torch.eye(3).repeat(10, 1) + torch.eye(3).roll(1, 0).repeat_interleave(10, 0), torch.eye(3, 12)
    grown = nmf(u @ v, 3, v=v[:2], tol=1e-6)
    torch.testing.assert_close(grown.v[:2], v[:2], atol=1e-2, rtol=0)
    assert float(grown.error) < 1e-2


@pytest.mark.parametrize("solver", ["hals", "mu"])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_degenerate_matrices_give_no_nan(solver, k):
    a = activations(4, 9, 6, threshold=0.5)
    a[0] = 0
    a[1, 3:] = 0
    a[2, :, :4] = 0
    a[3, 1:] = a[3, :1]
    f = nmf(a, k, solver=solver, tol=0.0, max_iter=30)
    assert torch.isfinite(f.u).all()
    assert torch.isfinite(f.v).all()
    assert float(f.error[0]) == 0
    torch.testing.assert_close(f.error[1:], product_error(a, f)[1:], rtol=1e-3, atol=1e-5)
    assert float(nmf(torch.zeros(7, 6), k, solver=solver).error) == 0


@pytest.mark.parametrize("shape", [(1, 7), (7, 1), (5, 7), (7, 5)])
def test_ranks_of_the_full_size_are_exact(shape):
    a = activations(*shape, threshold=0.1)
    for k in range(min(shape), shape[1] + 1):
        f = nmf(a, k)
        assert (f.u.shape, f.v.shape, f.n_iter) == ((shape[0], k), (k, shape[1]), 0)
        torch.testing.assert_close(f.reconstruct(), a)
        assert float(f.error) == 0


@pytest.mark.parametrize("scale", [1e-25, 1e-8, 1e8, 1e25])
def test_error_does_not_depend_on_the_scale(scale):
    a = activations(40, 20)
    f = nmf(a * scale, 4)
    torch.testing.assert_close(f.error, nmf(a, 4).error, rtol=1e-3, atol=0)
    torch.testing.assert_close(f.reconstruct() / scale, nmf(a, 4).reconstruct(), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("mode", ["split", "shift"])
def test_treated_negatives_are_undone(mode):
    a = torch.randn(40, 6, generator=seeded())
    torch.testing.assert_close(nmf(a, 6, negatives="shift").reconstruct(), a)
    f = nmf(a, 3, negatives=mode)
    expected = (a - f.reconstruct()).norm() / a.norm()
    torch.testing.assert_close(f.error, expected)
    assert float(nmf(a, 5, negatives=mode).error) < float(expected)


def test_clamp_equals_relu_and_its_error_counts_the_negatives():
    a = torch.randn(40, 6, generator=seeded())
    f = nmf(a, 3, negatives="clamp")
    torch.testing.assert_close(f.reconstruct(), nmf(a.clamp(min=0), 3).reconstruct())
    torch.testing.assert_close(f.error, (a - f.reconstruct()).norm() / a.norm())


def test_max_iter_warns_with_the_numbers():
    a = activations(60, 30)
    with pytest.warns(ConvergenceWarning, match=r"max_iter=2 .* tol=0.0001: k = 8 with a relative error of 0\.\d+"):
        nmf(a, 8, max_iter=2)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"k": 0}, ValueError, r"The `k` parameter of `nmf` must be an int in \[1, 6\]. Got 0."),
        ({"k": 7}, ValueError, r"in \[1, 6\]. Got 7."),
        ({"k": 2.0}, TypeError, "`k`"),
        ({"solver": "hal"}, ValueError, "Did you mean 'hals'"),
        ({"init": "svd"}, ValueError, "`init`"),
        ({"negatives": "abs"}, ValueError, "`negatives`"),
        ({"max_iter": 0}, ValueError, "`max_iter`"),
        ({"tol": -1.0}, ValueError, "`tol`"),
        ({"v": torch.ones(4, 6)}, ValueError, "`v`"),
        ({"v": torch.ones(2, 5)}, ValueError, "`v`"),
        ({"v": -torch.ones(2, 6)}, ValueError, "non-negative and finite"),
        ({"a": torch.full((9, 6), float("nan"))}, ValueError, "finite"),
        ({"a": torch.full((9, 6), float("inf"))}, ValueError, "finite"),
        ({"a": -torch.ones(9, 6)}, NegativeActivationsError, "negatives='clamp', 'split' or 'shift'"),
        ({"a": torch.ones(6)}, ValueError, "shape"),
        ({"a": torch.ones(0, 6)}, ValueError, "at least one row"),
        ({"a": [[1.0]]}, TypeError, "a tensor"),
        ({"a": torch.ones(9, 6, dtype=torch.complex64)}, TypeError, "real numbers"),
    ],
)
def test_bad_arguments_are_named(arguments, error, text):
    arguments = {"a": activations(9, 6), "k": 3, **arguments}
    with pytest.raises(error, match=text):
        nmf(arguments.pop("a"), arguments.pop("k"), **arguments)
