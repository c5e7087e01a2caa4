"""FAISS behind an index: which rows may be the nearest, exactly or nearly so.

Both engines number rows as they are added and only propose: the index ranks the proposals itself, exactly.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from lightning_interp.functional.retrieval._shards import MappedRows

FEWEST = 39 * 256  # rows from which 256 centres can be learnt, at the 39 for each that FAISS asks for
_SAMPLE = 40  # training rows for each list, a little more than these
_VALUES_PER_BYTE = 4
_BLOCK = 2**16


def load_faiss() -> Any:
    """FAISS, or how to get it."""
    try:
        return import_module("faiss")
    except ImportError as error:
        text = "Searching an `ImageIndex` needs FAISS: pip install lightning-interp[retrieval]"
        raise ImportError(text) from error


class Engine(Protocol):
    """What an index needs of FAISS."""

    @property
    def n_rows(self) -> int:
        """Rows added so far."""

    def add(self, vectors: Tensor) -> None:
        """Add rows ``(n, D)``."""

    def propose(self, queries: Tensor, k: int, alive: Tensor, *, n_probe: int | None = None) -> list[Tensor]:
        """For each query ``(Q, D)`` rows among which are the ``k`` nearest ones that are ``alive (N,)``, ascending."""


class ExactEngine:
    """All vectors in memory, compared with every query."""

    def __init__(self, dim: int) -> None:
        self._faiss = load_faiss()
        self._index = self._faiss.IndexFlatIP(dim)

    @property
    def n_rows(self) -> int:
        """Rows added so far."""
        return int(self._index.ntotal)

    def add(self, vectors: Tensor) -> None:
        """Add rows."""
        self._index.add(vectors.numpy())

    def propose(self, queries: Tensor, k: int, alive: Tensor, *, n_probe: int | None = None) -> list[Tensor]:
        """The ``k`` nearest and all that are as near as the last of them."""
        selected = _selector(self._faiss, alive)
        # The sums of FAISS are in single precision: below this, their order may be that of rounding errors.
        slack = queries.shape[1] * torch.finfo(torch.float32).eps

        def attempt(some: Tensor, width: int) -> tuple[Tensor, Tensor]:
            parameters = self._faiss.SearchParameters(sel=selected)
            scores, rows = map(torch.from_numpy, self._index.search(some.numpy(), width, params=parameters))
            return rows, scores[:, k - 1] - scores[:, -1] > slack

        return _until_done(attempt, queries, k + 32, int(alive.sum()))


class IvfPqEngine:
    """Vectors in lists around centres, each in a byte for four values: those of the nearest lists are compared.

    Args:
        centers: Of the lists, ``(L, D)``.
        codebooks: What the bytes stand for, ``(D / 4, 256, 4)``; ``D`` rounded up.
        n_trained: How many rows there were to learn from.
    """

    def __init__(self, centers: Tensor, codebooks: Tensor, n_trained: int) -> None:
        self._faiss = load_faiss()
        self.centers, self.codebooks, self.n_trained = centers, codebooks, n_trained
        coarse = self._faiss.IndexFlatIP(centers.shape[1])
        coarse.add(centers.numpy())
        self._index = _ivf_pq(self._faiss, coarse, len(centers))
        self._faiss.copy_array_to_vector(codebooks.numpy().ravel(), self._index.pq.centroids)
        self._index.is_trained = True

    @classmethod
    def trained(cls, vectors: MappedRows, *, seed: int = 0) -> "IvfPqEngine":
        """Learn lists and codes from some of the rows ``(N, D)``; it has none of them yet."""
        faiss = load_faiss()
        n_lists = min(int(4 * len(vectors) ** 0.5), len(vectors) // 39)
        n_sample = min(len(vectors), max(_SAMPLE * n_lists, FEWEST))
        chosen = torch.randperm(len(vectors), generator=torch.Generator().manual_seed(seed))[:n_sample]
        sample = _padded(vectors[chosen.sort().values])
        coarse = faiss.IndexFlatIP(sample.shape[1])
        index = _ivf_pq(faiss, coarse, n_lists)
        # A tenth of the time that FAISS would take by default; proposals need no finer codes.
        index.pq.cp.max_points_per_centroid, index.pq.cp.niter = 64, 10
        index.train(sample.numpy())
        centers = faiss.rev_swig_ptr(coarse.get_xb(), coarse.ntotal * coarse.d).reshape(-1, coarse.d).copy()
        codebooks = faiss.vector_to_array(index.pq.centroids).reshape(index.pq.M, index.pq.ksub, index.pq.dsub)
        return cls(torch.from_numpy(centers), torch.from_numpy(codebooks), len(vectors))

    @property
    def n_rows(self) -> int:
        """Rows added so far."""
        return int(self._index.ntotal)

    def add(self, vectors: Tensor) -> None:
        """Add rows, without learning anew."""
        for block in vectors.split(_BLOCK):
            self._index.add(_padded(block).numpy())

    def propose(self, queries: Tensor, k: int, alive: Tensor, *, n_probe: int | None = None) -> list[Tensor]:
        """Good candidates from the ``n_probe`` nearest lists, and from more where these have fewer than ``k``."""
        n_lists = len(self.centers)
        width = min(10 * k + 100, int(alive.sum()))
        selected = _selector(self._faiss, alive)

        def attempt(some: Tensor, n_probe: int) -> tuple[Tensor, Tensor]:
            parameters = self._faiss.SearchParametersIVF(sel=selected, nprobe=n_probe)
            rows = torch.from_numpy(self._index.search(_padded(some).numpy(), width, params=parameters)[1])
            return rows, rows[:, k - 1] >= 0

        return _until_done(attempt, queries, n_probe or max(16, n_lists // 16), n_lists)

    def state(self) -> dict[str, Tensor]:
        """Everything, as tensors: centres, codebooks, and the rows and codes list by list."""
        lists = import_module("faiss.contrib.inspect_tools")
        parts = [lists.get_invlist(self._index.invlists, number) for number in range(len(self.centers))]
        return {
            "centers": self.centers, "codebooks": self.codebooks, "n_trained": torch.tensor(self.n_trained),
            "lengths": torch.tensor([len(rows) for rows, _ in parts]),
            "rows": torch.from_numpy(np.concatenate([rows for rows, _ in parts])),
            "codes": torch.from_numpy(np.concatenate([codes for _, codes in parts])),
        }  # fmt: skip

    @classmethod
    def from_state(cls, state: dict[str, Tensor], dim: int) -> "IvfPqEngine":
        """The engine of vectors ``(N, dim)`` that :meth:`state` describes; a ``ValueError`` where it describes none."""
        centers, codebooks, rows, codes = (state[name] for name in ("centers", "codebooks", "rows", "codes"))
        lengths, n_codes = state["lengths"].tolist(), -(-dim // _VALUES_PER_BYTE)
        # FAISS reads as far as it is told to, whatever is there.
        shapes_fit = (
            centers.shape == (len(lengths), n_codes * _VALUES_PER_BYTE)
            and codebooks.shape == (n_codes, 256, _VALUES_PER_BYTE)
            and codes.shape == (len(rows), n_codes)
            and (centers.dtype, codebooks.dtype, codes.dtype) == (torch.float32, torch.float32, torch.uint8)
        )
        if not shapes_fit or sum(lengths) != len(rows) or not rows.sort().values.equal(torch.arange(len(rows))):
            raise ValueError("its parts do not fit together")
        engine = cls(centers, codebooks, int(state["n_trained"]))
        faiss, lists = engine._faiss, engine._index.invlists
        for number, (some, theirs) in enumerate(zip(rows.split(lengths), codes.split(lengths), strict=True)):
            lists.add_entries(number, len(some), faiss.swig_ptr(some.numpy()), faiss.swig_ptr(theirs.numpy()))
        engine._index.ntotal = len(rows)
        return engine


def _until_done(
    attempt: Callable[[Tensor, int], tuple[Tensor, Tensor]], queries: Tensor, effort: int, limit: int
) -> list[Tensor]:
    """Rows of each query; those that ``attempt`` is not done with are tried again with more effort, up to the limit."""
    found: list[Tensor] = [torch.empty(0)] * len(queries)
    waiting = torch.arange(len(queries))
    while len(waiting):
        effort = min(effort, limit)
        rows, done = attempt(queries[waiting], effort)
        done |= torch.tensor(effort == limit)
        for number, row in zip(waiting[done].tolist(), rows[done], strict=True):
            found[number] = row[row >= 0].sort().values
        waiting, effort = waiting[~done], 4 * effort
    return found


def _ivf_pq(faiss: Any, coarse: Any, n_lists: int) -> Any:
    return faiss.IndexIVFPQ(coarse, coarse.d, n_lists, coarse.d // _VALUES_PER_BYTE, 8, faiss.METRIC_INNER_PRODUCT)


def _padded(vectors: Tensor) -> Tensor:
    """Zeros at the end, which change no similarity, up to a whole number of codes."""
    return pad(vectors, (0, -vectors.shape[1] % _VALUES_PER_BYTE)).contiguous()


def _selector(faiss: Any, alive: Tensor) -> Any:
    return faiss.IDSelectorBitmap(np.packbits(alive.numpy(), bitorder="little"))
