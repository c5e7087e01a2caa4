"""Co-segmentation: the object that a set of images has in common, as masks, without training."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lightning_interp._checks import check_int, check_number, message
from lightning_interp.functional.localization.binary_maps import Scale, binarize, foreground_factor, map_batches
from lightning_interp.functional.localization.feature_rows import ImageSet
from lightning_interp.functional.localization.heatmap import Heatmaps, nmf_heatmaps
from lightning_interp.functional.localization.matching import select_factors
from lightning_interp.functional.localization.sweep import heatmap_sweep

__all__ = ["Chosen", "Cosegmentation", "cosegment", "object_masks"]

Chosen: TypeAlias = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Cosegmentation:
    """Masks of what a set of images has in common.

    Attributes:
        masks: Bool, ``(N, H, W)``, at the size of the images.
        factors: The factors whose union they are, as pairs (k of the heatmaps, number of the factor).
        heatmaps: Heatmaps, one per number of factors that was asked for.
        threshold: Of the heatmaps.
    """

    masks: Tensor
    factors: Chosen
    heatmaps: tuple[Heatmaps, ...]
    threshold: float

    def save(self, path: str | Path) -> None:
        """Write to a safetensors file, and the heatmaps beside it."""
        path = Path(path)
        meta = {"factors": self.factors, "threshold": self.threshold, "ks": [found.k for found in self.heatmaps]}
        save_file({"masks": self.masks.cpu().contiguous()}, path, {"cosegmentation": json.dumps(meta)})
        for found in self.heatmaps:
            found.save(_beside(path, found.k))

    @classmethod
    def load(cls, path: str | Path) -> "Cosegmentation":
        """Read what :meth:`save` wrote."""
        path = Path(path)
        with safe_open(path, framework="pt") as file:
            meta, masks = json.loads(file.metadata()["cosegmentation"]), file.get_tensor("masks")
        heatmaps = tuple(Heatmaps.load(_beside(path, k)) for k in meta["ks"])
        return cls(masks, tuple((k, number) for k, number in meta["factors"]), heatmaps, meta["threshold"])


def cosegment(
    model: nn.Module,
    images: ImageSet,
    k: int | Sequence[int] = 1,
    *,
    layer: str | None = None,
    choose: Literal["border"] | int = "border",
    truth: Mapping[int, Tensor] | None = None,
    threshold: float = 0.75,
    scale: Scale = "set",
    **options: Any,
) -> Cosegmentation:
    """Find the object that images have in common: NMF heatmaps, of which some factors become a mask.

    Without truth, use ``k=1`` for networks whose deep layers are sparse, such as VGG, where the one factor is the
    object, and ``k=2`` for residual networks, where the other one is the background. With a few annotated images, give
    several k: the factors of all of them are candidates.

    Args:
        model: A network; it runs in eval mode and is left as it was.
        images: As in :func:`~lightning_interp.functional.localization.heatmap.nmf_heatmaps`, two at least.
        k: Number of factors; with ``truth`` also several, increasing, such as ``(2, 4, 6, 8)``.
        layer: A layer with maps, non-negative; the last one of ``"last_block"`` by default.
        choose: Without truth, the factor that is the object: its number, or ``"border"``, see
            :func:`~lightning_interp.functional.localization.binary_maps.foreground_factor`.
        truth: Masks ``(H, W)`` of some images, by their numbers, at the size of the images as the network takes them:
            one for one-shot, all for exploration. Pixels above 0 are the object, those below 0 not annotated.
            :func:`~lightning_interp.functional.localization.matching.select_factors` chooses by them.
        threshold: Share of a factor's largest value from which on a pixel is in its mask. The default is the thesis's,
            for VGG; 0.4 of the image was better in our benchmark.
        scale: Largest in the ``"set"`` or in each ``"image"``, see
            :func:`~lightning_interp.functional.localization.binary_maps.binarize`.
        **options: Of ``nmf_heatmaps``, such as ``padding``, ``image_size``, ``batch_size`` and ``seed``.

    Returns:
        Masks, and the factors they come from.

    Raises:
        ValueError: There are fewer than two images, several k without truth, a mask of another size or of an unknown
            image, no factor overlaps the truth; or as for ``nmf_heatmaps``.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU())
        >>> found = cosegment(net, torch.rand(5, 3, 16, 12), k=2)
        >>> found.masks.shape, found.masks.dtype, len(found.factors)
        (torch.Size([5, 16, 12]), torch.bool, 1)

    Reference:
        Thesis, section 4.3.2 and table 4.2.
    """
    check_number(threshold, "threshold", "cosegment", low=1e-6, high=1)
    n = len(images)  # type: ignore[arg-type]  # a dataset that can be indexed has a length
    if n < 2:
        must = "two images at least, to have something in common; see `nmf_heatmaps` for one"
        raise ValueError(message("images", "cosegment", must, f"{n} images"))
    _check_choice(k, choose, truth, n)
    if isinstance(k, int):
        heatmaps = [nmf_heatmaps(model, images, k, layer=layer, **options)]
    else:
        heatmaps = heatmap_sweep(model, images, k, layer=layer, **options)
    if truth is not None:
        factors = _by_truth(heatmaps, truth, threshold, scale)
    else:
        first = heatmaps[0]
        factors = ((first.k, foreground_factor(first.cells) if choose == "border" else choose),)
    masks = object_masks(heatmaps, factors, threshold=threshold, scale=scale)
    return Cosegmentation(masks, factors, tuple(heatmaps), threshold)


def object_masks(
    heatmaps: Sequence[Heatmaps], factors: Chosen, *, threshold: float = 0.75, scale: Scale = "set"
) -> Tensor:
    """The union of the masks of some factors, also on other images, see ``Heatmaps.project``.

    Args:
        heatmaps: Of the same images.
        factors: Pairs (k of the heatmaps, number of the factor).
        threshold: See :func:`cosegment`.
        scale: See :func:`cosegment`.

    Returns:
        Bool, ``(N, H, W)``.
    """
    found = []
    for maps in heatmaps:
        numbers = [number for k, number in factors if k == maps.k]
        if numbers:
            parts = (batch[:, numbers] for batch in map_batches(maps))
            batches = (binarize(part, threshold=threshold, scale=scale).any(1) for part in parts)
            found.append(torch.cat(list(batches)))
    return torch.stack(found).any(0)


def _check_choice(k: int | Sequence[int], choose: str | int, truth: Mapping[int, Tensor] | None, n: int) -> None:
    if truth is None:
        if not isinstance(k, int):
            must = "one number of factors, or `truth` for some images must be given"
            raise ValueError(message("k", "cosegment", must, k))
        if choose != "border":
            check_int(choose, "choose", "cosegment", low=0, high=k - 1)
        return
    if not truth or not all(0 <= image < n for image in truth):
        must = f"masks of some images, by their numbers in [0, {n - 1}]"
        raise ValueError(message("truth", "cosegment", must, sorted(truth)))


def _by_truth(heatmaps: Sequence[Heatmaps], truth: Mapping[int, Tensor], threshold: float, scale: Scale) -> Chosen:
    size = heatmaps[0].image_size
    for image, mask in truth.items():
        if tuple(mask.shape) != size:
            must = f"masks of {size[0]} x {size[1]} pixels, the size the network takes; that of image {image} is not"
            raise ValueError(message("truth", "cosegment", must, mask))
    known = list(truth)
    binary = torch.cat([binarize(found.maps_of(known), threshold=threshold, scale=scale) for found in heatmaps], 1)
    names = [(found.k, number) for found in heatmaps for number in range(found.k)]
    chosen = select_factors(binary, torch.stack([truth[image] for image in known]), ks=[found.k for found in heatmaps])
    return tuple(names[i] for i in chosen)


def _beside(path: Path, k: int) -> Path:
    return path.with_suffix(f".k{k}{path.suffix}")
