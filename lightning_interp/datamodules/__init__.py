"""Datamodules: splits, label noise, pseudo-label pools and loaders, one module per dataset."""

from lightning_interp.datamodules.broden import BrodenDataModule
from lightning_interp.datamodules.cifar10 import CIFAR10DataModule
from lightning_interp.datamodules.classification import ClassificationDataModule
from lightning_interp.datamodules.concepts import ConceptDataModule
from lightning_interp.datamodules.fashion_mnist import FashionMNISTDataModule
from lightning_interp.datamodules.icoseg import ICosegDataModule
from lightning_interp.datamodules.image_folder import ImageFolderDataModule
from lightning_interp.datamodules.imagenet import ImageNetDataModule
from lightning_interp.datamodules.oxford_paris import OxfordParisDataModule
from lightning_interp.datamodules.pascal_part import PascalPartDataModule
from lightning_interp.datamodules.retrieval import RetrievalDataModule
from lightning_interp.datamodules.svhn import SVHNDataModule
from lightning_interp.datamodules.toy_scenes import ToyScenesDataModule
from lightning_interp.datamodules.urban_sound8k import UrbanSound8KDataModule
from lightning_interp.datamodules.voc_detection import VOCDetectionDataModule
from lightning_interp.datamodules.voc_retrieval import VOCRetrievalDataModule
from lightning_interp.datamodules.voc_segmentation import VOCSegmentationDataModule

__all__ = [
    "BrodenDataModule",
    "CIFAR10DataModule",
    "ClassificationDataModule",
    "ConceptDataModule",
    "FashionMNISTDataModule",
    "ICosegDataModule",
    "ImageFolderDataModule",
    "ImageNetDataModule",
    "OxfordParisDataModule",
    "PascalPartDataModule",
    "RetrievalDataModule",
    "SVHNDataModule",
    "ToyScenesDataModule",
    "UrbanSound8KDataModule",
    "VOCDetectionDataModule",
    "VOCRetrievalDataModule",
    "VOCSegmentationDataModule",
]
