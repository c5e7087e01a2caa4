"""Ways to find what a set of images has in common, ours and others; all look at the same layer."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from benchmarks._localization_scenes import SceneSet, Subject
from benchmarks._synthesis_peers import quiet
from lightning_interp.functional.localization import (
    Heatmaps,
    binarize,
    feature_rows,
    foreground_factor,
    heatmap_sweep,
    nmf_heatmaps,
    object_masks,
)
from lightning_interp.functional.localization.alignment import enlarge
from lightning_interp.functional.localization.matching import select_factors

Scale: TypeAlias = Literal["set", "image"]
Masks: TypeAlias = Callable[[float, Scale], Tensor]  # (threshold, scale) -> bool (N, H, W)
Method: TypeAlias = Callable[[Subject, SceneSet], Masks]

GRAD_CAM = ("grad-cam", "pytorch_grad_cam")
ONE_SHOT = (2, 4, 6, 8)


def object_methods(*, classes: bool, peers: bool) -> dict[str, Method]:
    """By name.

    Args:
        classes: whether the network knows the classes.
        peers: whether grad-cam is there.
    """
    methods: dict[str, Method] = {
        "NMF, k=1": lambda subject, scenes: _of_maps(_heatmaps(subject, scenes, 1).maps[:, 0]),
        "NMF, k=2, border": lambda subject, scenes: _of_maps(_foreground(_heatmaps(subject, scenes, 2))),
        "NMF, k=2, border, reflected": lambda subject, scenes: _of_maps(
            _foreground(_heatmaps(subject, scenes, 2, padding="reflect"))
        ),
        "NMF, one-shot": _one_shot,
        "PCA, first component": lambda subject, scenes: _of_maps(_first_component(subject, scenes)),
        "channels, mean": lambda subject, scenes: _of_maps(_channels(subject, scenes, "mean")),
        "channels, maximum": lambda subject, scenes: _of_maps(_channels(subject, scenes, "max")),
    }
    if peers:
        methods["Grad-CAM, predicted class"] = lambda subject, scenes: _of_maps(_grad_cam(subject, scenes))
        if classes:
            methods["Grad-CAM, true class"] = lambda subject, scenes: _of_maps(
                _grad_cam(subject, scenes, label=scenes.label)
            )
        methods["grad-cam's DFF, k=1"] = lambda subject, scenes: _of_maps(dff_maps(subject, scenes.images, 1)[:, 0])
        methods["grad-cam's DFF, k=2, border"] = lambda subject, scenes: _of_maps(_dff_foreground(subject, scenes))
    return methods | {
        "disc in the middle": lambda _, scenes: _of_maps(_disc(scenes)),
        "whole image": lambda _, scenes: _of_maps(torch.ones(scenes.masks.shape)),
    }


def part_methods(*, peers: bool) -> dict[str, Callable[[Subject, SceneSet, Sequence[int]], list[Tensor]]]:
    """By name: maps ``(N, k, H, W)`` at several k, each factor over its largest value in the set."""
    methods: dict[str, Callable[[Subject, SceneSet, Sequence[int]], list[Tensor]]] = {
        "NMF": lambda subject, scenes, ks: _sweep(subject, scenes, ks, "nmf"),
        "PCA": lambda subject, scenes, ks: _sweep(subject, scenes, ks, "pca"),
        "strongest channels": _strongest,
    }
    if peers:
        methods["grad-cam's DFF"] = lambda subject, scenes, ks: [dff_maps(subject, scenes.images, k) for k in ks]
    return methods


def scaled(maps: Tensor, scale: Scale) -> Tensor:
    """Maps ``(N, ..., H, W)`` over their largest value in the set or in each image."""
    dims = (0, -2, -1) if scale == "set" else (-2, -1)
    return maps / maps.amax(dims, keepdim=True).clamp(min=torch.finfo(maps.dtype).tiny)


def dff_maps(subject: Subject, images: Tensor, k: int) -> Tensor:
    """Maps ``(N, k, H, W)`` of ``DeepFeatureFactorization``, which scales each of them to [0, 1]."""
    from pytorch_grad_cam import DeepFeatureFactorization

    with quiet():
        factorize = DeepFeatureFactorization(subject.net, _module(subject))
        try:
            _, maps = factorize(images, k)
        finally:
            factorize.activations_and_grads.release()
    return torch.stack([torch.from_numpy(each) for each in maps])


def _of_maps(maps: Tensor) -> Masks:
    return lambda threshold, scale: binarize(scaled(maps, scale), threshold=threshold)


def _heatmaps(subject: Subject, scenes: SceneSet, k: int, **options: Any) -> Heatmaps:
    return nmf_heatmaps(subject.net, scenes.images, k, layer=subject.layer, **options)


def _foreground(heatmaps: Heatmaps) -> Tensor:
    return heatmaps.maps[:, foreground_factor(heatmaps.cells)]


def _one_shot(subject: Subject, scenes: SceneSet) -> Masks:
    """As ``cosegment`` does it with the truth of the first image, but factorised once for all thresholds."""
    sweep = heatmap_sweep(subject.net, scenes.images, ONE_SHOT, layer=subject.layer)
    by_image = [replace(each, cells=scaled(each.cells, "image")) for each in sweep]
    names = [(k, number) for k in ONE_SHOT for number in range(k)]

    def masks(threshold: float, scale: Scale) -> Tensor:
        found = sweep if scale == "set" else by_image
        binary = torch.cat([binarize(each.maps_of([0]), threshold=threshold) for each in found], 1)
        if not bool((binary & scenes.masks[:1, None]).any()):  # nothing to choose by
            return torch.zeros_like(scenes.masks)
        chosen = select_factors(binary, scenes.masks[:1].long(), ks=ONE_SHOT)
        return object_masks(found, tuple(names[i] for i in chosen), threshold=threshold)

    return masks


def _first_component(subject: Subject, scenes: SceneSet) -> Tensor:
    """Its sign is arbitrary: of both sides, that which keeps away from the border."""
    found = _heatmaps(subject, scenes, 1, method="pca")
    sides = torch.cat([found.cells, -found.cells], 1).clamp(min=0)
    number = foreground_factor(scaled(sides, "set"))
    return (-found.maps if number else found.maps)[:, 0].clamp(min=0)


def _channels(subject: Subject, scenes: SceneSet, reduction: Literal["mean", "max"]) -> Tensor:
    with feature_rows(subject.net, scenes.images, subject.layer) as found:
        values = found.rows.mean(1) if reduction == "mean" else found.rows.amax(1)
        return enlarge(values.view(found.shape), *found.centers, found.image_size)


def _strongest(subject: Subject, scenes: SceneSet, ks: Sequence[int]) -> list[Tensor]:
    with feature_rows(subject.net, scenes.images, subject.layer) as found:
        chosen = found.rows.mean(0).argsort(descending=True)[: max(ks)]
        cells = found.rows[:, chosen].view(*found.shape, len(chosen)).movedim(-1, 1)
        maps = scaled(enlarge(cells, *found.centers, found.image_size), "set")
    return [maps[:, :k] for k in ks]


def _sweep(subject: Subject, scenes: SceneSet, ks: Sequence[int], method: Literal["nmf", "pca"]) -> list[Tensor]:
    found = heatmap_sweep(subject.net, scenes.images, ks, layer=subject.layer, method=method)
    return [each.maps.clamp(min=0) for each in found]


def _grad_cam(subject: Subject, scenes: SceneSet, label: int | None = None) -> Tensor:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    targets = None if label is None else [ClassifierOutputTarget(label)] * len(scenes.images)
    with quiet(), GradCAM(subject.net, [_module(subject)]) as cam:
        maps = torch.from_numpy(cam(scenes.images, targets))
    subject.net.zero_grad()  # it fills them
    return maps


def _dff_foreground(subject: Subject, scenes: SceneSet) -> Tensor:
    maps = dff_maps(subject, scenes.images, 2)
    small = adaptive_avg_pool2d(maps, (8, 16))  # the border of full maps is one pixel wide
    return maps[:, foreground_factor(small)]


def _disc(scenes: SceneSet) -> Tensor:
    """Falls from 1 in the middle to 0 in the corners; thresholds are radii."""
    height, width = scenes.masks.shape[1:]
    rows, columns = (torch.arange(n) - (n - 1) / 2 for n in (height, width))
    distance = (rows[:, None] ** 2 + columns**2).sqrt()
    return (1 - distance / distance.max()).expand(scenes.masks.shape).contiguous()


def _module(subject: Subject) -> nn.Module:
    return subject.net.get_submodule(subject.layer)
