"""Search in a large collection: an index by FAISS, exact and approximate, against all similarities by torch."""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from benchmarks._image_score_time import best, clocked
from lightning_interp.functional.retrieval.index import ImageIndex, IndexKind
from lightning_interp.functional.retrieval.search import search

CPU = torch.device("cpu")
MATCHES = 10
REPEATS = 3
_SPREAD = 1.5  # of a cluster, over that of the centres: neighbours are in other lists too


def clustered(n: int, dim: int, *, clusters: int, seed: int) -> tuple[Tensor, Tensor]:
    """Unit vectors around centres, ``(n, dim)``, and 100 more of them as queries."""
    generator = Generator().manual_seed(seed)
    centers = torch.randn(clusters, dim, generator=generator)
    of = torch.randint(clusters, (n + 100,), generator=generator)
    vectors = centers[of] + _SPREAD * torch.randn(n + 100, dim, generator=generator)
    vectors = torch.nn.functional.normalize(vectors, dim=1)
    return vectors[:n], vectors[n:]


def index_rows(n: int, dim: int, *, clusters: int, probes: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    """One row per way to search."""
    import faiss

    faiss.omp_set_num_threads(1)
    vectors, queries = clustered(n, dim, clusters=clusters, seed=0)
    names = [str(i) for i in range(n)]
    facts = {"vectors": n, "dimensions": dim, "queries": len(queries)}
    took = best({"torch": partial(search, queries, vectors, MATCHES)}, REPEATS, CPU)["torch"]
    first = {"search": "torch, all similarities", "ms per query": 1000 * took / len(queries), "recall": 1.0}
    yield facts | first | {"MB in memory": 4 * n * dim / 1e6}
    ways: list[tuple[IndexKind, tuple[int | None, ...]]] = [("exact", (None,)), ("ivf_pq", (*probes, None))]
    for kind, efforts in ways:
        with tempfile.TemporaryDirectory() as folder:
            index = ImageIndex.create(folder, dim=dim, fingerprint="planted", kind=kind)
            costs = {"s to add": clocked(partial(index.add, names, vectors), CPU)}
            costs["s to the first answer"] = clocked(partial(index.search, queries[:1], MATCHES), CPU)
            costs["MB in memory"] = _held(index, Path(folder))
            for n_probe in efforts:
                yield facts | _search_row(index, queries, n_probe) | costs


def _search_row(index: ImageIndex, queries: Tensor, n_probe: int | None) -> dict[str, Any]:
    name = "FAISS, IVF-PQ" if index.approximate else "FAISS, exact"
    ask = partial(index.search, queries, MATCHES, n_probe=n_probe)
    took = best({"ask": ask}, REPEATS, CPU)["ask"]
    return {
        "search": name if n_probe is None else f"{name}, {n_probe} lists",
        "ms per query": 1000 * took / len(queries),
        "recall": index.recall(queries, MATCHES, n_probe=n_probe),
    }


def _held(index: ImageIndex, folder: Path) -> float:
    """Megabytes that a search holds: all vectors, or what stands for them."""
    if not index.approximate:
        return 4 * index.dim * len(index) / 1e6
    return sum(file.stat().st_size for file in folder.glob("ivf_pq-*.safetensors")) / 1e6
