"""Time of descriptors over the forward pass, and of scikit-learn's NMF on the same matrices."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from benchmarks._image_score_time import best
from benchmarks._localization_scenes import imagenet_network
from benchmarks._retrieval_scores import METHODS
from benchmarks._synthesis_peers import quiet
from lightning_interp.datasets import ToyScenes
from lightning_interp.datasets.image_tensors import Normalize
from lightning_interp.functional.factorization import Factorization, nmf
from lightning_interp.functional.retrieval.describer import Describer
from lightning_interp.functional.retrieval.pooling import channel_weights
from lightning_interp.hooks import forward_to, preserved_rng
from lightning_interp.models import CIFAR10CNN, ResNet18ForSmallImages

CPU = torch.device("cpu")
ITERATIONS = 30  # of `describe_images`, by default
_PLAIN = Normalize((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


class Timed(NamedTuple):
    """A network in eval mode, the layer that is described, and the side of its images."""

    name: str
    net: nn.Module
    layer: str
    side: int


def timed_networks(side: int, squeezenet: Path) -> list[Timed]:
    """Two for images of ``side``, SqueezeNet only with its weights; two for 32 x 32. The others have random weights."""
    with preserved_rng(0):
        large, small, plain = resnet18(), ResNet18ForSmallImages(), CIFAR10CNN()
    found = [
        Timed("ResNet-18", large.eval(), "layer4", side),
        Timed("ResNet-18 for small images", small.eval(), "trunk.layer4", 32),
        Timed("CIFAR10CNN", plain.eval(), "features.21", 32),
    ]
    if squeezenet.is_file():
        subject = imagenet_network(squeezenet, side)
        found.insert(0, Timed("SqueezeNet, ImageNet", subject.net, subject.layer, side))
    return found


def time_rows(networks: Sequence[Timed], *, k: int, large: int, small: int, repeats: int) -> Iterator[dict[str, Any]]:
    """One row per network and method.

    Args:
        networks: to time.
        k: factors.
        large: images of a batch ...
        small: ... and of one of 32 x 32.
        repeats: the best counts.
    """
    for timed in networks:
        n = small if timed.side <= 32 else large
        images = _PLAIN(ToyScenes(n, size=timed.side, seed=2, split="test").render().float() / 255)
        yield from network_rows(timed, images, k=k, repeats=repeats)


def network_rows(timed: Timed, images: Tensor, *, k: int, repeats: int) -> Iterator[dict[str, Any]]:
    """The forward pass, all descriptors, and both factorisations take turns."""
    works: dict[str, Any] = {"forward": partial(_forward, timed.net, images)}
    for method in METHODS:
        describer = Describer(timed.net, method, timed.layer, k)
        try:
            describer(images[:1])
        except ValueError:  # CAM asks for a classifier that not every network ends in
            continue
        works[method] = partial(describer, images)
    rows = nmf_matrices(timed, images)
    works |= {"ours": partial(_ours, rows, k), "scikit-learn": partial(scikit_learn, rows, k)}
    took = best(works, repeats, CPU)
    alone = {
        "NMF alone, ms per image": 1000 * took["ours"] / len(images),
        "scikit-learn, times ours": took["scikit-learn"] / took["ours"],
        "error, ours": float(_ours(rows, k).error.mean()),
        "error, scikit-learn": scikit_learn(rows, k),
    }
    facts = {
        "network": timed.name,
        "side": timed.side,
        "images": len(images),
        "map": "x".join(map(str, rows.shape[1:])),
    }
    facts["forward, ms per image"] = 1000 * took["forward"] / len(images)
    for method in (name for name in works if name in METHODS):
        row = {"method": method, "times forward": took[method] / took["forward"]}
        yield facts | row | (alone if method == "nmf_v" else {})


def nmf_matrices(timed: Timed, images: Tensor) -> Tensor:
    """What the descriptors factorise: weighted channels at every position of every image, ``(N, positions, C)``."""
    with forward_to(timed.net, timed.layer) as features, torch.no_grad():
        maps = features(images)[timed.layer]
    return (maps * channel_weights(maps)[:, :, None, None]).flatten(2).mT.contiguous()


def scikit_learn(rows: Tensor, k: int) -> float:
    """Factorise image by image with its defaults; the mean relative error."""
    from sklearn.decomposition import NMF

    errors = []
    for matrix in rows.numpy():
        model = NMF(k, random_state=0)
        with quiet():  # it says where its 200 iterations were not enough
            u = model.fit_transform(matrix)
        errors.append(np.linalg.norm(matrix - u @ model.components_) / np.linalg.norm(matrix))
    return float(np.mean(errors))


def _ours(rows: Tensor, k: int) -> Factorization:
    return nmf(rows, k, max_iter=ITERATIONS, tol=0, generator=torch.Generator().manual_seed(0))


def _forward(net: nn.Module, images: Tensor) -> None:
    with torch.no_grad():
        net(images)
