"""Average precision of detections by the rules of PASCAL VOC, as a metric."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import torch
from torch import Tensor
from torchmetrics import Metric

from lightning_interp._checks import check_choice, check_int, check_number
from lightning_interp.functional.voc_average_precision import (
    DetectionMatches,
    DetectionPrecision,
    PrecisionRule,
    match_detections,
    precision_of_matches,
)

__all__ = ["PrecisionRule", "VOCAveragePrecision"]


class VOCAveragePrecision(Metric):
    """Average precision over images that come in batches and on several ranks.

    The state is a score, a class and a bit per detection, and the number of objects of every class: no boxes are kept.

    Args:
        n_classes: Number of classes, background not counted.
        iou_threshold: Intersection over union from which on an object is found.
        rule: ``"area"`` (2010 on) or ``"eleven_point"`` (2007).
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Raises:
        ValueError: If an option is out of range.

    Example:
        >>> metric = VOCAveragePrecision(n_classes=2)
        >>> truth = {"boxes": torch.tensor([[0.0, 0.0, 10.0, 10.0]]), "labels": torch.tensor([2])}
        >>> metric.update([{**truth, "scores": torch.tensor([0.7])}], [truth])
        >>> metric.compute(), metric.precision().per_class
        ({'mean': tensor(1.)}, tensor([nan, 1.]))

    Reference:
        See :func:`lightning_interp.functional.voc_average_precision`.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    scores: list[Tensor]
    labels: list[Tensor]
    hits: list[Tensor]
    n_objects: Tensor

    def __init__(
        self, *, n_classes: int = 20, iou_threshold: float = 0.5, rule: PrecisionRule = "area", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.n_classes = check_int(n_classes, "n_classes", "VOCAveragePrecision")
        self.iou_threshold = check_number(iou_threshold, "iou_threshold", "VOCAveragePrecision", low=1e-6, high=1)
        self.rule: Any = check_choice(rule, "rule", "VOCAveragePrecision", get_args(PrecisionRule))
        for name in ("scores", "labels", "hits"):
            self.add_state(name, [], dist_reduce_fx="cat")
        self.add_state("n_objects", torch.zeros(n_classes, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, predictions: Sequence[Mapping[str, Tensor]], targets: Sequence[Mapping[str, Tensor]]) -> None:
        """Add some images; none at all is fine.

        Args:
            predictions: One dict per image with ``boxes`` ``(n, 4)``, ``scores`` and ``labels`` ``(n,)``.
            targets: One dict per image with ``boxes``, ``labels`` and optionally ``difficult``.
        """
        options: Any = {"n_classes": self.n_classes, "iou_threshold": self.iou_threshold}
        matches = match_detections(predictions, targets, **options)
        for name in ("scores", "labels", "hits"):
            getattr(self, name).append(getattr(matches, name).to(self.device))
        self.n_objects += matches.n_objects.to(self.device)

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Reduce over ranks; one that was never given images takes part with none."""
        if not self._is_synced and not self.scores:
            self.update([], [])
        super().sync(*args, **kwargs)

    def compute(self) -> dict[str, Tensor]:
        """The mean over the classes with objects, of all images of all ranks."""
        return {"mean": self.precision().mean}

    def precision(self) -> DetectionPrecision:
        """Average precision of every class, reduced over ranks."""
        synced = self._is_synced
        with self.sync_context(should_sync=not synced, should_unsync=not synced):
            scores, labels, hits = (_joined(getattr(self, name)) for name in ("scores", "labels", "hits"))
            matches = DetectionMatches(scores, labels.long(), hits.bool(), self.n_objects.cpu())
            return precision_of_matches(matches, rule=self.rule)


def _joined(state: list[Tensor] | Tensor) -> Tensor:
    """One tensor: a list before the reduction over ranks, which may be empty, a tensor after it."""
    return state.cpu() if isinstance(state, Tensor) else torch.cat([torch.zeros(0), *(part.cpu() for part in state)])
