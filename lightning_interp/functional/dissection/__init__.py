"""Which concepts the units of a network detect."""

from lightning_interp.functional.dissection.ablation import UnitAblation, ablate_units
from lightning_interp.functional.dissection.concept_vectors import Net2Vec
from lightning_interp.functional.dissection.dissect import dissected, network_dissection
from lightning_interp.functional.dissection.net2vec import net2vec
from lightning_interp.functional.dissection.overlap import ConceptAreas, Concepts
from lightning_interp.functional.dissection.passes import concept_areas, concept_batches, unit_statistics
from lightning_interp.functional.dissection.quantile import ActivationHistogram
from lightning_interp.functional.dissection.refine import exact_levels
from lightning_interp.functional.dissection.regions import UnitRegions, best_units, unit_regions
from lightning_interp.functional.dissection.result import LayerDissection, NetworkDissection
from lightning_interp.functional.dissection.top_images import TopImages

__all__ = [
    "ActivationHistogram",
    "ConceptAreas",
    "Concepts",
    "LayerDissection",
    "Net2Vec",
    "NetworkDissection",
    "TopImages",
    "UnitAblation",
    "UnitRegions",
    "ablate_units",
    "best_units",
    "concept_areas",
    "concept_batches",
    "dissected",
    "exact_levels",
    "net2vec",
    "network_dissection",
    "unit_regions",
    "unit_statistics",
]
