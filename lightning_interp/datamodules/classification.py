"""The base of all image classification datamodules: splits, label noise, the pseudo-label pool, loaders."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from lightning_interp._checks import check_choice, check_int, check_number, message
from lightning_interp.datamodules.augment import random_crop_flip
from lightning_interp.datamodules.seeded import SeededDataModule
from lightning_interp.datasets.image_tensors import Normalize
from lightning_interp.datasets.label_noise import noisy_labels
from lightning_interp.datasets.pools import GrowingDataset, UnlabeledPool
from lightning_interp.datasets.subsets import LabeledSubset, balanced_indices, fetch

Split = Literal["train", "test"]
Amount = int | float | None


class ClassificationDataModule(SeededDataModule):
    """Images and labels, cut and loaded the same way for every dataset.

    A subclass says where the images come from (``read``) and, where they are known, ``classes``, ``mean`` and ``std``.
    Everything random follows from ``seed``: the same seed and options give the same subset, noise and order on every
    rank and after a resume, and the global random state is left alone.

    *Pseudo-labels.* With ``labeled_size`` the training part is cut into ``labeled_dataset`` and ``unlabeled_dataset``
    (yields ``(x, index)``; the truth is in its ``true_targets``). ``set_pseudo_labels(indices, labels)`` between epochs
    makes ``train_dataset`` the labelled images plus those; it changes in place, seen by running loader workers too. A
    Trainer counts the batches of an epoch once: epochs keep that number of batches, each a fresh random part of the
    grown set, unless ``Trainer(reload_dataloaders_every_n_epochs=1)`` lets them grow with it. DDP needs that option.

    Args:
        batch_size: images per batch.
        num_workers: loader processes; images held in memory are fastest with 0.
        train_size: training images to use, a number or a fraction, equally many per class; all when None.
        val_size: training images to hold out for validation; 0, none, is the default: runs here stop by themselves.
            They carry the noise too, as held-out labels of a noisy source would.
        labeled_size: training images that keep their label, equally many per class; all when None.
        label_noise: probability that a training label is replaced. An image has the same noisy label whatever the
            sizes are, and the labels replaced at 0.2 are replaced at 0.4 too.
        noise_kind: ``"uniform"`` among all classes (the thesis), or a ``"different"`` class.
        augment: random shifts by an eighth of the side and mirroring, of training batches in a Trainer, on the device.
        seed: decides everything random.

    Attributes:
        classes: names, in the order of the labels.
        mean: per channel, of images in [0, 1]; estimated from training images where the dataset has no constants.
        std: the same.
        normalize: the transform behind mean and std; ``normalize.invert`` undoes it for pictures.
        train_dataset: yields ``(x, label)``; ``.targets`` are the given labels, ``.true_targets`` the true ones.
        val_dataset: the held-out part, or None.
        test_dataset: ``.targets`` are true.
        labeled_dataset: the part of the training images with labels.
        unlabeled_dataset: the pool, or None.

    Raises:
        ValueError: an option out of range.
        TypeError: an option of another type.

    Reference:
        Thesis, section 3.5.2 (label randomisation); the image-score paper (labelled part and pool).
    """

    classes: Sequence[str] = ()
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None

    def __init__(
        self,
        *,
        batch_size: int = 100,
        num_workers: int = 0,
        train_size: Amount = None,
        val_size: int | float = 0,
        labeled_size: Amount = None,
        label_noise: float = 0.0,
        noise_kind: Literal["uniform", "different"] = "uniform",
        augment: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers, seed=seed)
        owner = type(self).__name__
        self.label_noise = check_number(label_noise, "label_noise", owner, high=1.0)
        self.noise_kind: Any = check_choice(noise_kind, "noise_kind", owner, ("uniform", "different"))
        self.train_size, self.val_size, self.labeled_size, self.augment = train_size, val_size, labeled_size, augment
        self.val_dataset: LabeledSubset | None = None
        self.unlabeled_dataset: UnlabeledPool | None = None
        self.train_dataset: LabeledSubset | GrowingDataset

    @abstractmethod
    def read(self, split: Split) -> Any:
        """A dataset of one split that yields ``(x, label)``, with ``.targets`` and a settable ``.transform``."""

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    def setup(self, stage: str | None = None) -> None:
        """Read, split and relabel, once; all stages at the same time, because callbacks look across them."""
        if hasattr(self, "test_dataset"):
            return
        train, test = self.read("train"), self.read("test")
        mean, std = (self.mean, self.std) if self.mean and self.std else _moments(train)
        self.mean, self.std, self.normalize = mean, std, Normalize(mean, std)
        train.transform = test.transform = self.normalize
        self._split(train)
        self.test_dataset = LabeledSubset(test)

    def _split(self, train: Any) -> None:
        owner, true = type(self).__name__, torch.as_tensor(train.targets)
        given = noisy_labels(
            true, self.label_noise, n_classes=self.n_classes, kind=self.noise_kind, generator=self._generator(0)
        )
        kept = torch.arange(len(true))
        n_val = _amount(self.val_size, "val_size", owner, low=int(bool(self.val_size)), high=len(kept) - 1)
        held_out, kept = self._draw(true, kept, n_val, stream=1)
        n_train = _amount(self.train_size, "train_size", owner, low=1, high=len(kept))
        kept, _ = self._draw(true, kept, n_train, stream=2)
        n_labeled = _amount(self.labeled_size, "labeled_size", owner, low=1, high=len(kept))
        labeled, pool = self._draw(true, kept, n_labeled, stream=3)
        self.val_dataset = LabeledSubset(train, targets=given[held_out], indices=held_out) if n_val else None
        self.labeled_dataset = LabeledSubset(train, targets=given[labeled], indices=labeled)
        self.train_dataset = self.labeled_dataset
        if self.labeled_size is not None:
            self.unlabeled_dataset = UnlabeledPool(train, indices=pool)
            self.train_dataset = GrowingDataset(self.labeled_dataset, self.unlabeled_dataset)

    def _draw(self, labels: Tensor, rows: Tensor, size: int, *, stream: int) -> tuple[Tensor, Tensor]:
        """``size`` of ``rows``, balanced, and the others."""
        chosen = torch.zeros(len(rows), dtype=torch.bool)
        chosen[balanced_indices(labels[rows], size, generator=self._generator(stream))] = True
        return rows[chosen], rows[~chosen]

    def set_pseudo_labels(self, indices: Tensor | Sequence[int], labels: Tensor | Sequence[int]) -> None:
        """Train on the labelled images plus these of the pool from the next epoch on; replaces earlier pseudo-labels.

        Args:
            indices: positions in ``unlabeled_dataset``, ``(m,)``.
            labels: their labels, ``(m,)``.

        Raises:
            RuntimeError: there is no pool.
            ValueError: an index or label is out of range, or an index comes twice.
        """
        grown = getattr(self, "train_dataset", None)
        if not isinstance(grown, GrowingDataset):
            raise RuntimeError(
                f"`{type(self).__name__}` has no pool to take images from. Pass `labeled_size`, and call `setup` before"
                " `set_pseudo_labels`."
            )
        given = torch.as_tensor(labels, dtype=torch.long)
        if len(given) and not (given.min() >= 0 and given.max() < self.n_classes):
            must = f"in [0, {self.n_classes - 1}]"
            raise ValueError(message("labels", "set_pseudo_labels", must, given.tolist()))
        grown.set_pseudo_labels(indices, given)

    @property
    def val_dataloader(self) -> Callable[[], Any]:
        """The held-out part in order; with ``val_size=0`` Lightning's own stub, so that no validation loop is run."""
        # a loader of nothing would do, but the Trainer warns of it
        return super().val_dataloader if not self.val_size else lambda: self._loader(self.val_dataset)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Augment training batches, by step: the same after a resume."""
        generator = self._step_generator()
        if not self.augment or generator is None:
            return batch
        images, *rest = batch
        padding = max(1, min(images.shape[-2:]) // 8)
        return [random_crop_flip(images, padding=padding, generator=generator), *rest]


def _amount(value: Amount, parameter: str, owner: str, *, low: int, high: int) -> int:
    """A number of images: an int counts them, a float is a fraction of ``high``, None is all."""
    if value is None:
        return high
    if isinstance(value, float) and value > 1 and value.is_integer():
        value = int(value)  # a command line may have read the number of images as a float
    if isinstance(value, float):
        value = round(check_number(value, parameter, owner, high=1.0) * high)
    return check_int(value, parameter, owner, low=low, high=high)


def _moments(dataset: Any) -> tuple[list[float], list[float]]:
    """Mean and deviation per channel over at most 1000 evenly spaced images; a constant channel is not divided."""
    rows = torch.linspace(0, len(dataset) - 1, min(len(dataset), 1000)).long().tolist()
    pixels = torch.stack([item[0] for item in fetch(dataset, rows)]).double().transpose(0, 1).flatten(1)
    std = pixels.std(1)
    return pixels.mean(1).tolist(), torch.where(std > 0, std, 1.0).tolist()
