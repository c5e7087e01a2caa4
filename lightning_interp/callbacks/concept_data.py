"""The concept dataset of a callback: where it comes from, each rank's share of it, and its images as pictures."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from lightning_interp._lightning import Trainer
from lightning_interp.functional.dissection import concept_batches
from lightning_interp.functional.dissection.passes import ConceptBatch

__all__ = ["concept_picture", "find_concepts", "shard_concepts"]


def find_concepts(given: Any, trainer: Trainer) -> Any:
    """A concept dataset: ``given`` itself, or the ``concept_dataset`` of an object, else of the Trainer's datamodule.

    A datamodule that is not the Trainer's is set up first.

    Raises:
        TypeError: There is none; the message says what to pass.
        ValueError: It is empty.
    """
    own: Any = trainer.datamodule  # type: ignore[attr-defined]  # set by a connector
    source = own if given is None else given
    if source is not own and hasattr(source, "prepare_data") and hasattr(source, "setup"):
        if trainer.local_rank == 0:
            source.prepare_data()
        trainer.strategy.barrier()
        source.setup("fit")
    dataset = getattr(source, "concept_dataset", source)
    if not (hasattr(dataset, "concepts") and hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
        raise TypeError(
            "NetworkDissectionMonitor needs a concept dataset: yielding (image, {category: target}), with names in "
            f"`concepts[category]`. Got {type(dataset).__name__}. Pass one, such as "
            "`lightning_interp.datasets.ToyConcepts`, or a datamodule with `concept_dataset`."
        )
    if len(dataset) == 0:
        raise ValueError("The concept dataset of NetworkDissectionMonitor must hold images. Got none.")
    return dataset


def shard_concepts(
    dataset: Dataset[Any], positions: Sequence[int], *, batch_size: int, num_workers: int = 0
) -> Iterator[ConceptBatch]:
    """Positions, images of one size ``(B, C, H, W)`` and targets of some items, in order.

    Args:
        dataset: A concept dataset.
        positions: Which items.
        batch_size: Images of a batch.
        num_workers: Processes that load images.
    """
    # A generator of its own: a loader without one draws from the global one, even to load in order.
    loader: DataLoader[Any] = DataLoader(
        Subset(dataset, positions), batch_size, num_workers=num_workers, collate_fn=list, generator=torch.Generator()
    )
    where = torch.tensor(positions, dtype=torch.long)
    for rows, images, targets in concept_batches(loader, torch.device("cpu")):
        yield where[rows], images, targets


def concept_picture(image: Tensor, *sources: Any) -> Tensor:
    """An image as it was before normalisation, where one of ``sources`` knows how, else as it is.

    Args:
        image: ``(C, H, W)``.
        sources: Datasets and datamodules; their ``normalize`` or ``transform`` with an ``invert`` is used.
    """
    steps = (getattr(source, name, None) for source in sources for name in ("normalize", "transform"))
    invert = next((step.invert for step in steps if step is not None and hasattr(step, "invert")), None)
    return image if invert is None else invert(image).clamp(0, 1)
