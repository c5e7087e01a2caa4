"""k-means as a factorisation: every row is replaced by its centroid."""

import warnings

import torch
from torch import Tensor

from lightning_interp._checks import check_int
from lightning_interp.functional.factorization._init import seeded
from lightning_interp.functional.factorization._matrix import check_finite, working
from lightning_interp.functional.factorization.base import Factorization, assign, relative_error

_MINI_BATCH_FROM = 10_000  # rows from which scikit-learn's MiniBatchKMeans takes over


def kmeans(a: Tensor, k: int, *, spherical: bool = False, generator: torch.Generator | None = None) -> Factorization:
    r"""Cluster the rows with scikit-learn's k-means, on the CPU.

    .. math:: \min_{U, V} \|A - U V\|_F \quad \text{with one 1 in every row of } U

    With fewer than ``k`` rows the missing centroids are zero.

    Args:
        a: matrix ``(n, m)``, batch ``(b, n, m)``, or sparse matrix ``(n, m)``, which is made dense.
        k: number of clusters, in ``[1, m]``.
        spherical: cluster directions: rows are normalised, centroids have unit length, and a row becomes its
            projection on its centroid.
        generator: source of randomness; None for a fixed seed.

    Returns:
        One non-zero weight per row of ``u (.., n, k)``, centroids ``v (.., k, m)``.

    Raises:
        TypeError: when ``a`` is not a real tensor or ``k`` not an int.
        ValueError: when ``k`` is out of range, or ``a`` holds NaN or inf.

    Example:
        >>> import torch
        >>> from lightning_interp.functional.factorization import kmeans
        >>> kmeans(torch.tensor([[0.0, 1.0], [0.0, 1.0], [5.0, 5.0]]), 2).reconstruct().tolist()
        [[0.0, 1.0], [0.0, 1.0], [5.0, 5.0]]

    Reference:
        Thesis section 2.3.
    """
    original = working(a, "kmeans")
    original = original if original.layout == torch.strided else original.to_dense()
    check_finite(original, "kmeans")
    check_int(k, "k", "kmeans", high=original.shape[-1])
    generator = seeded(generator)
    problems = original if original.dim() == 3 else original[None]
    fits = [_centroids(problem, k, spherical, generator) for problem in problems]
    v = torch.stack([centroids for centroids, _ in fits]).to(original)
    v = v if original.dim() == 3 else v[0]
    u, method = assign(original, v, spherical=spherical), "spherical_kmeans" if spherical else "kmeans"
    n_iter = max(n_iter for _, n_iter in fits)
    rough = Factorization(u, v, u.new_zeros(()), n_iter, method, dtype=a.dtype)
    return Factorization(u, v, relative_error(original, rough), n_iter, method, dtype=a.dtype)


def _centroids(a: Tensor, k: int, spherical: bool, generator: torch.Generator) -> tuple[Tensor, int]:
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    rows = torch.nn.functional.normalize(a, dim=-1) if spherical else a
    seed = int(torch.randint(2**31 - 1, (), generator=generator, device=generator.device))
    clusterer = MiniBatchKMeans if len(rows) >= _MINI_BATCH_FROM else KMeans
    with warnings.catch_warnings():
        # fewer distinct rows than clusters: the fit is exact, nothing to warn of
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = clusterer(min(k, len(rows)), n_init=1, random_state=seed).fit(rows.cpu().numpy())
    centroids = torch.from_numpy(model.cluster_centers_)
    if spherical:
        centroids = torch.nn.functional.normalize(centroids, dim=-1)
    return torch.nn.functional.pad(centroids, (0, 0, 0, k - len(centroids))), int(model.n_iter_)
