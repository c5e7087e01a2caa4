"""Image score: how much of what a class usually activates an image activates too, layer by layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from lightning_interp._checks import check_choice, message
from lightning_interp.functional.compression import class_scores
from lightning_interp.functional.selection._readout import Batches, Images, image_batches, model_device, reading
from lightning_interp.functional.selection.statistics import ActivationMask, ClassStatistics, Norm, half_norm
from lightning_interp.hooks import evaluating

if TYPE_CHECKING:
    import pandas as pd

Threshold: TypeAlias = Literal["class_mean", "per_image"]

__all__ = [
    "ImageScores",
    "LayerScore",
    "ScoreOptions",
    "Threshold",
    "image_scores",
    "join_scores",
    "layer_scores",
    "score_batch",
]

# Added to the units counted above and below, so that no overlap at all costs log(1 + size of the mask), not infinity.
_FLOOR = 1.0


@dataclass(frozen=True)
class ImageScores:
    """Images with the class a network gives them and a number that ranks them.

    Attributes:
        scores: ``(n,)``, higher is better; NaN, never chosen: a class without statistics, or a network that gives NaN.
        labels: Predicted class, ``(n,)``.
        probabilities: Softmax, ``(n, C)``.
    """

    scores: Tensor
    labels: Tensor
    probabilities: Tensor

    def __len__(self) -> int:
        return len(self.scores)

    def to_dataframe(self) -> "pd.DataFrame":
        """One row per image: ``index``, ``label``, ``score``, ``probability`` of the label."""
        import pandas as pd  # here, because importing it takes a second

        confidence = self.probabilities.gather(1, self.labels[:, None])[:, 0] if len(self) else self.scores
        columns = {"label": self.labels, "score": self.scores, "probability": confidence}
        table = pd.DataFrame({name: column.cpu().numpy() for name, column in columns.items()})
        return table.rename_axis("index").reset_index()


@dataclass(frozen=True)
class ScoreOptions:
    """The readings of the score; see :func:`image_scores`."""

    norm: Norm = "linf"
    threshold: Threshold = "class_mean"
    overlap: bool = True

    def __post_init__(self) -> None:
        check_choice(self.norm, "norm", "image_scores", ("linf", "l1", "l2"))
        check_choice(self.threshold, "threshold", "image_scores", ("class_mean", "per_image"))


def image_scores(
    model: nn.Module,
    images: Batches,
    statistics: ClassStatistics,
    *,
    labels: Tensor | None = None,
    norm: Norm = "linf",
    threshold: Threshold = "class_mean",
    overlap: bool = True,
    batch_size: int = 100,
) -> ImageScores:
    r"""Label images and score how typical their chain of activation is for that label.

    ``s = sum over layers of log((a + 1) / (m + 1))``: of the ``m`` units that the class usually activates, ``a`` are
    active in the image too. So 0 is the best an image can get, and the worst is ``-sum log(m + 1)``. One forward pass;
    only the units of the masks are looked at.

    Args:
        model: A network that maps images to class scores.
        images: ``(n, C, H, W)``, or batches ``images`` or ``(images, ...)``.
        statistics: Of labelled images, of the same network: :func:`class_statistics`.
        labels: ``(n,)``, score for these classes instead of the predicted ones; images given as a tensor only.
        norm: The threshold is half of this norm: ``"linf"`` largest value, ``"l1"`` mean, ``"l2"`` root mean square.
        threshold: Of the ``"class_mean"``, for mask and image alike; or ``"per_image"``, from the image's own norm.
        overlap: Count active units of the mask; False counts all active units, so that scores can exceed 0.
        batch_size: Images per batch, for images given as a tensor.

    Returns:
        Scores, labels and probabilities, on the CPU, in the order of the images.

    Raises:
        ValueError: An unknown option, a label out of range, or statistics of another network.

    Example:
        >>> from lightning_interp.functional.selection import class_statistics
        >>> from lightning_interp.models import CIFAR10CNN
        >>> model, images = CIFAR10CNN(width=4), torch.rand(6, 3, 32, 32)
        >>> statistics = class_statistics(model, images, labels=torch.arange(6) % 2, n_classes=10)
        >>> bool((image_scores(model, images, statistics, labels=torch.arange(6) % 2).scores <= 0).all())
        True

    Reference:
        Image-score paper, section 2.2. Taken literally its thresholds, set on a sum, are out of reach of one image:
        here the mean takes the place of the sum, and units outside the mask are not counted.
    """
    statistics = statistics.to(model_device(model) or statistics.counts.device)
    layers = layer_scores(statistics, ScoreOptions(norm, threshold, overlap))
    parts = []
    for batch, rest in image_batches(model, images, batch_size, "image_scores", labels=labels):
        parts.append(score_batch(model, batch, statistics, layers, labels=None if labels is None else rest[0]))
    return join_scores(parts)


class LayerScore:
    """The term of one layer in the score of the images of a batch.

    Args:
        mask: What the classes usually activate there.
        options: The reading of the score.
    """

    def __init__(self, mask: ActivationMask, options: ScoreOptions) -> None:
        self.thresholds, self.options = mask.thresholds, options
        self.sizes = mask.units.sum(1)
        self.n_units = mask.units.shape[1]
        self.columns = mask.units.any(0).nonzero().flatten()
        self.units = mask.units[:, self.columns]

    def read(self, activation: Tensor) -> None:
        """Keep what is needed of ``(B, C, ...)``: the units of the masks, before the label is known."""
        if activation[0].numel() != self.n_units:
            must = f"of images of the same size, with {self.n_units} units there; else take `spatial='mean'`"
            raise ValueError(message("statistics", "image_scores", must, activation))
        columns = self.columns
        if activation.ndim == 4 and not activation.is_contiguous():  # channels last: the units where they lie
            n_positions = activation.shape[2] * activation.shape[3]
            columns = columns % n_positions * activation.shape[1] + columns // n_positions
            activation = activation.movedim(1, -1)
        activation = activation.flatten(1)
        if self.options.threshold == "per_image":
            own = half_norm(activation, self.options.norm)
            self.own = own.where(own > 0, torch.inf)  # as for a class: a dead layer activates nothing
        self.kept = activation.index_select(1, columns) if self.options.overlap else activation.clone()

    def term(self, classes: Tensor) -> Tensor:
        """``(B,)`` for the classes ``(B,)`` of the images; 0 where the mask of the class is empty."""
        limits = self.own if self.options.threshold == "per_image" else self.thresholds[classes]
        active = self.kept >= limits.to(self.kept.dtype)[:, None]
        if self.options.overlap:
            active = active & self.units[classes]
        share = (active.sum(1, dtype=torch.int32) + _FLOOR) / (self.sizes[classes] + _FLOOR)
        return torch.where(self.sizes[classes] > 0, share.log(), 0.0)


def layer_scores(statistics: ClassStatistics, options: ScoreOptions) -> list[LayerScore]:
    """What :func:`score_batch` needs for every layer, prepared once."""
    return [LayerScore(mask, options) for mask in statistics.masks(options.norm)]


def score_batch(
    model: nn.Module,
    images: Images,
    statistics: ClassStatistics,
    layers: Sequence[LayerScore],
    *,
    labels: Tensor | None = None,
) -> ImageScores:
    """Score one batch on the model's device."""
    with (
        evaluating(model),
        reading(model, statistics.layers, statistics.spatial, lambda i, x: layers[i].read(x), n_images=len(images)),
    ):
        output = model(images)
        probabilities = _probabilities(output, len(images), statistics)
        given = probabilities.argmax(1) if labels is None else labels.to(probabilities.device)
        classes = torch.zeros_like(given) if statistics.n_classes == 1 else given
        if not (classes.min() >= 0 and classes.max() < statistics.n_classes):
            must = f"labels in [0, {statistics.n_classes - 1}]"
            raise ValueError(message("labels", "image_scores", must, given.unique().tolist()))
        total = torch.stack([layer.term(classes) for layer in layers]).sum(0)
        known = torch.stack([layer.sizes for layer in layers]).sum(0) > 0
        total[~known[classes] | probabilities.isnan().any(1)] = float("nan")
    return ImageScores(total.float().cpu(), given.cpu(), probabilities.cpu())


def join_scores(parts: Sequence[ImageScores]) -> ImageScores:
    """The scores of several sets of images one after the other."""
    if not parts:
        return ImageScores(torch.zeros(0), torch.zeros(0, dtype=torch.long), torch.zeros(0, 0))
    columns = zip(*((part.scores, part.labels, part.probabilities) for part in parts), strict=True)
    return ImageScores(*(torch.cat(column) for column in columns))


def _probabilities(output: Any, n: int, statistics: ClassStatistics) -> Tensor:
    dataset_wide = statistics.n_classes == 1
    try:
        scores = class_scores(output)
    except TypeError:
        if dataset_wide:  # a detector: one mask for all images, no class scores
            return torch.ones(n, 1, device=statistics.counts.device)
        raise
    if not dataset_wide and scores.shape[1] != statistics.n_classes:
        must = f"of {scores.shape[1]} classes, as the model's scores"
        raise ValueError(message("statistics", "image_scores", must, statistics.n_classes))
    return scores.float().softmax(1)
