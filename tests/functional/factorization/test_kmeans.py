import pytest
import torch
from sklearn.cluster import KMeans

from lightning_interp.functional.factorization import kmeans


def blobs(n, m=6, k=4, seed=0):
    g = torch.Generator().manual_seed(seed)
    return 10 * torch.eye(k, m)[torch.arange(n) % k] + 0.1 * torch.randn(n, m, generator=g), torch.arange(n) % k


@pytest.mark.parametrize("n", [80, 10_400])
def test_blobs_are_found_by_both_clusterers(n):
    a, labels = blobs(n)
    f = kmeans(a, 4)
    clusters = f.u.argmax(dim=1)
    assert torch.equal(f.u.sum(dim=1), torch.ones(n))
    assert len({(int(c), int(t)) for c, t in zip(clusters, labels, strict=True)}) == 4
    torch.testing.assert_close(f.transform(a), f.u)


def test_error_is_scikit_learns_inertia():
    a = torch.rand(90, 5, generator=torch.Generator().manual_seed(0))
    f = kmeans(a, 5)
    best = KMeans(5, n_init=10, random_state=0).fit(a.numpy()).inertia_ ** 0.5
    torch.testing.assert_close(f.error, (a - f.reconstruct()).norm() / a.norm())
    assert float(f.error * a.norm()) <= 1.1 * best


def test_spherical_clusters_directions():
    a, _ = blobs(60)
    a = a.abs() * torch.linspace(0.01, 5, 60)[:, None]
    f = kmeans(a, 4, spherical=True)
    torch.testing.assert_close(f.v.norm(dim=1), torch.ones(4))
    assert float(f.error) < 0.05
    assert float(kmeans(a, 4).error) > float(f.error)
    torch.testing.assert_close(f.transform(a), f.u)


def test_batch_has_a_result_per_problem():
    a = torch.stack([blobs(40)[0], -blobs(40, seed=1)[0]])
    f = kmeans(a, 4, generator=torch.Generator().manual_seed(1))
    assert (f.u.shape, f.v.shape, f.error.shape) == ((2, 40, 4), (2, 4, 6), (2,))
    assert float(f.error.max()) < 0.05


def test_generator_decides_and_the_global_state_stays():
    a, state = torch.rand(90, 9, generator=torch.Generator().manual_seed(0)), torch.get_rng_state()
    one, same, other = (kmeans(a, 8, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(one.v, same.v)
    assert not torch.equal(one.v, other.v)
    assert torch.equal(torch.get_rng_state(), state)


def test_fewer_distinct_rows_than_clusters():
    assert float(kmeans(torch.ones(6, 5), 3).error) < 1e-6
    f = kmeans(torch.eye(2, 5), 4)
    assert (f.v.shape, float(f.error)) == ((4, 5), 0.0)
    assert float(kmeans(torch.zeros(6, 5), 2, spherical=True).error) == 0


def test_bad_input():
    with pytest.raises(ValueError, match="`k` parameter of `kmeans`"):
        kmeans(torch.ones(5, 4), 5)
    with pytest.raises(ValueError, match="finite"):
        kmeans(torch.full((5, 4), float("inf")), 2)
