"""Average precision of detections by the rules of PASCAL VOC."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import pad

from lightning_interp._checks import check_choice, check_int, check_number, message

__all__ = [
    "DetectionMatches",
    "DetectionPrecision",
    "match_detections",
    "precision_of_matches",
    "voc_average_precision",
]

PrecisionRule = Literal["area", "eleven_point"]
Boxes = Mapping[str, Tensor]


@dataclass(frozen=True)
class DetectionMatches:
    """Detections held against the truth, in any order; those on difficult objects are left out.

    Attributes:
        scores: Confidence ``(m,)``.
        labels: Class ``(m,)``, from 1.
        hits: Whether the detection is right ``(m,)``.
        n_objects: Objects of every class that count, those not difficult ``(n_classes,)``.
    """

    scores: Tensor
    labels: Tensor
    hits: Tensor
    n_objects: Tensor


@dataclass(frozen=True)
class DetectionPrecision:
    """Average precision of every class.

    Attributes:
        per_class: ``(n_classes,)``, that of label ``c + 1`` at ``c``; NaN for a class without objects.
        mean: Over the classes with objects; NaN when there are none.
        n_objects: Objects that count ``(n_classes,)``.
    """

    per_class: Tensor
    mean: Tensor
    n_objects: Tensor


def voc_average_precision(
    predictions: Sequence[Boxes],
    targets: Sequence[Boxes],
    *,
    n_classes: int = 20,
    iou_threshold: float = 0.5,
    rule: PrecisionRule = "area",
) -> DetectionPrecision:
    r"""Average precision per class, and its mean.

    Detections of a class are taken by falling confidence. Each belongs to the object of its class and image that it
    overlaps most. It is right when the overlap is at least ``iou_threshold`` and the object was not found before; it
    does not count when that object is difficult; otherwise it is wrong. With the precision :math:`p(r)` of the shortest
    list that reaches recall :math:`r`, and :math:`\hat p(r) = \max_{r' \ge r} p(r')`,

    .. math::
        \mathrm{AP} = \int_0^1 \hat p(r)\,dr \quad \text{("area", 2010 on)}, \qquad
        \mathrm{AP} = \tfrac1{11} \sum_{t=0}^{10} \hat p(t / 10) \quad \text{("eleven\_point", 2007).}

    Detections of equal confidence enter the list together, so that the order of the images does not matter.

    Args:
        predictions: One dict per image: ``boxes`` ``(n, 4)`` as left, top, right, bottom, right and bottom exclusive;
            ``scores`` ``(n,)``; ``labels`` ``(n,)`` from 1 to ``n_classes``.
        targets: The same without scores; optionally ``difficult`` ``(n,)`` bool.
        n_classes: Number of classes, background not counted.
        iou_threshold: Intersection over union from which on an object is found.
        rule: ``"area"`` or ``"eleven_point"``.

    Returns:
        Average precision per class, and the mean.

    Raises:
        ValueError: If an option is out of range, or boxes, scores and labels do not fit together.

    Example:
        >>> box = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
        >>> found = {"boxes": torch.cat([box + 50, box]), "scores": torch.tensor([0.9, 0.8]), "labels": torch.ones(2)}
        >>> voc_average_precision([found], [{"boxes": box, "labels": torch.ones(1)}], n_classes=1).mean
        tensor(0.5000)

    Reference:
        Everingham et al., The PASCAL visual object classes challenge: a retrospective, IJCV 2015, and the development
        kits of 2007 and 2012.
    """
    matches = match_detections(predictions, targets, n_classes=n_classes, iou_threshold=iou_threshold)
    return precision_of_matches(matches, rule=rule)


def match_detections(
    predictions: Sequence[Boxes], targets: Sequence[Boxes], *, n_classes: int = 20, iou_threshold: float = 0.5
) -> DetectionMatches:
    """Hold detections against the truth, image by image; see :func:`voc_average_precision`.

    Args:
        predictions: One dict per image with ``boxes``, ``scores`` and ``labels``.
        targets: One dict per image with ``boxes``, ``labels`` and optionally ``difficult``.
        n_classes: Number of classes, background not counted.
        iou_threshold: Intersection over union from which on an object is found.

    Returns:
        What there is to count, on the CPU. Matches of several parts of a data set may be concatenated.

    Raises:
        ValueError: If an option is out of range, or boxes, scores and labels do not fit together.
    """
    check_int(n_classes, "n_classes", "match_detections")
    check_number(iou_threshold, "iou_threshold", "match_detections", low=1e-6, high=1)
    if len(predictions) != len(targets):
        must = f"one dict for each of {len(targets)} targets"
        raise ValueError(message("predictions", "match_detections", must, f"{len(predictions)} dicts"))
    scores, labels, hits = [torch.zeros(0)], [torch.zeros(0).long()], [torch.zeros(0).bool()]
    n_objects = torch.zeros(n_classes, dtype=torch.long)
    for prediction, target in zip(predictions, targets, strict=True):
        found = _checked(prediction, "predictions", ("boxes", "labels", "scores"), n_classes)
        truth = _checked(target, "targets", ("boxes", "labels"), n_classes)
        truth.setdefault("difficult", torch.zeros(len(truth["labels"])))
        hit, counts = _match_image(found, truth, iou_threshold)
        for parts, part in ((scores, found["scores"].float()), (labels, found["labels"]), (hits, hit)):
            parts.append(part[counts])
        n_objects += torch.bincount(truth["labels"][~truth["difficult"].bool()] - 1, minlength=n_classes)
    return DetectionMatches(torch.cat(scores), torch.cat(labels), torch.cat(hits), n_objects)


def precision_of_matches(matches: DetectionMatches, *, rule: PrecisionRule = "area") -> DetectionPrecision:
    """Average precision per class of detections that were held against the truth.

    Args:
        matches: From :func:`match_detections`.
        rule: ``"area"`` or ``"eleven_point"``.

    Returns:
        Average precision per class, and the mean.

    Raises:
        ValueError: If the rule is unknown.
    """
    check_choice(rule, "rule", "voc_average_precision", get_args(PrecisionRule))
    per_class = torch.full((len(matches.n_objects),), torch.nan)
    for c in matches.n_objects.nonzero().flatten().tolist():
        own = matches.labels == c + 1
        found, precision = _envelope(matches.scores[own], matches.hits[own])
        n = int(matches.n_objects[c])
        if rule == "area":
            per_class[c] = (found.diff(prepend=found.new_zeros(1)) * precision).sum() / n
        else:  # in whole numbers: a recall of exactly 0.3 reaches 0.3
            reached = [precision[10 * found >= t * n][:1].sum() for t in range(11)]
            per_class[c] = torch.stack(reached).sum() / 11
    return DetectionPrecision(per_class, per_class.nanmean(), matches.n_objects)


def _match_image(found: Boxes, truth: Boxes, iou_threshold: float) -> tuple[Tensor, Tensor]:
    """Which detections of one image are right, and which count, each ``(n,)``."""
    from torchvision.ops import box_iou

    iou = box_iou(found["boxes"].double(), truth["boxes"].double()).nan_to_num(0)
    iou[found["labels"][:, None] != truth["labels"][None, :]] = 0
    best, owner = pad(iou, (0, 1)).max(1)  # the added object is nobody's, and overlaps nothing
    near = best >= iou_threshold
    near_difficult = near & pad(truth["difficult"].bool(), (0, 1))[owner]
    rank = found["scores"].argsort(descending=True, stable=True).argsort()
    # the first to come near an object finds it; those after it are duplicates
    first = torch.full((iou.shape[1] + 1,), len(rank)).scatter_reduce(0, owner[near], rank[near], "amin")
    return near & (rank == first[owner]), ~near_difficult


def _envelope(scores: Tensor, hits: Tensor) -> tuple[Tensor, Tensor]:
    """Objects found by every shortest list, and the best precision of this and all longer lists."""
    order = scores.argsort(descending=True)
    ends = torch.cat([scores[order].diff() != 0, torch.ones(min(1, len(order)), dtype=torch.bool)])
    found = hits[order].cumsum(0)[ends]
    precision = found.double() / (ends.nonzero().flatten() + 1)
    return found, precision.flip(0).cummax(0).values.flip(0)


def _checked(boxes: Boxes, parameter: str, names: Sequence[str], n_classes: int) -> dict[str, Tensor]:
    values = {name: boxes[name].detach().cpu() for name in (*names, "difficult") if name in boxes}
    n = len(values.get("boxes", ()))
    shapes = {name: tuple(value.shape) for name, value in values.items()}
    if not set(names) <= set(shapes) or any(shape != ((n, 4) if k == "boxes" else (n,)) for k, shape in shapes.items()):
        must = f"dicts of boxes (n, 4) and {' and '.join(names[1:])} (n,)"
        raise ValueError(message(parameter, "match_detections", must, shapes))
    values["labels"] = values["labels"].long()
    if n and not (values["labels"].min() >= 1 and values["labels"].max() <= n_classes):
        must = f"dicts with labels in [1, {n_classes}]"
        raise ValueError(message(parameter, "match_detections", must, sorted(set(values["labels"].tolist()))))
    return values
