"""LightningModules: a network and its training step."""

from lightning_interp.modules.classifier import Classifier

__all__ = ["Classifier"]
