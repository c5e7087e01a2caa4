"""Datamodule of Fashion-MNIST."""

from pathlib import Path
from typing import Any

from lightning_interp.datamodules.classification import Split
from lightning_interp.datamodules.torchvision_files import TorchvisionDataModule


class FashionMNISTDataModule(TorchvisionDataModule):
    """Fashion-MNIST: 60000 + 10000 grey images of 28 x 28 pixels, 10 classes.

    Reads the uncompressed files in ``root/FashionMNIST/raw``; arguments as in ``TorchvisionDataModule`` and
    ``ClassificationDataModule``.

    Reference:
        Xiao et al., Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms, 2017.
    """

    classes = (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    )  # fmt: skip
    mean = (0.2860,)
    std = (0.3530,)

    def open(self, split: Split, *, download: bool) -> Any:
        """One split by torchvision."""
        from torchvision.datasets import FashionMNIST

        return FashionMNIST(self.root, train=split == "train", download=download)

    def files(self) -> list[tuple[Path, str | None]]:
        """Images and labels of both splits; torchvision knows checksums of the archives only."""
        from torchvision.datasets import FashionMNIST

        folder = self.root / "FashionMNIST" / "raw"
        return [(folder / name.removesuffix(".gz"), None) for name, _ in FashionMNIST.resources]
