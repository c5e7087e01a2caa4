"""Quality on toy scenes: thresholds are chosen on some sets of images and measured on others."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, get_args

import torch
from torch import Tensor

from benchmarks._image_score_time import clocked
from benchmarks._localization_methods import Masks, Scale, object_methods, part_methods, scaled
from benchmarks._localization_scenes import SceneSet, Subject
from lightning_interp.functional.localization import (
    binarize,
    correct_localization,
    iou_matrix,
    largest_component_box,
    object_iou,
    part_table,
)

CPU = torch.device("cpu")
THRESHOLDS = (0.05, 0.1, 0.25, 0.4, 0.5, 0.75)
THESIS = 0.75
CUTS: tuple[tuple[Scale, float], ...] = tuple(product(get_args(Scale), THRESHOLDS))
OURS = "NMF, k=1"


def object_rows(
    subject: Subject, calibration: Sequence[SceneSet], sets: Sequence[SceneSet], *, peers: bool
) -> Iterator[dict[str, Any]]:
    """One row per method: IoU of the object and CorLoc."""
    reference: Tensor | None = None
    for name, method in object_methods(classes=subject.classes, peers=peers).items():
        before = torch.stack([object_scores(method(subject, each), each) for each in calibration]).mean(0)
        found: list[Masks] = []
        seconds = sum(clocked(lambda each=each: found.append(method(subject, each)), CPU) for each in sets)  # noqa: B023
        scores = torch.stack([object_scores(masks, each) for masks, each in zip(found, sets, strict=True)])
        row = object_row(before, scores, scales="grad-cam" in name.lower())
        best = scores[:, int(before[:, 0].argmax()), 0]
        reference = best if name == OURS else reference
        row |= against(best, reference) | {"ms per image": 1000 * seconds / sum(len(each.images) for each in sets)}
        yield {"network": subject.name, "method": name, **row}


def object_row(before: Tensor, scores: Tensor, *, scales: bool) -> dict[str, Any]:
    """What scores ``(sets, len(CUTS), 2)`` are at the cuts that were best ``before``, ``(len(CUTS), 2)``.

    Args:
        before: of calibration.
        scores: to report.
        scales: whether the method scales its maps image by image, whatever is asked.
    """
    iou, correct = before.argmax(0).tolist()
    of_set = [number for number, (scale, _) in enumerate(CUTS) if scale == "set"]
    own = CUTS.index(("image" if scales else "set", THESIS))
    return {
        **spread("IoU", scores[:, iou, 0]),
        "cut": cut_name(iou),
        "IoU, cut of the set": float(scores[:, of_set[int(before[of_set, 0].argmax())], 0].mean()),
        "IoU at 0.75": float(scores[:, own, 0].mean()),
        **spread("CorLoc", scores[:, correct, 1]),
        "its cut": cut_name(correct),
        "CorLoc at 0.75": float(scores[:, own, 1].mean()),
    }


def object_scores(masks: Masks, scenes: SceneSet) -> Tensor:
    """IoU and CorLoc at every cut, ``(len(CUTS), 2)``, without the first image, whose truth one-shot has seen."""
    scores = []
    for scale, threshold in CUTS:
        found = masks(threshold, scale)[1:]
        boxes = torch.tensor([largest_component_box(mask) or (-1,) * 4 for mask in found])
        right = correct_localization(boxes, scenes.boxes[1:]).double().mean()
        scores.append((float(object_iou(found, scenes.masks[1:])), float(right)))
    return torch.tensor(scores)


def part_rows(
    subject: Subject, calibration: Sequence[SceneSet], sets: Sequence[SceneSet], ks: Sequence[int], *, peers: bool
) -> Iterator[dict[str, Any]]:
    """One row per method and k: IoU of factors and parts that match, and of each part with its best factor."""
    for name, method in part_methods(peers=peers).items():
        before, after = (
            torch.stack(
                [torch.stack([part_scores(maps, each) for maps in method(subject, each, ks)]) for each in group]
            )
            for group in (calibration, sets)
        )
        for column, k in enumerate(ks):
            cuts = before[:, column].nanmean(0).nan_to_num(0).argmax(0).tolist()
            matched, each_part = (after[:, column, cut, i] for i, cut in enumerate(cuts))
            yield {
                "network": subject.name,
                "method": name,
                "k": k,
                **spread("matched IoU", matched),
                "cut": cut_name(cuts[0]),
                **spread("best IoU of each part", each_part),
                "its cut": cut_name(cuts[1]),
            }


def part_scores(maps: Tensor, scenes: SceneSet) -> Tensor:
    """Both IoUs at every cut, ``(len(CUTS), 2)``, on a grid of pixels that has 32 rows."""
    step, scores = max(1, maps.shape[2] // 32), []
    truth = scenes.parts[..., ::step, ::step]
    for scale, threshold in CUTS:
        binary = binarize(scaled(maps, scale)[..., ::step, ::step], threshold=threshold)
        table = part_table(binary, truth, scenes.part_names)
        best = iou_matrix(binary, truth).nan_to_num(0).amax(0).mean()
        scores.append((table.mean_iou(), float(best)))
    return torch.tensor(scores)


def spread(name: str, values: Tensor) -> dict[str, float]:
    """Mean and standard deviation over sets."""
    known = values[~values.isnan()].double()
    return {name: float(known.mean()), f"{name} sd": float(known.std()) if len(known) > 1 else 0.0}


def against(values: Tensor, reference: Tensor | None) -> dict[str, float]:
    """Difference to ours on the same sets, and its standard error."""
    if reference is None or values is reference or len(values) < 2:
        return {}
    difference = (values - reference).double()
    return {"minus NMF k=1": float(difference.mean()), "s.e.": float(difference.std() / len(values) ** 0.5)}


def cut_name(number: int) -> str:
    """``"0.25 of the set"``."""
    scale, threshold = CUTS[number]
    return f"{threshold:g} of the {scale}"
