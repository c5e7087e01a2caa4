"""What datamodules of retrieval share: a database to search in, and queries."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, get_args

from torch.utils.data import DataLoader

from lightning_interp._checks import check_choice
from lightning_interp.datamodules.seeded import SeededDataModule
from lightning_interp.datasets.image_tensors import Normalize
from lightning_interp.datasets.retrieval_images import (
    BoxUse,
    QueryImages,
    RetrievalImages,
    RetrievalQuery,
    collate_images,
    collate_queries,
)


def collate_retrieval(items: Sequence[Any]) -> Any:
    """Items of the database or of the queries, whichever they are."""
    return collate_queries(items) if len(items[0]) == 3 else collate_images(items)


class RetrievalDataModule(SeededDataModule):
    """A database and queries; a subclass says where they come from.

    There is nothing to train on. The loaders of ``test`` and ``predict`` are a list: first the database, in batches
    ``(images, indices)``, then the queries, in batches ``(images, boxes, indices)``. ``images`` is a list, since
    pictures keep their aspect ratio, with None in the place of pictures that cannot be decoded.

    Args:
        image_size: the smaller side is scaled to it; None leaves pictures as they are.
        box: ``"factors"`` gives the whole picture of a query, ``"crop"`` what lies inside of its box.
        mean: per channel, of pictures in [0, 1]; those of ImageNet.
        std: the same.
        batch_size: pictures per batch.
        num_workers: loader processes, for each of the two.
        seed: decides everything random.

    Attributes:
        normalize: the transform behind mean and std; ``normalize.invert`` undoes it for pictures.

    Raises:
        DatasetNotFoundError: files are missing or damaged.
        ValueError: an option out of range.
        TypeError: an option of another type.
    """

    collate = staticmethod(collate_retrieval)

    def __init__(
        self,
        *,
        image_size: int | None = 512,
        box: BoxUse = "factors",
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
        batch_size: int = 8,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers, seed=seed)
        self.box: Any = check_choice(box, "box", type(self).__name__, get_args(BoxUse))
        self.image_size, self.normalize = image_size, Normalize(mean, std)
        self._database: RetrievalImages | None = None

    @abstractmethod
    def read(self) -> RetrievalImages:
        """The database and its queries."""

    def setup(self, stage: str | None = None) -> None:
        """List pictures and read the ground truth, once."""
        if self._database is None:
            self._database = self.read()

    @property
    def database_dataset(self) -> RetrievalImages:
        """The pictures to search in, after ``setup``."""
        if self._database is None:
            raise RuntimeError(f"`{type(self).__name__}` has read no pictures yet. Call `setup` first.")
        return self._database

    @property
    def query_dataset(self) -> QueryImages:
        """The pictures to search for, after ``setup``."""
        return self.database_dataset.query_images(self.box)

    @property
    def queries(self) -> tuple[RetrievalQuery, ...]:
        """The queries and what is to be found for them, after ``setup``."""
        return self.database_dataset.queries

    @property
    def protocols(self) -> tuple[str, ...]:
        """Names that ``RetrievalQuery.relevance`` takes, after ``setup``."""
        return self.database_dataset.protocols

    def database_dataloader(self) -> DataLoader[Any]:
        """The pictures to search in, in order."""
        return self._loader(self.database_dataset)

    def query_dataloader(self) -> DataLoader[Any]:
        """The pictures to search for, in order."""
        return self._loader(self.query_dataset)

    def train_dataloader(self) -> DataLoader[Any]:
        """There is none.

        Raises:
            RuntimeError: always.
        """
        name = type(self).__name__
        raise RuntimeError(f"`{name}` has nothing to train on. Use it with `Trainer.test` or `.predict`.")

    def test_dataloader(self) -> Any:
        """The loaders of the database and of the queries."""
        return [self.database_dataloader(), self.query_dataloader()]

    def predict_dataloader(self) -> Any:
        """The same as for the test."""
        return self.test_dataloader()
