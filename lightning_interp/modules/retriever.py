"""Describes a collection and queries on any number of devices, and measures the rankings."""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightning_interp._checks import check_choice, check_int, message
from lightning_interp._lightning import LightningModule
from lightning_interp.exceptions import MeasurementWarning
from lightning_interp.functional.retrieval.average_precision import APRule
from lightning_interp.functional.retrieval.describer import Describer, DescriptorMethod
from lightning_interp.functional.retrieval.descriptors import described_batches
from lightning_interp.functional.retrieval.query_expansion import expand_query
from lightning_interp.functional.retrieval.search import search
from lightning_interp.functional.retrieval.whitening import Whitening
from lightning_interp.metrics.image_descriptors import ImageDescriptors
from lightning_interp.metrics.retrieval import RetrievalAP

__all__ = ["Retriever"]


class Retriever(LightningModule):
    """Image retrieval as a test: ``Trainer.test(Retriever(net), datamodule=OxfordParisDataModule(root))``.

    Works with any number of devices: each describes a share of the images. Logs ``test/map_<protocol>`` for every
    protocol of the datamodule, such as ``test/map_medium``, and ``test/n_skipped``, images of the collection that could
    not be described. Of loaders that yield ``(images, indices)`` and then ``(images, boxes, indices)``.

    Args:
        net: The network.
        method: See :func:`lightning_interp.functional.describe_images`, like ``layer`` to ``seed``. Methods other than
            NMF want a datamodule with ``box="crop"``.
        layer: The layer.
        k: Factors of an image.
        whitening: Of :func:`~lightning_interp.functional.retrieval.learn_whitening`, or its file.
        share: Of its activation that a factor must have inside the box of a query.
        n_iter: Iterations of NMF.
        seed: Of its start.
        expand: Best matches that are added to a query for a second search; 0 for one search.
        rule: ``"trapezoid"``, the official one of Oxford and Paris, or ``"finite_sum"``, that of the thesis.
        at: Only the first so many results count.

    Raises:
        ValueError: An option is out of range, or the datamodule gives boxes and the method has no factors.
        RuntimeError: The datamodule has no queries.

    Reference:
        Thesis, chapter 5.
    """

    def __init__(
        self,
        net: nn.Module,
        method: DescriptorMethod = "nmf_vtu",
        *,
        layer: str | None = None,
        k: int = 4,
        whitening: Whitening | str | None = None,
        share: float = 0.75,
        n_iter: int = 30,
        seed: int = 0,
        expand: int = 0,
        rule: APRule = "trapezoid",
        at: int | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        known = Whitening.load(whitening) if isinstance(whitening, str | Path) else whitening
        self.describer = Describer(net, method, layer, k, known, share, n_iter, seed)
        self.expand = check_int(expand, "expand", "Retriever", low=0)
        self.rule: APRule = check_choice(rule, "rule", "Retriever", ("finite_sum", "trapezoid"))  # type: ignore[assignment]
        self.at = None if at is None else check_int(at, "at", "Retriever")
        self.database, self.queries = ImageDescriptors(), ImageDescriptors()

    def on_test_start(self) -> None:
        """Check that the datamodule has queries, and such as the method can use."""
        data = self._data()
        if not self.describer.is_nmf and data.box == "factors":
            must = f"'crop' for method={self.describer.method!r}; only NMF has factors to choose from"
            raise ValueError(message("box", type(data).__name__, must, data.box))

    def test_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Describe images of the collection (loader 0) or queries (loader 1)."""
        images, *boxes, indices = batch
        (part,) = described_batches(self.describer, [(images,)], boxes=boxes[0].cpu() if boxes else None)
        found = self.queries if dataloader_idx else self.database
        vectors = part.vectors if len(part.positions) else torch.zeros(0, self._width(part.vectors))
        found.update(indices.cpu()[part.positions].to(self.device), vectors.to(self.device))
        if part.fell_back:
            text = f"{len(part.fell_back)} queries have no factor inside their box: all of theirs were kept."
            warnings.warn(text, MeasurementWarning, stacklevel=2)

    def on_test_epoch_end(self) -> None:
        """Rank the collection for every query and log the measures."""
        data = self._data()
        indices = self.database.compute()
        n_skipped = len(data.database_dataset) - len(indices)
        if n_skipped:
            there = set(indices.tolist())
            names = [name for i, name in enumerate(data.database_dataset.names) if i not in there]
            text = f"{n_skipped} images could not be described and cannot be found: {', '.join(names[:20])}."
            warnings.warn(text, MeasurementWarning, stacklevel=2)
        rankings = self.rankings()
        measured = {name: RetrievalAP(rule=self.rule, at=self.at).to(self.device) for name in data.protocols}
        for i in list(range(len(data.queries)))[self.global_rank :: self.trainer.world_size]:
            for name, metric in measured.items():
                metric.update(rankings.get(i, ()), *data.queries[i].relevance(name))
        logged = {f"test/map_{name}": metric.compute().float() for name, metric in measured.items()}
        self.log_dict({**logged, "test/n_skipped": float(n_skipped)}, rank_zero_only=True)

    def rankings(self) -> dict[int, Tensor]:
        """Images of the collection by similarity, best first, for every query that could be described."""
        numbers, database = self.database.compute(), self.database.vectors()
        queries = self.queries.vectors()
        if self.expand:
            queries = expand_query(queries, database, n=self.expand)
        found = search(queries, database).indices
        return dict(zip(self.queries.compute().tolist(), numbers[found], strict=True))

    def _width(self, vectors: Tensor) -> int:
        whitening = self.describer.whitening
        return len(whitening.projection) if whitening is not None else vectors.shape[-1]

    def _data(self) -> Any:
        data = getattr(self.trainer, "datamodule", None)
        if not hasattr(data, "queries"):
            raise RuntimeError("`Retriever` needs a datamodule with queries, such as `OxfordParisDataModule`.")
        return data
