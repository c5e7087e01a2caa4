"""An index of one's own pictures: descriptors on disk, found by FAISS."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from torch import Tensor

from lightning_interp._checks import check_choice, check_int, describe, message
from lightning_interp.functional.retrieval._engines import FEWEST
from lightning_interp.functional.retrieval._nearest import Nearest
from lightning_interp.functional.retrieval._shards import Manifest, MappedRows
from lightning_interp.functional.retrieval._store import Store
from lightning_interp.functional.retrieval.search import Ranking, search, unit_rows

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Hits", "ImageIndex", "IndexKind"]

IndexKind: TypeAlias = Literal["auto", "exact", "ivf_pq"]


@dataclass(frozen=True)
class Hits:
    """The pictures most similar to each query, best first.

    Attributes:
        names: ``k`` names for each of the ``Q`` queries.
        scores: Cosine similarities, ``(Q, k)``.
    """

    names: tuple[tuple[str, ...], ...]
    scores: Tensor

    def to_dataframe(self) -> "pd.DataFrame":
        """A row per query and picture: ``query``, ``rank`` from 1, ``name``, ``score``."""
        import pandas as pd  # here, because importing it takes a second

        n, k = self.scores.shape
        columns = {
            "query": [query for query in range(n) for _ in range(k)],
            "rank": list(range(1, k + 1)) * n,
            "name": [name for names in self.names for name in names],
            "score": self.scores.flatten().tolist(),
        }
        return pd.DataFrame(columns)


class ImageIndex:
    """Descriptors of named pictures in a folder; made by :meth:`create` or :meth:`open`.

    Every change is on the disk when its method returns, and a crash leaves the index as it was before it or after it.
    There is one writer at a time; who has the index open meanwhile goes on with what was there.

    Up to ``max_bytes`` of descriptors are held in memory and searched exactly. Beyond that, memory holds an
    approximation (IVF-PQ, a byte for four values), learnt at the first search and kept in the folder. What it proposes
    is ranked exactly, so all it can do is miss some: :meth:`recall` says how many. New pictures are added to it; it is
    learnt again when there are twice as many. That takes 9984 pictures: fewer are searched exactly.

    Example:
        >>> import tempfile, torch
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     index = ImageIndex.create(folder, dim=2, fingerprint="my network")
        ...     index.add(["cat.jpg", "dog.jpg"], torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        ...     index.search(torch.tensor([0.9, 0.1]), 1).names
        (('cat.jpg',),)

    Reference:
        Jegou et al., Product quantization for nearest neighbor search, TPAMI 2011. Douze et al., The Faiss library,
        2024.
    """

    def __init__(self, store: Store, *, max_bytes: int, kind: IndexKind) -> None:
        self.max_bytes = check_int(max_bytes, "max_bytes", "ImageIndex", low=0)
        self.kind = check_choice(kind, "kind", "ImageIndex", get_args(IndexKind))
        self._store = store
        self._find = Nearest(store)

    @classmethod
    def create(
        cls,
        folder: str | Path,
        *,
        dim: int,
        fingerprint: str,
        about: Mapping[str, Any] | None = None,
        max_bytes: int = 2**31,
        kind: IndexKind = "auto",
    ) -> "ImageIndex":
        """Make an empty index.

        Args:
            folder: Made where it is missing; it must hold no index.
            dim: Length of a descriptor.
            fingerprint: Of everything descriptors depend on; :meth:`open` compares it.
            about: The same for people, anything JSON, such as network, layer and method.
            max_bytes: Of descriptors to hold in memory.
            kind: ``"exact"`` or ``"ivf_pq"`` whatever the size, or by ``max_bytes``.

        Raises:
            FileExistsError: There is an index.
            TypeError: ``about`` is not JSON.
        """
        manifest = Manifest(str(fingerprint), check_int(dim, "dim", "ImageIndex.create"), _as_json(about))
        index = cls(Store(Path(folder), manifest), max_bytes=max_bytes, kind=kind)
        index._store.begin()
        return index

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        fingerprint: str | None = None,
        about: Mapping[str, Any] | None = None,
        max_bytes: int = 2**31,
        kind: IndexKind = "auto",
    ) -> "ImageIndex":
        """Open an index.

        Args:
            folder: Where it is.
            fingerprint: What it has to be made with.
            about: The same for people: an error then says what differs.
            max_bytes: As in :meth:`create`; so is ``kind``.
            kind: See there.

        Raises:
            FileNotFoundError: There is no index.
            ValueError: It was made with another network or descriptor.
            DatasetNotFoundError: Files are missing or cut, or of an unknown format; changed ones are noticed later.
        """
        store = Store.open(Path(folder))
        if fingerprint is not None and fingerprint != store.manifest.fingerprint:
            differences = _differences(store.manifest.about, _as_json(about)) if about else ""
            text = f"The index in {str(folder)!r} was made with another network or descriptor{differences}"
            raise ValueError(f"{text}. Open it with the one it was made with, or make a new index in another folder.")
        return cls(store, max_bytes=max_bytes, kind=kind)

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self._store.folder

    @property
    def fingerprint(self) -> str:
        """Of everything the descriptors depend on."""
        return self._store.manifest.fingerprint

    @property
    def about(self) -> Mapping[str, Any]:
        """The same for people."""
        return self._store.manifest.about

    @property
    def dim(self) -> int:
        """Length of a descriptor."""
        return self._store.manifest.dim

    @property
    def names(self) -> list[str]:
        """Names of the pictures, in the order in which they were added."""
        return list(self._store.rows)

    @property
    def vectors(self) -> MappedRows:
        """Their descriptors ``(N, D)``, of unit length, in files until some are taken: ``vectors[10:20]``.

        :func:`~lightning_interp.functional.retrieval.search.search` takes them as its database, and so does
        :func:`~lightning_interp.functional.retrieval.query_expansion.expand_query`.
        """
        return self._store.vectors

    @property
    def approximate(self) -> bool:
        """Whether a search goes by an approximation."""
        wanted = self.kind == "ivf_pq" or (self.kind == "auto" and 4 * self.dim * len(self) > self.max_bytes)
        return wanted and len(self) >= FEWEST

    def __len__(self) -> int:
        return len(self._store)

    def __contains__(self, name: str) -> bool:
        return name in self._store.rows

    def add(self, names: Sequence[str], vectors: Tensor, *, replace: bool = False) -> None:
        """Add pictures, all of them or, in a crash, none. Many at a time make a faster index than one by one.

        Args:
            names: Any texts, ``n`` of them.
            vectors: Their descriptors ``(n, D)``; they are scaled to unit length, zeros excepted.
            replace: Whether names that are in the index get the new descriptor; else they are refused.

        Raises:
            ValueError: Names are in the index or given twice, shapes do not fit, or numbers are not finite.
            BlockingIOError: Another process is writing.
        """
        names = _checked_names(names, "ImageIndex.add")
        if vectors.shape != (len(names), self.dim):
            must = f"descriptors ({len(names)}, {self.dim}), one for each name"
            raise ValueError(message("vectors", "ImageIndex.add", must, vectors))
        if names:
            unit = unit_rows(vectors.cpu(), "vectors", "ImageIndex.add").float()
            self._store.add(names, unit, supersede=replace)

    def remove(self, names: Sequence[str]) -> None:
        """Take pictures out; their space comes back with :meth:`compact`.

        Raises:
            ValueError: A name is not in the index.
            BlockingIOError: Another process is writing.
        """
        names = _checked_names(names, "ImageIndex.remove")
        if names:
            self._store.remove(names)

    def compact(self) -> None:
        """Write all descriptors anew, without those that were removed; an approximation is learnt again after it."""
        self._store.compact()

    def search(self, queries: Tensor, k: int = 10, *, n_probe: int | None = None) -> Hits:
        """The pictures most similar to each query; of equally similar ones those that were added first.

        Args:
            queries: Descriptors ``(Q, D)``, or one of them ``(D,)``.
            k: Pictures of each query; all where there are fewer.
            n_probe: Of an approximation, how many of its lists to look through (it has about ``4 sqrt(N)``): more find
                more and take longer. A sixteenth of them by default, and at least 16.

        Raises:
            ValueError: The index is empty, or queries do not fit or are not finite.
            DatasetNotFoundError: A file is missing, cut or changed.
            ImportError: FAISS is not installed.
        """
        found = self._nearest(queries, k, n_probe)
        names = self._store.all_names
        return Hits(tuple(tuple(names[row] for row in rows) for rows in found.indices.tolist()), found.scores)

    def recall(self, queries: Tensor, k: int = 10, *, n_probe: int | None = None) -> float:
        """Share of the exact ``k`` nearest pictures that :meth:`search` finds; the exact ones by reading all vectors.

        Args:
            queries: As in :meth:`search`; so are ``k`` and ``n_probe``.
            k: See there.
            n_probe: See there.
        """
        found = self._nearest(queries, k, n_probe).indices
        exact = self._store.live[search(queries.cpu(), self.vectors, k).indices]
        return float((found[:, :, None] == exact[:, None]).any(2).double().mean())

    def _nearest(self, queries: Tensor, k: int, n_probe: int | None) -> Ranking:
        """The best rows of the store."""
        owner = "ImageIndex.search"
        queries = (queries[None] if queries.ndim == 1 else queries).cpu()
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            must = f"descriptors (Q, {self.dim}) or one of them ({self.dim},)"
            raise ValueError(message("queries", owner, must, queries))
        if not len(self):
            raise ValueError(f"The index in {str(self.folder)!r} is empty: `add` pictures to it first.")
        k = min(check_int(k, "k", owner), len(self))
        if n_probe is not None:
            check_int(n_probe, "n_probe", owner)
        return self._find(queries, k, approximate=self.approximate, n_probe=n_probe)


def _checked_names(names: Sequence[str], owner: str) -> list[str]:
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(message("names", owner, "a list of texts", names))
    if len(set(names)) < len(names):
        twice = next(name for number, name in enumerate(names) if name in names[:number])
        raise ValueError(message("names", owner, f"names of which none is there twice; {twice!r} is", names))
    return list(names)


def _as_json(about: Mapping[str, Any] | None) -> dict[str, Any]:
    """As it will be read from a file."""
    try:
        return dict(json.loads(json.dumps(dict(about or {}))))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{message('about', 'ImageIndex', 'a dict of anything JSON', about)} {error}") from None


def _differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    names = [name for name in {**theirs, **ours} if theirs.get(name) != ours.get(name)]
    said = (f"{name} is {describe(theirs.get(name))} there and {describe(ours.get(name))} here" for name in names)
    return f": {', '.join(said)}" if names else ""
