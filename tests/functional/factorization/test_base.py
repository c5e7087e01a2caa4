import pytest
import torch

from lightning_interp.functional.factorization import Factorization, factorize, kmeans, nmf, pca
from lightning_interp.functional.factorization.base import relative_error


def planted(*shape, k=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.rand(*shape[:-1], k, generator=g), torch.rand(*shape[:-2], k, shape[-1], generator=g) ** 3


@pytest.mark.parametrize("shape", [(40, 15), (2, 40, 15)])
def test_transform_recovers_u(shape):
    u, v = planted(*shape)
    f = Factorization(u, v, torch.zeros(shape[:-2]), 0, "nmf")
    torch.testing.assert_close(f.transform(u @ v), u, atol=1e-3, rtol=1e-3)


def test_transform_satisfies_the_optimality_conditions():
    _, v = planted(40, 15, k=6)
    a = torch.rand(25, 15, generator=torch.Generator().manual_seed(3))
    u = Factorization(torch.zeros(1, 6), v, torch.zeros(()), 0, "nmf").transform(a)
    gradient = (u @ v - a) @ v.T
    assert (u == 0).any()
    assert float(gradient[u > 0].abs().max()) < 1e-3
    assert float(gradient[u == 0].min()) > -1e-3


@pytest.mark.parametrize("method", ["nmf", "pca", "kmeans", "random_ablation"])
def test_transform_of_the_same_rows_gives_their_error(method):
    u, v = planted(60, 12, k=5)
    f = factorize(u @ v, 3, method=method)
    again = Factorization(f.transform(u @ v), f.v, f.error, 0, method, f.offset)
    assert float(relative_error(u @ v, again)) <= float(f.error) * 1.001


@pytest.mark.parametrize("mode", ["clamp", "split", "shift"])
def test_transform_treats_negatives_like_the_fit(mode):
    a = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    f = nmf(a, 4, negatives=mode)
    again = Factorization(f.transform(a), f.v, f.error, 0, "nmf", f.offset, f.negatives)
    assert float(relative_error(a, again)) <= float(f.error) * 1.01


def test_transform_follows_the_scale():
    u, v = planted(30, 10)
    f = nmf(u @ v, 3)
    torch.testing.assert_close(f.transform(u @ v * 1e12) / 1e12, f.transform(u @ v), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("a", [torch.ones(5, 7), torch.ones(2, 5, 6), torch.ones(6)])
def test_transform_refuses_other_shapes(a):
    f = nmf(torch.rand(9, 6, generator=torch.Generator().manual_seed(0)), 2)
    with pytest.raises(ValueError, match=r"Factorization\.transform"):
        f.transform(a)


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_relative_error_in_chunks_equals_the_direct_formula(chunk, monkeypatch):
    monkeypatch.setattr("lightning_interp.functional.factorization.base._CHUNK", chunk)
    u, v = planted(3, 20, 8)
    a = u @ v + 0.1
    expected = (a - u @ v).norm(dim=(1, 2)) / a.norm(dim=(1, 2))
    torch.testing.assert_close(relative_error(a, Factorization(u, v, a.new_zeros(3), 0, "nmf")), expected)


@pytest.mark.parametrize("make", [lambda a: nmf(a.half(), 2), lambda a: pca(a, 2), lambda a: kmeans(a, 2)])
def test_save_and_load_round_trip(make, tmp_path):
    f = make(torch.rand(2, 9, 6, generator=torch.Generator().manual_seed(0)))
    f.save(tmp_path / "factors.safetensors")
    g = Factorization.load(tmp_path / "factors.safetensors")
    for name in ("u", "v", "error"):
        assert torch.equal(getattr(f, name), getattr(g, name))
    assert (f.n_iter, f.method, f.negatives, f.dtype, f.k) == (g.n_iter, g.method, g.negatives, g.dtype, g.k)
    assert torch.equal(f.reconstruct(), g.reconstruct())


def test_load_refuses_foreign_files(tmp_path):
    from safetensors.torch import save_file

    save_file({"u": torch.ones(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"written by Factorization\.save"):
        Factorization.load(tmp_path / "other.safetensors")
