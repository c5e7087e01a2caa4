"""From a batch of images of one size to their descriptors."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from lightning_interp._checks import check_choice, check_int, check_number, message
from lightning_interp.functional.localization.alignment import cell_centers
from lightning_interp.functional.retrieval.boxes import share_inside
from lightning_interp.functional.retrieval.cam_rows import cam_rows, class_weights
from lightning_interp.functional.retrieval.nmf_rows import mixed, nmf_rows
from lightning_interp.functional.retrieval.pooling import crow, gem, mac, rmac, spoc
from lightning_interp.functional.retrieval.whitening import Whitening
from lightning_interp.hooks import forward_to, select_layers
from lightning_interp.hooks.fingerprint import add_tensor, model_fingerprint

__all__ = ["Describer", "DescriptorMethod"]

DescriptorMethod: TypeAlias = Literal["nmf_v", "nmf_vtu", "mac", "spoc", "gem", "crow", "rmac", "cam"]
_POOLED: dict[str, Callable[[Tensor], Tensor]] = {"mac": mac, "spoc": spoc, "gem": gem, "crow": crow, "rmac": rmac}
Centers: TypeAlias = tuple[Tensor, Tensor]


@dataclass
class Describer:
    """Describes images: local descriptors of a layer's maps, whitened, summed and scaled to unit length.

    What :func:`describe_images`, the index and ``Retriever`` share.

    Args:
        model: A network; it runs in eval mode and is left as it was.
        method: See :func:`describe_images`, like all that follow.
        layer: A layer with maps; the last one of ``"last_block"`` of the first batch by default.
        k: Factors of an image.
        whitening: Learned on other images by :func:`learn_whitening`.
        share: Of its activation that a factor must have inside the box of a query.
        n_iter: Iterations of NMF.
        seed: Of its start.

    Raises:
        ValueError: An option is out of range.
        TypeError: An option of another type.
    """

    model: nn.Module
    method: DescriptorMethod = "nmf_v"
    layer: str | None = None
    k: int = 4
    whitening: Whitening | None = None
    share: float = 0.75
    n_iter: int = 30
    seed: int = 0

    def __post_init__(self) -> None:
        owner = "describe_images"
        check_choice(self.method, "method", owner, get_args(DescriptorMethod))
        check_int(self.k, "k", owner)
        check_int(self.n_iter, "n_iter", owner)
        check_int(self.seed, "seed", owner, low=0)
        check_number(self.share, "share", owner, high=1)
        self._centers: dict[tuple[int, int], Centers] = {}

    @property
    def is_nmf(self) -> bool:
        """Whether local descriptors are factors, of which a box can choose."""
        return self.method.startswith("nmf")

    def settings(self) -> dict[str, Any]:
        """What descriptors depend on, besides network and whitening."""
        used = ["method", "layer", *(["k", "n_iter", "seed"] if self.is_nmf else [])]
        return {name: getattr(self, name) for name in used}

    def fingerprint(self) -> str:
        """Hash of the network, the settings and the whitening: descriptors with another one cannot be compared."""
        digest = hashlib.sha256(f"{self._model_fingerprint} {json.dumps(self.settings())}".encode())
        for name, tensor in self.whitening.tensors().items() if self.whitening else ():
            add_tensor(digest, name, tensor)
        return digest.hexdigest()

    def rows(self, images: Tensor, boxes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Local descriptors, before they are whitened.

        Args:
            images: ``(B, C, H, W)`` as the network takes them.
            boxes: Keep only factors inside of these, ``(B, 4)``: left, top, right, bottom in pixels.

        Returns:
            ``(B, R, C)``, rows of unit length or zero, and which images have no factor inside their box, so that all of
            them were kept, ``(B,)``.
        """
        images = images.to(next((parameter.device for parameter in self.model.parameters()), images.device))
        maps = self._maps(images)
        with torch.autocast(maps.device.type, enabled=False), torch.no_grad():
            found, missed = self._local(maps.float(), images, boxes)
            return normalize(found, dim=2), missed

    def __call__(self, images: Tensor, boxes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Descriptors ``(B, D)`` of unit length, zero where the layer is silent; second result as for :meth:`rows`."""
        rows, missed = self.rows(images, boxes)
        there = (rows != 0).any(2, keepdim=True)
        if self.whitening is not None:
            # a factor that is not there would become the mean, turned round
            rows = self.whitening(rows) * there
            rows = rows if self.is_nmf else normalize(rows, dim=2)
        return normalize(rows.sum(1), dim=1), missed

    def _local(self, maps: Tensor, images: Tensor, boxes: Tensor | None) -> tuple[Tensor, Tensor]:
        missed = torch.zeros(len(maps), dtype=torch.bool, device=maps.device)
        if self.method in _POOLED:
            return _POOLED[self.method](maps), missed
        if self.method == "cam":
            return cam_rows(maps, self._class_weights.to(maps)), missed
        v, u = nmf_rows(maps, self.k, n_iter=self.n_iter, seed=self.seed)
        if boxes is not None:
            size = (images.shape[2], images.shape[3])
            inside = share_inside(u, boxes.to(u), *self._cell_centers(images), size) > self.share
            missed = ~inside.any(1)
            keep = (inside | missed[:, None]).to(v)
            v, u = v * keep[..., None], u * keep[..., None, None]
        return (mixed(v, u) if self.method == "nmf_vtu" else v), missed

    def _maps(self, images: Tensor) -> Tensor:
        if self.layer is None:
            self.layer = _last_layer(self.model, images[:1])
        if self.method == "cam" and not hasattr(self, "_class_weights"):
            self._class_weights = class_weights(self.model, self.layer, images[:1])
        with forward_to(self.model, self.layer) as features, torch.no_grad():
            maps = features(images)[self.layer]
        if maps.ndim != 4:
            must = f"a layer with maps (N, C, h, w); {self.layer!r} has none"
            raise ValueError(message("layer", "describe_images", must, maps))
        return maps

    def _cell_centers(self, images: Tensor) -> Centers:
        size = (images.shape[2], images.shape[3])
        if size not in self._centers:
            # a Trainer tests in inference mode, in which nothing has a graph
            with torch.inference_mode(False), torch.enable_grad(), forward_to(self.model, str(self.layer)) as features:
                image = images[:1].clone().requires_grad_()
                self._centers[size] = cell_centers(features(image)[str(self.layer)], image)
        return self._centers[size]

    @cached_property
    def _model_fingerprint(self) -> str:
        return model_fingerprint(self.model)


def _last_layer(model: nn.Module, image: Tensor) -> str:
    try:
        return select_layers(model, "last_block", example_input=image)[-1]
    except RuntimeError as error:  # a classifier that wants another size; up to the layer any size would do
        must = f"a name, because the whole network does not take images of {tuple(image.shape[1:])}: {error}"
        raise ValueError(message("layer", "describe_images", must, None)) from error
