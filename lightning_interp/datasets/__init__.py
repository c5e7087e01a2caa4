"""Datasets that torchvision lacks, toy scenes, and views for label noise and pseudo-labels."""

from lightning_interp.datasets.folder_images import FolderImages
from lightning_interp.datasets.image_tensors import ImageTensors, Normalize
from lightning_interp.datasets.label_noise import noisy_labels
from lightning_interp.datasets.pools import GrowingDataset, UnlabeledPool
from lightning_interp.datasets.subsets import LabeledSubset, balanced_indices
from lightning_interp.datasets.toy_concepts import ToyConcepts
from lightning_interp.datasets.toy_scenes import SceneTruth, ToyScenes

__all__ = [
    "FolderImages",
    "GrowingDataset",
    "ImageTensors",
    "LabeledSubset",
    "Normalize",
    "SceneTruth",
    "ToyConcepts",
    "ToyScenes",
    "UnlabeledPool",
    "balanced_indices",
    "noisy_labels",
]
