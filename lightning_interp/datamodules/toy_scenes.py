"""Datamodule of the toy scenes: generated, no files."""

from typing import Any

from lightning_interp._checks import check_int
from lightning_interp.datamodules.classification import ClassificationDataModule, Split
from lightning_interp.datasets.image_tensors import ImageTensors
from lightning_interp.datasets.toy_concepts import ToyConcepts
from lightning_interp.datasets.toy_scenes import ToyScenes


class ToyScenesDataModule(ClassificationDataModule):
    """``ToyScenes``, drawn once and kept in memory as bytes.

    Args:
        n_train: training images; validation images and the unlabelled pool are cut from them.
        n_test: test images.
        size: side, or height and width, in pixels.
        views: images of every object.
        seed: decides the world as well as everything else random.
        **options: of ``ClassificationDataModule``.

    Attributes:
        scenes: the two ``ToyScenes`` by split, with the truth of every image; ``train_dataset`` may be a part of it.

    Raises:
        ValueError: an option out of range.
        TypeError: an option of another type.

    >>> data = ToyScenesDataModule(n_train=120, n_test=60, label_noise=0.4)
    >>> data.setup()
    >>> images, labels = next(iter(data.train_dataloader()))
    >>> images.shape, data.n_classes, len(data.test_dataset)
    (torch.Size([100, 3, 32, 32]), 12, 60)
    """

    classes = tuple(ToyScenes.classes)

    def __init__(
        self,
        *,
        n_train: int = 2000,
        n_test: int = 1000,
        size: int | tuple[int, int] = 32,
        views: int = 2,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(seed=seed, **options)
        self.n_train = check_int(n_train, "n_train", "ToyScenesDataModule")
        self.n_test = check_int(n_test, "n_test", "ToyScenesDataModule")
        self.scenes = {
            "train": ToyScenes(n_train, size=size, seed=seed, views=views),
            "test": ToyScenes(n_test, size=size, seed=seed, views=views, split="test"),
        }

    def read(self, split: Split) -> ImageTensors:
        """Draw one split."""
        return ImageTensors(self.scenes[split].render(), self.scenes[split].targets)

    @property
    def concept_dataset(self) -> ToyConcepts:
        """The test images with every concept they show, normalised as in training; after ``setup``."""
        return ToyConcepts(self.scenes["test"], transform=self.normalize)
