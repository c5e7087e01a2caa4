"""Datamodule of SVHN."""

from pathlib import Path
from typing import Any

from lightning_interp.datamodules.classification import Split
from lightning_interp.datamodules.torchvision_files import TorchvisionDataModule


class SVHNDataModule(TorchvisionDataModule):
    """Street view house numbers, format 2: 73257 + 26032 colour images of 32 x 32 pixels, 10 digits.

    Reads ``root/train_32x32.mat`` and ``root/test_32x32.mat``; the digit 0 is class 0; arguments as in
    ``TorchvisionDataModule`` and ``ClassificationDataModule``. Non-commercial use only.

    Reference:
        Netzer et al., Reading digits in natural images with unsupervised feature learning, 2011.
    """

    classes = tuple("0123456789")
    mean = (0.4377, 0.4438, 0.4728)
    std = (0.1980, 0.2010, 0.1970)

    def open(self, split: Split, *, download: bool) -> Any:
        """One split by torchvision."""
        from torchvision.datasets import SVHN

        return SVHN(self.root, split=split, download=download)

    def files(self) -> list[tuple[Path, str | None]]:
        """One file per split."""
        from torchvision.datasets import SVHN

        return [(self.root / name, md5) for _, name, md5 in (SVHN.split_list["train"], SVHN.split_list["test"])]
