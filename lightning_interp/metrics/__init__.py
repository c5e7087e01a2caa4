"""torchmetrics shells over the functions: they hold the state and reduce it over ranks."""

from lightning_interp.metrics.compression import CompressionAUC
from lightning_interp.metrics.dissection import ConceptIoU, UnitActivations
from lightning_interp.metrics.diversity import PairwiseDiversity
from lightning_interp.metrics.filter_health import FilterActivity
from lightning_interp.metrics.image_descriptors import ImageDescriptors
from lightning_interp.metrics.localization import CorLoc, ObjectIoU, PartIoU
from lightning_interp.metrics.retrieval import BoxIoU, RetrievalAP, RevisitedAP
from lightning_interp.metrics.selection import ClassActivations, PoolScores, SelectionBalance, SelectionPurity
from lightning_interp.metrics.voc_average_precision import VOCAveragePrecision

__all__ = [
    "BoxIoU",
    "ClassActivations",
    "CompressionAUC",
    "ConceptIoU",
    "CorLoc",
    "FilterActivity",
    "ImageDescriptors",
    "ObjectIoU",
    "PairwiseDiversity",
    "PartIoU",
    "PoolScores",
    "RetrievalAP",
    "RevisitedAP",
    "SelectionBalance",
    "SelectionPurity",
    "UnitActivations",
    "VOCAveragePrecision",
]
