"""What a network loses when units fall silent."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lightning_interp._checks import check_choice, check_int, message
from lightning_interp.functional.compression.sweep import class_scores
from lightning_interp.hooks import evaluating, observe, resume, select_layers
from lightning_interp.hooks.resume import ResumedForward

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Replacement", "UnitAblation", "ablate_units"]

Replacement: TypeAlias = Literal["zero", "mean"]
Units: TypeAlias = Sequence[int | Sequence[int]]


@dataclass(frozen=True)
class UnitAblation:
    """Accuracy per class with all units, and without some.

    Attributes:
        layer: Their layer.
        groups: The units silenced together, ``G`` groups.
        total: Images per class, ``(n_classes,)``.
        correct: Of these, classified correctly by the whole network, ``(n_classes,)``.
        correct_without: And without each group, ``(G, n_classes)``.
    """

    layer: str
    groups: tuple[tuple[int, ...], ...]
    total: Tensor
    correct: Tensor
    correct_without: Tensor

    @property
    def accuracy(self) -> Tensor:
        """Accuracy of the whole network per class, ``(n_classes,)``; NaN for classes without images."""
        return self.correct / self.total

    @property
    def accuracy_without(self) -> Tensor:
        """Accuracy without each group per class, ``(G, n_classes)``."""
        return self.correct_without / self.total

    @property
    def drop(self) -> Tensor:
        """By how much accuracy falls without each group per class, ``(G, n_classes)``; negative where it rises."""
        return self.accuracy - self.accuracy_without

    def to_dataframe(self) -> "pd.DataFrame":
        """A row per group and class: ``layer``, ``units``, ``class``, ``images``, ``before``, ``after``, ``drop``."""
        import pandas as pd  # here, because importing it takes a second

        n_classes = len(self.total)
        columns = {
            "layer": self.layer,
            "units": [" ".join(map(str, group)) for group in self.groups for _ in range(n_classes)],
            "class": list(range(n_classes)) * len(self.groups),
            "images": self.total.long().tolist() * len(self.groups),
            "before": self.accuracy.tolist() * len(self.groups),
            "after": self.accuracy_without.flatten().tolist(),
            "drop": self.drop.flatten().tolist(),
        }
        return pd.DataFrame(columns)

    def save(self, path: str | Path) -> None:
        """Write to a safetensors file."""
        tensors = {"total": self.total, "correct": self.correct, "correct_without": self.correct_without}
        meta = {"layer": self.layer, "groups": self.groups}
        save_file(tensors, path, metadata={"ablation": json.dumps(meta)})

    @classmethod
    def load(cls, path: str | Path) -> "UnitAblation":
        """Read what :meth:`save` wrote."""
        with safe_open(path, framework="pt") as file:
            meta = json.loads(file.metadata()["ablation"])
            tensors = {name: file.get_tensor(name) for name in ("total", "correct", "correct_without")}
        return cls(meta["layer"], tuple(map(tuple, meta["groups"])), **tensors)


def ablate_units(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    layer: str,
    units: Units | None = None,
    *,
    n_classes: int,
    value: Replacement = "zero",
) -> UnitAblation:
    """Silence units, one or some at a time, and measure the accuracy of every class without them.

    The network in front of the layer runs once per batch; what is behind it, once per group that is active anywhere in
    the batch.

    Args:
        model: A network that maps images to class scores ``(B, n_classes)``; it runs in eval mode and is left as it
            was.
        batches: Pairs of images ``(B, C, H, W)`` and labels ``(B,)``, on any device.
        layer: Name of one layer with an output ``(B, units, ...)``.
        units: Units to silence one by one, or groups of units to silence together; every single unit by default.
        n_classes: Number of classes.
        value: What a silent unit says: ``"zero"``, or the ``"mean"`` of its activations over all images and positions.
            The mean needs a pass of its own, so ``batches`` must be such that it can be gone through twice.

    Returns:
        Accuracies before and after.

    Raises:
        ValueError: An unknown unit, a label out of range, no images, or ``layer`` is not one layer.
        TypeError: An iterator over batches, with ``value="mean"``.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2, bias=False))
        >>> _ = net[0].weight.data.copy_(torch.eye(2))
        >>> images = torch.tensor([[0.0, 1.0], [0.0, 2.0], [1.0, 0.0]])
        >>> ablate_units(net, [(images, torch.tensor([1, 1, 0]))], "0", n_classes=2).drop.tolist()
        [[0.0, 0.0], [0.0, 1.0]]

    Reference:
        Zhou et al., Revisiting the importance of individual units in CNNs via ablation, 2018.
    """
    owner = "ablate_units"
    check_int(n_classes, "n_classes", owner)
    check_choice(value, "value", owner, get_args(Replacement))
    names = select_layers(model, layer)
    if len(names) != 1:
        raise ValueError(message("layer", owner, f"one layer; this matches {len(names)}", layer))
    parameter = next(model.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device
    means = _means(model, batches, names[0], device) if value == "mean" else None
    groups: tuple[tuple[int, ...], ...] = ()
    counts: Tensor | None = None
    for images, labels in batches:
        _check_labels(labels, n_classes)
        with resume(model, names[0], images.to(device)) as tail:
            groups = _groups(units, tail.activation.shape[1])
            more = _counts(tail, groups, means, labels.to(device), n_classes)
        counts = more if counts is None else counts + more
    if counts is None:
        raise ValueError(message("batches", owner, "at least one pair of images and labels", "none"))
    total, correct, *without = counts.cpu()
    return UnitAblation(names[0], groups, total, correct, torch.stack(without))


def _counts(
    tail: ResumedForward, groups: Sequence[tuple[int, ...]], means: Tensor | None, labels: Tensor, n_classes: int
) -> Tensor:
    """Images per class, correct ones, and correct ones without each group: ``(2 + G, n_classes)`` float64."""

    def correct(output: Any) -> Tensor:
        return torch.bincount(labels[class_scores(output).argmax(1) == labels], minlength=n_classes)

    rows = [torch.bincount(labels, minlength=n_classes), correct(tail.output)]
    activation = tail.activation.clone()
    for group in groups:
        own = activation[:, group].clone()
        silent = torch.zeros_like(own) if means is None else _as_units(means[list(group)], own)
        if torch.equal(own, silent):  # silent anyway
            rows.append(rows[1])
            continue
        activation[:, group] = silent
        rows.append(correct(tail(activation)))
        activation[:, group] = own
    return torch.stack(rows).double()


def _means(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], layer: str, device: torch.device) -> Tensor:
    """Mean activation of every unit, ``(units,)``."""
    if iter(batches) is batches:
        must = "a list or a loader, since the mean needs a pass of its own"
        raise TypeError(message("batches", "ablate_units", must, type(batches).__name__))
    total: Tensor | float = 0.0
    n_positions = 0

    def look(activation: Tensor) -> None:
        nonlocal total, n_positions
        units = activation.transpose(0, 1).flatten(1).double()
        total, n_positions = total + units.sum(1), n_positions + units.shape[1]

    with evaluating(model), observe(model, {layer: look}):
        for images, _ in batches:
            model(images.to(device))
    return torch.as_tensor(total) / max(n_positions, 1)


def _as_units(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like).view(1, -1, *[1] * (like.ndim - 2)).expand_as(like)


def _groups(units: Units | None, n_units: int) -> tuple[tuple[int, ...], ...]:
    wanted = range(n_units) if units is None else units
    groups = tuple((unit,) if isinstance(unit, int) else tuple(unit) for unit in wanted)
    for unit in (unit for group in groups for unit in group):
        check_int(unit, "units", "ablate_units", low=0, high=n_units - 1)
    if not groups or not all(groups):
        raise ValueError(message("units", "ablate_units", "units, or groups of at least one unit", units))
    return groups


def _check_labels(labels: Tensor, n_classes: int) -> None:
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < n_classes:
        got = [int(labels.min()), int(labels.max())]
        raise ValueError(message("batches", "ablate_units", f"of labels in [0, {n_classes - 1}]", got))
