"""The nearest rows of a store: FAISS proposes, exact similarities decide."""

import warnings

import torch
from torch import Tensor

from lightning_interp.functional.retrieval._engines import Engine, ExactEngine, IvfPqEngine
from lightning_interp.functional.retrieval._shards import MappedRows
from lightning_interp.functional.retrieval._store import Store
from lightning_interp.functional.retrieval.search import Ranking, search, unit_rows


class Nearest:
    """Finds rows of a store, and keeps FAISS in step with it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._engine: Engine | None = None
        self._generation = store.generation

    def __call__(self, queries: Tensor, k: int, *, approximate: bool, n_probe: int | None) -> Ranking:
        """The ``k`` best rows of each query ``(Q, D)``, numbered as the store does."""
        engine = self._ready(approximate)
        stored = MappedRows(self.store.parts, self.store.manifest.dim)
        alive = torch.zeros(len(stored), dtype=torch.bool)
        alive[self.store.live] = True
        unit = unit_rows(queries, "queries", "ImageIndex.search").float()
        rows, scores = torch.empty(len(queries), k, dtype=torch.long), torch.empty(len(queries), k)
        for number, proposed in enumerate(engine.propose(unit, k, alive, n_probe=n_probe)):
            best = search(queries[number], stored[proposed], k)
            rows[number], scores[number] = proposed[best.indices[0]], best.scores[0]
        return Ranking(rows, scores)

    def _ready(self, approximate: bool) -> Engine:
        """An engine of the wanted kind with all rows in it."""
        if self._generation != self.store.generation:  # rows have other numbers now
            self._engine, self._generation = None, self.store.generation
        self._engine = engine = self._approximate() if approximate else self._exact()
        return engine

    def _exact(self) -> ExactEngine:
        engine = self._engine if isinstance(self._engine, ExactEngine) else ExactEngine(self.store.manifest.dim)
        self._add_missing(engine)
        return engine

    def _approximate(self) -> IvfPqEngine:
        engine = self._engine if isinstance(self._engine, IvfPqEngine) else self._kept()
        if engine is None or len(self.store) >= 2 * engine.n_trained:
            engine = IvfPqEngine.trained(self.store.vectors)
        if self._add_missing(engine):
            self._keep(engine)
        return engine

    def _add_missing(self, engine: Engine) -> bool:
        """Add the shards that are not in it; whether there were any."""
        n_before, start = engine.n_rows, 0
        for part in self.store.parts:
            if start >= n_before:
                engine.add(part)
            start += len(part)
        return engine.n_rows > n_before

    def _kept(self) -> IvfPqEngine | None:
        try:
            state = self.store.kept()
            return None if state is None else IvfPqEngine.from_state(state, self.store.manifest.dim)
        except (RuntimeError, KeyError, ValueError) as error:
            warnings.warn(f"The approximation is learnt again. {error}", stacklevel=7)
            return None

    def _keep(self, engine: IvfPqEngine) -> None:
        try:
            self.store.keep(engine.state())
        except OSError as error:  # no right to write, no space, another writer
            warnings.warn(f"The approximation is learnt again when the index is next opened. {error}", stacklevel=7)
