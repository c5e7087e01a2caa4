"""Datasets that torchvision lacks, toy scenes, and views for label noise and pseudo-labels."""

from lightning_interp.datasets.detection_pool import GrowingDetection
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
from lightning_interp.datasets.voc_detection import VOCDetection
from lightning_interp.datasets.voc_files import VOC_CLASSES

__all__ = [
    "VOC_CLASSES",
    "FolderImages",
    "GrowingDataset",
    "GrowingDetection",
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
    "VOCDetection",
    "balanced_indices",
    "mel_filterbank",
    "noisy_labels",
]
