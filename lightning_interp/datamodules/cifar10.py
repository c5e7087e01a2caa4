"""Datamodule of CIFAR-10."""

from pathlib import Path
from typing import Any

from lightning_interp.datamodules.classification import Split
from lightning_interp.datamodules.torchvision_files import TorchvisionDataModule


class CIFAR10DataModule(TorchvisionDataModule):
    """CIFAR-10: 50000 + 10000 colour images of 32 x 32 pixels, 10 classes.

    Reads the python version, ``root/cifar-10-batches-py``; arguments as in ``TorchvisionDataModule`` and
    ``ClassificationDataModule``.

    Reference:
        Krizhevsky, Learning multiple layers of features from tiny images, 2009.
    """

    classes = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    mean = (0.4914, 0.4822, 0.4465)
    std = (0.2470, 0.2435, 0.2616)
    channels_last = True

    def open(self, split: Split, *, download: bool) -> Any:
        """One split by torchvision."""
        from torchvision.datasets import CIFAR10

        return CIFAR10(self.root, train=split == "train", download=download)

    def files(self) -> list[tuple[Path, str | None]]:
        """The six batches and the class names."""
        from torchvision.datasets import CIFAR10

        meta = (CIFAR10.meta["filename"], CIFAR10.meta["md5"])
        folder = self.root / CIFAR10.base_folder
        return [(folder / name, md5) for name, md5 in (*CIFAR10.train_list, *CIFAR10.test_list, meta)]
