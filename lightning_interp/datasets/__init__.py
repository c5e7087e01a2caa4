"""Datasets that torchvision lacks, toy scenes, and views for label noise and pseudo-labels."""

from lightning_interp.datasets.broden import Broden
from lightning_interp.datasets.concept_view import (
    ConceptView,
    concepts_from_boxes,
    concepts_from_labels,
    concepts_from_segmenter,
)
from lightning_interp.datasets.concepts import ConceptDataset, collate_concepts, stack_masks
from lightning_interp.datasets.detection_pool import GrowingDetection
from lightning_interp.datasets.folder_images import FolderImages
from lightning_interp.datasets.icoseg import ICoseg
from lightning_interp.datasets.image_tensors import ImageTensors, Normalize
from lightning_interp.datasets.imagenet import ImageNetImages
from lightning_interp.datasets.label_noise import noisy_labels
from lightning_interp.datasets.log_mel import LogMel, mel_filterbank
from lightning_interp.datasets.oxford_paris import OxfordParis
from lightning_interp.datasets.pascal_part import PascalPart
from lightning_interp.datasets.pools import GrowingDataset, UnlabeledPool
from lightning_interp.datasets.retrieval_images import RetrievalImages, RetrievalQuery, collate_images, collate_queries
from lightning_interp.datasets.subsets import LabeledSubset, balanced_indices
from lightning_interp.datasets.toy_concepts import ToyConcepts
from lightning_interp.datasets.toy_scenes import SceneTruth, ToyScenes
from lightning_interp.datasets.urban_sound import UrbanSound8K
from lightning_interp.datasets.voc_detection import VOCDetection
from lightning_interp.datasets.voc_files import VOC_CLASSES
from lightning_interp.datasets.voc_retrieval import VOCRetrieval
from lightning_interp.datasets.voc_segmentation import VOCSegmentation

__all__ = [
    "VOC_CLASSES",
    "Broden",
    "ConceptDataset",
    "ConceptView",
    "FolderImages",
    "GrowingDataset",
    "GrowingDetection",
    "ICoseg",
    "ImageNetImages",
    "ImageTensors",
    "LabeledSubset",
    "LogMel",
    "Normalize",
    "OxfordParis",
    "PascalPart",
    "RetrievalImages",
    "RetrievalQuery",
    "SceneTruth",
    "ToyConcepts",
    "ToyScenes",
    "UnlabeledPool",
    "UrbanSound8K",
    "VOCDetection",
    "VOCRetrieval",
    "VOCSegmentation",
    "balanced_indices",
    "collate_concepts",
    "collate_images",
    "collate_queries",
    "concepts_from_boxes",
    "concepts_from_labels",
    "concepts_from_segmenter",
    "mel_filterbank",
    "noisy_labels",
    "stack_masks",
]
