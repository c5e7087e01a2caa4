"""Image retrieval: descriptors of images, search, query expansion, measures of rankings."""

from lightning_interp.functional.retrieval.average_precision import (
    average_precision,
    precision_at,
    revisited_relevance,
)
from lightning_interp.functional.retrieval.descriptors import Descriptors, describe_images, learn_whitening
from lightning_interp.functional.retrieval.index import Hits, ImageIndex
from lightning_interp.functional.retrieval.localize import Localization, localize
from lightning_interp.functional.retrieval.query_expansion import expand_query
from lightning_interp.functional.retrieval.search import Ranking, search
from lightning_interp.functional.retrieval.whitening import Whitening

__all__ = [
    "Descriptors",
    "Hits",
    "ImageIndex",
    "Localization",
    "Ranking",
    "Whitening",
    "average_precision",
    "describe_images",
    "expand_query",
    "learn_whitening",
    "localize",
    "precision_at",
    "revisited_relevance",
    "search",
]
