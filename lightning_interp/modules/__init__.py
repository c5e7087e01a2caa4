"""LightningModules: a network and its training step."""

from lightning_interp.modules.assembly import AssembledClassifier
from lightning_interp.modules.classifier import Classifier
from lightning_interp.modules.detector import Detector
from lightning_interp.modules.inverter import Inverter
from lightning_interp.modules.retriever import Retriever

__all__ = [
    "AssembledClassifier",
    "Classifier",
    "Detector",
    "Inverter",
    "Retriever",
]
