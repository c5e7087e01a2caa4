"""What a class usually activates: the mean of every unit over the images of the class, and the mask it gives."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lightning_interp._checks import check_choice, check_int, message
from lightning_interp.functional.selection._readout import Batches, Images, Spatial, image_batches, reading
from lightning_interp.hooks import LayerSpec, evaluating, select_layers

__all__ = ["ActivationMask", "ClassStatistics", "Norm", "Spatial", "batch_statistics", "class_statistics", "half_norm"]

Norm: TypeAlias = Literal["linf", "l1", "l2"]


@dataclass(frozen=True)
class ActivationMask:
    """The units of one layer that the images of each class usually activate.

    Attributes:
        thresholds: ``(C,)``, half of the norm of the class's mean activation.
        units: ``(C, D)`` bool, where the mean reaches the threshold; all False where that is not positive: a dead
            layer, or a class without images.
    """

    thresholds: Tensor
    units: Tensor


@dataclass(frozen=True)
class ClassStatistics:
    """Activations summed per class; statistics of disjoint sets of images add up to those of their union.

    Attributes:
        layers: Layer names, in network order.
        sums: For each layer ``(C, D)``, float64: sums of numbers in float32 are then the same in any order.
        counts: Images per class, ``(C,)``.
        spatial: How the positions of feature maps were treated.
    """

    layers: tuple[str, ...]
    sums: tuple[Tensor, ...]
    counts: Tensor
    spatial: Spatial = "none"

    def __add__(self, other: "ClassStatistics") -> "ClassStatistics":
        if (self.layers, self.spatial) != (other.layers, other.spatial):
            both = f"{self.layers[:3]}... {self.spatial!r} and {other.layers[:3]}... {other.spatial!r}"
            raise ValueError(f"Statistics must be of the same layers and `spatial` to be added. Got {both}.")
        for name, a, b in zip(self.layers, self.sums, other.sums, strict=True):
            if a.shape != b.shape:
                raise ValueError(
                    "Statistics must be of the same classes, and of images of the same size, to be added; for other "
                    f"sizes take `spatial='mean'`. Got {tuple(a.shape)} and {tuple(b.shape)} in layer {name!r}."
                )
        sums = tuple(a + b for a, b in zip(self.sums, other.sums, strict=True))
        return ClassStatistics(self.layers, sums, self.counts + other.counts, self.spatial)

    @property
    def n_classes(self) -> int:
        """Number of classes, those without images included."""
        return len(self.counts)

    @property
    def means(self) -> tuple[Tensor, ...]:
        """Mean activation of every unit by class, ``(C, D)`` for each layer; 0 for a class without images."""
        return tuple(total / self.counts.clamp(min=1)[:, None] for total in self.sums)

    def masks(self, norm: Norm = "linf") -> tuple[ActivationMask, ...]:
        """The masks ``M^l`` of every layer.

        Args:
            norm: Of the mean activation: ``"linf"`` its largest value, ``"l1"`` the mean of its absolute values,
                ``"l2"`` its root mean square. The threshold is half of it.
        """
        check_choice(norm, "norm", "image_scores", ("linf", "l1", "l2"))
        return tuple(_mask(mean, norm) for mean in self.means)

    @property
    def dead(self) -> tuple[str, ...]:
        """Layers that no class activates: they say nothing and are skipped."""
        return tuple(name for name, mean in zip(self.layers, self.means, strict=True) if not (mean > 0).any())

    def to(self, device: torch.device | str) -> "ClassStatistics":
        """The same on another device."""
        return replace(self, sums=tuple(total.to(device) for total in self.sums), counts=self.counts.to(device))

    def save(self, path: str | Path) -> None:
        """Write to a safetensors file."""
        meta = json.dumps({"layers": self.layers, "spatial": self.spatial})
        tensors = {f"sums/{i}": total.contiguous() for i, total in enumerate(self.sums)}
        save_file({**tensors, "counts": self.counts}, path, metadata={"statistics": meta})

    @classmethod
    def load(cls, path: str | Path) -> "ClassStatistics":
        """Read what :meth:`save` wrote."""
        with safe_open(path, framework="pt") as file:
            meta = json.loads(file.metadata()["statistics"])
            sums = tuple(file.get_tensor(f"sums/{i}") for i in range(len(meta["layers"])))
            return cls(tuple(meta["layers"]), sums, file.get_tensor("counts"), meta["spatial"])


def class_statistics(
    model: nn.Module,
    batches: Batches,
    *,
    n_classes: int,
    labels: Tensor | None = None,
    layers: LayerSpec = "composites",
    spatial: Spatial = "none",
    batch_size: int = 100,
) -> ClassStatistics:
    """Sum the activations of labelled images by class, batch by batch, in eval mode.

    Args:
        model: Any network.
        batches: Batches ``(images (B, C, H, W), labels (B,), ...)``, or all images as a tensor with ``labels``.
        n_classes: Number of classes. With 1 the mask is that of the whole dataset, and no labels are needed.
        labels: ``(n,)``, of images given as a tensor.
        layers: See :func:`lightning_interp.hooks.select_layers`; by default each convolution and linear layer after
            its norm, activation and pooling.
        spatial: ``"none"`` takes every position of a feature map as a unit; ``"mean"`` and ``"max"`` one number per
            channel: for large images, and for images of different sizes.
        batch_size: Images per batch, for images given as a tensor.

    Returns:
        The statistics, ``8 * C * D`` bytes per layer.

    Raises:
        ValueError: No images, a label out of range, images of different sizes with ``spatial="none"``, or a layer that
            does not return one row per image.
        TypeError: Images without labels.

    Example:
        >>> from lightning_interp.models import CIFAR10CNN
        >>> images, labels = torch.rand(6, 3, 32, 32), torch.tensor([0, 0, 1, 1, 1, 2])
        >>> statistics = class_statistics(CIFAR10CNN(width=4), images, labels=labels, n_classes=10)
        >>> statistics.counts.tolist()
        [2, 3, 1, 0, 0, 0, 0, 0, 0, 0]

    Reference:
        Image-score paper, section 2.2.
    """
    owner = "class_statistics"
    check_int(n_classes, "n_classes", owner)
    found = image_batches(model, batches, batch_size, owner, labels=labels)
    first = next(found, None)
    if first is None:
        raise ValueError(message("batches", owner, "at least one image with its label", "none"))
    example = first[0] if isinstance(first[0], Tensor) else (first[0],)  # a list of images is one argument
    names = tuple(select_layers(model, layers, example_input=example))
    return reduce(
        lambda total, more: total + more,
        (
            batch_statistics(
                *(model, images, _given(rest, len(images), n_classes)),
                n_classes=n_classes,
                layers=names,
                spatial=spatial,
            )
            for images, rest in chain([first], found)
        ),
    )


def batch_statistics(
    model: nn.Module, images: Images, labels: Tensor, *, n_classes: int, layers: tuple[str, ...], spatial: Spatial
) -> ClassStatistics:
    """The statistics of one batch of images ``(B, C, H, W)`` on the model's device with labels ``(B,)``."""
    check_choice(spatial, "spatial", "class_statistics", ("none", "mean", "max"))
    labels = torch.as_tensor(labels, device=images[0].device)
    if labels.shape != (len(images),):
        raise ValueError(message("labels", "class_statistics", f"one label for each of {len(images)} images", labels))
    if not (labels.min() >= 0 and labels.max() < n_classes):
        must = f"labels in [0, {n_classes - 1}]"
        raise ValueError(message("labels", "class_statistics", must, labels.unique().tolist()))
    members = [(labels == c).nonzero().flatten() for c in range(n_classes)]
    sums: dict[int, Tensor] = {}

    def read(i: int, activation: Tensor) -> None:
        parts = [activation[rows].sum(0, dtype=torch.float64).flatten() for rows in members]
        sums[i] = torch.stack(parts)

    with evaluating(model), reading(model, layers, spatial, read, n_images=len(images)):
        model(images)
    counts = torch.bincount(labels, minlength=n_classes)
    return ClassStatistics(layers, tuple(sums[i] for i in range(len(layers))), counts, spatial)


def _given(rest: Sequence[Any], n_images: int, n_classes: int) -> Any:
    """The labels that came with images; the whole dataset is class 0."""
    if n_classes == 1:
        return torch.zeros(n_images, dtype=torch.long)
    if not rest:
        raise TypeError(message("labels", "class_statistics", "given, or come with every batch of images", None))
    return rest[0]


def _mask(mean: Tensor, norm: Norm) -> ActivationMask:
    thresholds = half_norm(mean, norm)
    return ActivationMask(thresholds, (mean >= thresholds[:, None]) & (thresholds > 0)[:, None])


def half_norm(activation: Tensor, norm: Norm) -> Tensor:
    """The threshold of each row of ``(n, D)``: half of its norm; L1 and L2 are means over the units."""
    if norm == "linf":
        return activation.amax(1) / 2
    order, size = (1, activation.shape[1]) if norm == "l1" else (2, activation.shape[1] ** 0.5)
    wide = torch.promote_types(activation.dtype, torch.float32)  # squares overflow half precision
    norms: Tensor = torch.linalg.vector_norm(activation, order, dim=1, dtype=wide)
    return norms / (2 * size)
