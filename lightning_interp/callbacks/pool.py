"""The labelled part and the unlabelled pool of a datamodule, as pseudo-labelling needs them."""

import operator
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from lightning_interp._lightning import LightningModule, Trainer, rank_zero_info
from lightning_interp.callbacks.sampling import train_dataloader

__all__ = [
    "PoolDataModule",
    "check_pool",
    "overlap_with_labeled",
    "pool_data",
    "reloads_every_epoch",
    "shard_batches",
    "true_targets",
]


@runtime_checkable
class PoolDataModule(Protocol):
    """What a datamodule must offer for pseudo-labels.

    Attributes:
        labeled_dataset: Yields ``(x, label, ...)``; training never loses these.
        unlabeled_dataset: Yields ``(x, index, ...)`` with ``index`` counting from 0 in the pool. If it has
            ``true_targets``, purity is logged.
    """

    labeled_dataset: Any
    unlabeled_dataset: Any

    def set_pseudo_labels(self, indices: Any, labels: Any) -> None:
        """Train on the labelled part plus these images of the pool, maybe none, from the next epoch on."""


def check_pool(trainer: Trainer) -> PoolDataModule:
    """The Trainer's datamodule, if it offers a labelled part and a pool that yields indices.

    Raises:
        TypeError: It does not; the message says what is missing.
        ValueError: The pool is empty, or its items carry no index.
    """
    data: Any = trainer.datamodule  # type: ignore[attr-defined]  # set by a connector
    missing = [
        name for name in ("labeled_dataset", "unlabeled_dataset", "set_pseudo_labels") if not hasattr(data, name)
    ]
    if missing:
        kind = "none" if data is None else type(data).__name__
        raise TypeError(
            f"PseudoLabelSelection needs a datamodule with `labeled_dataset`, `unlabeled_dataset` and "
            f"`set_pseudo_labels`. Got {kind}, without {', '.join(missing)}. Pass one to `trainer.fit(datamodule=...)`."
        )
    pool = data.unlabeled_dataset
    if pool is None or len(pool) == 0:
        raise ValueError(
            f"The pool `unlabeled_dataset` of {type(data).__name__} must hold images. Got none. "
            "Pass `labeled_size`, smaller than the training set."
        )
    item = pool[0]
    if not (isinstance(item, tuple | list) and len(item) > 1 and _is_zero(item[1])):
        raise ValueError(
            "Items of `unlabeled_dataset` must be (x, index, ...), index an int counting from 0 in the pool. Got "
            f"{_kinds(item)} first. Wrap the images in `lightning_interp.datasets.UnlabeledPool`."
        )
    return data  # type: ignore[no-any-return]


def pool_data(trainer: Trainer) -> PoolDataModule:
    """The Trainer's datamodule, checked before; not kept, because whoever pickles a callback does not want it."""
    data: PoolDataModule = vars(trainer)["datamodule"]
    return data


def _is_zero(index: Any) -> bool:
    try:
        return operator.index(index) == 0
    except TypeError:
        return False


def _kinds(item: Any) -> str:
    parts = item if isinstance(item, tuple | list) else [item]
    return f"({', '.join(repr(part) if isinstance(part, int) else type(part).__name__ for part in parts)})"


def reloads_every_epoch(trainer: Trainer) -> bool:
    """Whether the Trainer makes new loaders every epoch; where it does not, what follows is told.

    Raises:
        ValueError: It does not, and there are several processes.
    """
    every_epoch = vars(trainer).get("reload_dataloaders_every_n_epochs") == 1
    if trainer.world_size > 1 and not every_epoch:
        raise ValueError(
            "With several processes PseudoLabelSelection needs new loaders every epoch: samplers split images among "
            "processes when they are made. Set `Trainer(reload_dataloaders_every_n_epochs=1)`."
        )
    if not every_epoch:
        rank_zero_info(
            "PseudoLabelSelection: epochs keep the number of batches of the labelled images, drawn from all. Set "
            "`Trainer(reload_dataloaders_every_n_epochs=1)` to let them grow."
        )
    return every_epoch


def true_targets(data: PoolDataModule) -> Tensor | None:
    """Hidden labels of the pool, ``(n,)``, where it knows them."""
    known = getattr(data.unlabeled_dataset, "true_targets", None)
    return None if known is None else torch.as_tensor(known)


def overlap_with_labeled(data: PoolDataModule) -> Tensor:
    """Positions in the pool of images that are in the labelled part too, where both tell which images they hold."""
    (source, labeled), (other, pool) = _source(data.labeled_dataset), _source(data.unlabeled_dataset)
    if source is not other or labeled is None or pool is None:
        return torch.zeros(0, dtype=torch.long)
    return torch.isin(pool, labeled).nonzero().flatten()


def _source(dataset: Any) -> tuple[Any, Tensor | None]:
    """The dataset underneath a subset, and which of its items."""
    indices = getattr(dataset, "indices", None)
    if indices is None or not hasattr(dataset, "dataset"):
        return dataset, torch.arange(len(dataset))
    return dataset.dataset, torch.as_tensor(indices, dtype=torch.long)


def shard_batches(
    dataset: Dataset[Any], positions: Sequence[int], trainer: Trainer, module: LightningModule
) -> Iterator[tuple[Any, Any]]:
    """``(images on the module's device in its precision, labels or indices)`` of some items, loaded as for training.

    Images of different sizes, as detectors take them, come one by one: a batch of them would be padded, and a score
    must not depend on what else is in the batch.
    """
    training = train_dataloader(trainer)
    loader: DataLoader[Any] = DataLoader(
        Subset(dataset, positions),
        batch_size=training.batch_size or 1,
        num_workers=training.num_workers,
        collate_fn=training.collate_fn,
    )
    for images, targets, *_ in loader:
        if isinstance(images, Tensor):
            yield trainer.precision_plugin.convert_input(images.to(module.device)), targets
            continue
        for image, target in zip(images, targets, strict=True):
            yield [trainer.precision_plugin.convert_input(image.to(module.device))], [target]
