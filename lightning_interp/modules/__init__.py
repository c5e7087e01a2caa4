"""LightningModules: a network and its training step."""

from lightning_interp.modules.assembly import AssembledClassifier
from lightning_interp.modules.classifier import Classifier
from lightning_interp.modules.detector import Detector

__all__ = ["AssembledClassifier", "Classifier", "Detector"]
