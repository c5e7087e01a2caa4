"""A run small enough to repeat often: a two-conv network with everything that a callback could disturb."""

import pytest
import torch
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import ConcatDataset, DataLoader, TensorDataset

from lightning_interp.datamodules import ClassificationDataModule
from lightning_interp.datasets.image_tensors import ImageTensors

N_CLASSES = 3


class Net(LightningModule):
    """Batch norm, dropout and in-place ReLU: buffers, random state and memory that must not change."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(8, N_CLASSES))

    def forward(self, x):
        return self.head(self.features(x).mean((2, 3)))

    def training_step(self, batch, batch_idx):
        loss = cross_entropy(self(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


def toy_dataset(n=60):
    """Three classes that differ in mean colour."""
    generator = torch.Generator().manual_seed(7)
    labels = torch.arange(n) % N_CLASSES
    images = torch.rand(n, 3, 8, 8, generator=generator)
    images[torch.arange(n), labels] += 0.5
    return TensorDataset(images, labels)


def toy_loader(n=60, **options):
    return DataLoader(toy_dataset(n), **{"batch_size": 10, "shuffle": True, **options})


class PoolData(LightningDataModule):
    """The least a datamodule must do to have a pool: plain tensors, nothing of this package."""

    def __init__(self, dataset=None, n_labeled=60, **options):
        super().__init__()
        images, labels = (dataset or toy_dataset(120)).tensors
        self.labeled_dataset = TensorDataset(images[:n_labeled], labels[:n_labeled])
        self.unlabeled_dataset = TensorDataset(images[n_labeled:], torch.arange(len(images) - n_labeled))
        self.unlabeled_dataset.true_targets = labels[n_labeled:]
        self.train_dataset = self.labeled_dataset
        self.options = {"batch_size": 10, "shuffle": True, **options}

    def set_pseudo_labels(self, indices, labels):
        chosen = TensorDataset(self.unlabeled_dataset.tensors[0][indices], labels)
        self.train_dataset = ConcatDataset([self.labeled_dataset, chosen])

    def train_dataloader(self):
        return DataLoader(self.train_dataset, **self.options)


class ColourData(ClassificationDataModule):
    """The same images through a datamodule of this package: shuffled by epoch, seen by running workers."""

    classes = ("red", "green", "blue")
    mean, std = (0.5,) * 3, (0.25,) * 3

    def __init__(self, **options):
        super().__init__(**{"labeled_size": 30, "batch_size": 10, **options})

    def read(self, split):
        images, labels = toy_dataset(90 if split == "train" else 30).tensors
        return ImageTensors((images * 170).byte(), labels)


SMALL = {"per_class": 5, "batches_per_class": 2, "ks": [1, 2, 4]}
QUIET = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}


def quiet_trainer(**options):
    return Trainer(**{**QUIET, "enable_checkpointing": False, "max_epochs": 2, **options})


@pytest.fixture
def tensorboard(tmp_path):
    return TensorBoardLogger(tmp_path, name="run")
