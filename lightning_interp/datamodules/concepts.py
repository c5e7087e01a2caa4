"""What the datamodules of concept datasets share: splits and loaders."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch.utils.data import DataLoader

from lightning_interp._checks import check_choice
from lightning_interp.datamodules.seeded import SeededDataModule
from lightning_interp.datasets.concepts import ConceptDataset, collate_concepts

ConceptSplit = Literal["train", "val", "test"]


class ConceptDataModule(SeededDataModule):
    """Pictures with concepts, loaded the same way for every dataset; a subclass says where they come from (``read``).

    Batches are ``(images, targets)``: the images in one tensor when they have one size, else in a list, and a list of
    dicts. Dissection takes a dataset, ``data.val_dataset``, rather than a loader.

    Args:
        batch_size: pictures per batch.
        num_workers: loader processes.
        test_split: what to test on: most of these datasets have no ``"test"`` with annotations.
        seed: decides the order of the training pictures.

    Attributes:
        train_dataset: yields ``(image, {category: target})``.
        val_dataset: the same, for concepts that are held out.
        test_dataset: the same, or the validation pictures again.

    Raises:
        ValueError: an option out of range.
        TypeError: an option of another type.
    """

    def __init__(
        self,
        *,
        batch_size: int = 32,
        num_workers: int = 0,
        test_split: Literal["val", "test"] = "val",
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers, seed=seed)
        self.test_split = check_choice(test_split, "test_split", type(self).__name__, ("val", "test"))
        self.train_dataset: ConceptDataset
        self.val_dataset: ConceptDataset
        self.test_dataset: ConceptDataset

    collate = staticmethod(collate_concepts)

    @abstractmethod
    def read(self, split: ConceptSplit) -> ConceptDataset:
        """The dataset of one split."""

    @property
    def concept_dataset(self) -> ConceptDataset:
        """What a dissection looks at: the validation pictures, after ``setup``."""
        return self.val_dataset

    @property
    def concepts(self) -> Mapping[str, Sequence[str]]:
        """Names of the concepts by category, after ``setup``."""
        return self.train_dataset.concepts

    def setup(self, stage: str | None = None) -> None:
        """Read the lists, once; all stages at the same time, because callbacks look across them."""
        if hasattr(self, "test_dataset"):
            return
        self.train_dataset, self.val_dataset = self.read("train"), self.read("val")
        self.test_dataset = self.val_dataset if self.test_split == "val" else self.read("test")

    def val_dataloader(self) -> DataLoader[Any]:
        """The validation pictures in order."""
        return self._loader(self.val_dataset)
