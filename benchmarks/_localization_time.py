"""Seconds of ours and of grad-cam's Deep Feature Factorization, and the error each reaches."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks._image_score_time import best
from benchmarks._localization_methods import dff_maps
from benchmarks._localization_scenes import Subject, scene_sets
from benchmarks._synthesis_peers import quiet
from lightning_interp.functional import nmf
from lightning_interp.functional.localization import feature_rows, nmf_heatmaps

CPU = torch.device("cpu")


def time_rows(subject: Subject, *, n: int, ks: Sequence[int], repeats: int, peers: bool) -> Iterator[dict[str, Any]]:
    """One row per k, for one set of ``n`` toy scenes."""
    images = next(iter(scene_sets(subject, (2,), classes=1, n=n))).images
    for k in ks:
        yield {"network": subject.name, "images": n} | time_row(subject, images, k, repeats=repeats, peers=peers)


def time_row(subject: Subject, images: Tensor, k: int, *, repeats: int, peers: bool) -> dict[str, Any]:
    """Whole calls from images to maps at image size, then the factorisation alone; ours against grad-cam's."""
    with feature_rows(subject.net, images, subject.layer) as found:
        rows, (n, h, w) = found.rows.clone(), found.shape
    activations = rows.T.reshape(-1, n, h, w).transpose(0, 1).numpy()
    works: dict[str, Callable[[], Any]] = {
        "gather": partial(_gather, subject, images),
        "ours": partial(_ours, subject, images, k),
        "nmf": partial(_nmf, rows, k),
    }
    if peers:
        works |= {"DFF": partial(dff_maps, subject, images, k), "dff": partial(_dff, activations, k)}
    took = best(works, repeats, CPU)
    row: dict[str, Any] = {
        "rows": len(rows),
        "channels": rows.shape[1],
        "k": k,
        "activations, ms per image": 1000 * took["gather"] / len(images),
        "ours, ms per image": 1000 * took["ours"] / len(images),
    }
    row |= {"DFF, times ours": took["DFF"] / took["ours"]} if peers else {}
    row |= {"factors alone, ours, ms": 1000 * took["nmf"]}
    row |= {"DFF's, times ours": took["dff"] / took["nmf"]} if peers else {}
    row |= {"error, ours": float(nmf(rows, k, generator=_generator()).error)}
    return row | ({"error, DFF": dff_error(activations, k)} if peers else {})


def dff_error(activations: np.ndarray[Any, Any], k: int) -> float:
    """Relative error of what ``dff`` makes of activations ``(N, C, h, w)``, its offset put back."""
    concepts, maps = _dff(activations, k)
    a = activations.swapaxes(0, 1).reshape(activations.shape[1], -1)
    offset = a.min(1, keepdims=True)
    product = (concepts - offset) @ maps.swapaxes(0, 1).reshape(k, -1) + offset
    return float(np.linalg.norm(a - product) / np.linalg.norm(a))


def _gather(subject: Subject, images: Tensor) -> None:
    with feature_rows(subject.net, images, subject.layer):
        pass


def _ours(subject: Subject, images: Tensor, k: int) -> Tensor:
    return nmf_heatmaps(subject.net, images, k, layer=subject.layer).maps


def _nmf(rows: Tensor, k: int) -> Any:
    return nmf(rows, k, generator=_generator())


def _dff(activations: np.ndarray[Any, Any], k: int) -> Any:
    from pytorch_grad_cam.feature_factorization.deep_feature_factorization import dff

    with quiet():
        return dff(activations.copy(), k)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
