"""Low-rank factorisations ``A ~ U V`` of activations: NMF, PCA, k-means and random ablation."""

from lightning_interp.functional.factorization.base import Factorization
from lightning_interp.functional.factorization.kmeans import kmeans
from lightning_interp.functional.factorization.nmf import nmf
from lightning_interp.functional.factorization.path import FactorizationMethod, factorize, factorize_path
from lightning_interp.functional.factorization.pca import pca
from lightning_interp.functional.factorization.random_ablation import random_ablation

__all__ = [
    "Factorization",
    "FactorizationMethod",
    "factorize",
    "factorize_path",
    "kmeans",
    "nmf",
    "pca",
    "random_ablation",
]
