"""Datasets that torchvision lacks, toy scenes, and views for label noise and pseudo-labels."""

from lightning_interp.datasets.folder_images import FolderImages
from lightning_interp.datasets.image_tensors import ImageTensors, Normalize
from lightning_interp.datasets.imagenet import ImageNetImages
from lightning_interp.datasets.label_noise import noisy_labels
from lightning_interp.datasets.log_mel import LogMel, mel_filterbank
from lightning_interp.datasets.pools import GrowingDataset, UnlabeledPool
from lightning_interp.datasets.subsets import LabeledSubset, balanced_indices
from lightning_interp.datasets.toy_concepts import ToyConcepts
from lightning_interp.datasets.toy_scenes import SceneTruth, ToyScenes
from lightning_interp.datasets.urban_sound import UrbanSound8K

__all__ = [
    "FolderImages",
    "GrowingDataset",
    "ImageNetImages",
    "ImageTensors",
    "LabeledSubset",
    "LogMel",
    "Normalize",
    "SceneTruth",
    "ToyConcepts",
    "ToyScenes",
    "UnlabeledPool",
    "UrbanSound8K",
    "balanced_indices",
    "mel_filterbank",
    "noisy_labels",
]
