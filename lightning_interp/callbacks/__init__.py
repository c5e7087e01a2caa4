"""Callbacks decide when to measure, call one function and log. They know modules and data only through the Trainer."""

from lightning_interp.callbacks.activation_maximization import ActivationMaximizationMonitor
from lightning_interp.callbacks.compression import CompressionMonitor
from lightning_interp.callbacks.deconvnet import DeconvNetMonitor
from lightning_interp.callbacks.dissection import NetworkDissectionMonitor
from lightning_interp.callbacks.early_stopping import NMFEarlyStopping
from lightning_interp.callbacks.filter_health import FilterHealthMonitor
from lightning_interp.callbacks.generalization import GeneralizationMonitor
from lightning_interp.callbacks.heatmap import HeatmapMonitor
from lightning_interp.callbacks.pseudo_label import PseudoLabelSelection

__all__ = [
    "ActivationMaximizationMonitor",
    "CompressionMonitor",
    "DeconvNetMonitor",
    "FilterHealthMonitor",
    "GeneralizationMonitor",
    "HeatmapMonitor",
    "NMFEarlyStopping",
    "NetworkDissectionMonitor",
    "PseudoLabelSelection",
]
