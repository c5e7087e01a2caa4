import pytest
import torch
from sklearn.decomposition import PCA

from lightning_interp.functional.factorization import pca


def gaussian(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=g) @ torch.diag(torch.linspace(3, 0.1, shape[-1])) + 2


@pytest.mark.parametrize("shape", [(80, 12), (9, 12)])
@pytest.mark.parametrize("k", [1, 4, 8])
def test_agrees_with_scikit_learn(shape, k):
    a = gaussian(*shape)
    peer = PCA(k, svd_solver="full").fit(a.numpy())
    f = pca(a, k)
    torch.testing.assert_close((f.v @ torch.from_numpy(peer.components_).T).abs(), torch.eye(k), atol=1e-3, rtol=0)
    expected = torch.from_numpy(peer.inverse_transform(peer.transform(a.numpy())))
    torch.testing.assert_close(f.reconstruct(), expected, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(f.error, (a - expected).norm() / a.norm(), atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(f.transform(a), f.u)


def test_batch_equals_loop_and_signs_are_fixed():
    a = gaussian(3, 30, 6)
    f = pca(a, 4)
    for i in range(3):
        torch.testing.assert_close(f.v[i], pca(a[i], 4).v, atol=1e-4, rtol=1e-4)
    assert (f.v.gather(-1, f.v.abs().argmax(-1, keepdim=True)) > 0).all()


def test_ranks_beyond_the_data_are_zero_and_exact():
    a = gaussian(4, 9)
    f = pca(a, 8)
    assert (f.u.shape, f.v.shape) == ((4, 8), (8, 9))
    assert float(f.error) < 1e-5
    assert (f.v[4:] == 0).all()


def test_zero_sparse_and_half_input():
    assert float(pca(torch.zeros(5, 4), 2).error) == 0
    a = gaussian(20, 5)
    torch.testing.assert_close(pca(a.to_sparse(), 2).v, pca(a, 2).v)
    assert pca(a.bfloat16(), 2).reconstruct().dtype == torch.bfloat16


def test_bad_input():
    with pytest.raises(ValueError, match=r"`k` parameter of `pca` must be an int in \[1, 4\]"):
        pca(torch.ones(5, 4), 5)
    with pytest.raises(ValueError, match="finite"):
        pca(torch.full((5, 4), float("nan")), 2)
