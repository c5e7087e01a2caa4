"""Where the object of a query is in the images that were found."""

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.transforms.v2.functional import resize

from lightning_interp._checks import check_int, check_number, message
from lightning_interp.exceptions import MeasurementWarning, NegativeActivationsError
from lightning_interp.functional.factorization import Factorization, nmf
from lightning_interp.functional.localization.alignment import enlarge
from lightning_interp.functional.localization.colocalization import largest_component_box
from lightning_interp.functional.localization.feature_rows import FeatureRows, Padding, feature_rows
from lightning_interp.functional.retrieval.boxes import check_boxes, share_inside
from lightning_interp.functional.retrieval.image_lists import by_size

__all__ = ["Localization", "localize"]

_NO_BOX = (-1, -1, -1, -1)
_FLAT = 1e-5  # differences that enlarging leaves within flat regions, as a share of the value


@dataclass(frozen=True)
class Localization:
    """A box per image around what the query shows.

    Attributes:
        layer: The layer.
        boxes: Left, top, right and bottom in pixels of each image as it was given, right and bottom exclusive; long, on
            the CPU, ``(N, 4)``; -1 for none.
        masks: What the boxes enclose the largest region of: bool ``(H, W)`` per image.
        maps: How strongly the factors kept are there: ``(H, W)`` in [0, 1] per image, 1 for the largest value in the
            set.
        query_map: The same for the query.
        factors: Numbers of the factors kept.
        shares: Share of each factor's activation on the query that lies inside its box, ``(k,)``.
        fell_back: No factor had a large enough share, so that all were kept.
        v: What each factor looks like in the layer's space, ``(k, C)``, rows of unit length.
    """

    layer: str
    boxes: Tensor
    masks: list[Tensor]
    maps: list[Tensor]
    query_map: Tensor
    factors: tuple[int, ...]
    shares: Tensor
    fell_back: bool
    v: Tensor

    def save(self, path: str | Path) -> None:
        """Write to a safetensors file."""
        tensors = {"boxes": self.boxes, "query_map": self.query_map, "shares": self.shares, "v": self.v}
        for name in ("masks", "maps"):
            tensors.update({f"{name}.{i}": each for i, each in enumerate(getattr(self, name))})
        meta = {"layer": self.layer, "factors": self.factors, "fell_back": self.fell_back}
        on_cpu = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        save_file(on_cpu, path, {"localization": json.dumps(meta)})

    @classmethod
    def load(cls, path: str | Path) -> "Localization":
        """Read what :meth:`save` wrote."""
        with safe_open(path, framework="pt") as file:
            meta = json.loads(file.metadata()["localization"])
            alone = {name: file.get_tensor(name) for name in ("boxes", "query_map", "shares", "v")}
            n_images = len(alone["boxes"])
            masks, maps = ([file.get_tensor(f"{name}.{i}") for i in range(n_images)] for name in ("masks", "maps"))
        return cls(
            meta["layer"], masks=masks, maps=maps, factors=tuple(meta["factors"]), fell_back=meta["fell_back"], **alone
        )


def localize(
    model: nn.Module,
    query: Tensor,
    box: Tensor | Sequence[float],
    images: Tensor | Sequence[Tensor],
    *,
    layer: str | None = None,
    k: int = 4,
    share: float = 0.75,
    keep: float = 0.3,
    image_size: int = 224,
    padding: Padding = "zeros",
    seed: int = 0,
    **options: Any,
) -> Localization:
    r"""Find in some images what a box in a query encloses.

    Query and images are factorised together. Factors that lie outside of the box are dropped and the maps of the rest
    averaged, each as large as its part of the activations: with rows of V of unit length, this is the mean of the
    columns of U. The strongest pixels of each image make its mask, and the box encloses the largest region of it.

    Args:
        model: A network; it runs in eval mode and is left as it was.
        query: ``(C, H, W)``, as the network takes it.
        box: Left, top, right and bottom in pixels of the query, right and bottom exclusive, ``(4,)``.
        images: Where to look: ``(N, C, H, W)``, or a list of ``(C, H, W)`` of any sizes.
        layer: A layer with non-negative maps; the last one of ``"last_block"`` by default.
        k: Number of factors.
        share: Factors with less of their activation on the query inside the box than this are dropped.
        keep: Share of the pixels of each image that its mask has, silent ones left out and flat regions whole.
        image_size: What the shorter side of images is scaled to.
        padding: ``"reflect"`` for networks with batch norm, see :func:`lightning_interp.functional.nmf_heatmaps`.
        seed: Seed of the factorisation.
        **options: Of :func:`lightning_interp.functional.nmf`, such as ``max_iter`` and ``tol``.

    Returns:
        Boxes, masks and maps of ``images``, and the factors they come from. Where no factor is inside of the box there
        is a warning, and all factors are kept.

    Raises:
        ValueError: The box is none inside of the query, an image is none or not finite, an option is out of range, or
            the layer has no maps or is silent on all images.
        NegativeActivationsError: The layer is signed.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU())
        >>> images = [torch.rand(3, 20, 24), torch.rand(3, 30, 18)]
        >>> found = localize(net, torch.rand(3, 16, 16), (0, 0, 16, 16), images, image_size=16)
        >>> found.boxes.shape, [each.shape for each in found.maps]
        (torch.Size([2, 4]), [torch.Size([20, 24]), torch.Size([30, 18])])

    Reference:
        Thesis, section 5.3.2, figure 5.10 and table 5.2.
    """
    check_number(share, "share", "localize", high=1)
    check_number(keep, "keep", "localize", low=1e-6, high=1)
    check_int(image_size, "image_size", "localize")
    originals = [_checked(image, i) for i, image in enumerate((query, *images))]
    size = (query.shape[1], query.shape[2])
    inside = check_boxes(torch.as_tensor(box)[None], [size], "localize", parameter="box")[0]
    found = _activations(model, originals, image_size, layer, padding)
    with torch.autocast(found[0].rows.device.type, enabled=False):  # half precision is for the network
        factors = _factorized(found, k, seed, options)
        cells = _folded(factors.u, found)
        shares = _shares(cells[0], found[0], inside, size)
        kept = tuple((shares >= share).nonzero().flatten().tolist())
        if not kept:
            _say(shares, share)
        chosen = kept or tuple(range(k))
        maps = _mean_maps(cells, found, originals, chosen)
    masks = [_strongest(each, keep) for each in maps[1:]]
    boxes = torch.tensor([largest_component_box(mask) or _NO_BOX for mask in masks], dtype=torch.long).view(-1, 4)
    return Localization(found[0].layer, boxes, masks, maps[1:], maps[0], chosen, shares, not kept, factors.v)


def _checked(image: Tensor, i: int) -> Tensor:
    if isinstance(image, Tensor) and image.ndim == 3 and bool(torch.isfinite(image).all()):
        return image
    name, must = ("images", f"finite images (C, H, W); number {i - 1} is not") if i else ("query", "a finite (C, H, W)")
    raise ValueError(message(name, "localize", must, image))


def _activations(
    model: nn.Module, images: list[Tensor], side: int, layer: str | None, padding: Padding
) -> list[FeatureRows]:
    """Those of each image, its shorter side scaled; images of one size run together."""
    scaled = {i: resize(image, [side], antialias=True) for i, image in enumerate(images)}
    found: dict[int, FeatureRows] = {}
    for places, batch in by_size(scaled):
        with feature_rows(model, batch, layer, padding=padding) as part:
            layer = part.layer
            for i, rows in zip(places, part.rows.chunk(len(places)), strict=True):
                found[i] = replace(part, rows=rows, shape=(1, *part.shape[1:]))
    return [found[i] for i in range(len(images))]


def _factorized(found: list[FeatureRows], k: int, seed: int, options: dict[str, Any]) -> Factorization:
    rows, layer = torch.cat([part.rows for part in found]), found[0].layer
    check_int(k, "k", "localize", high=min(rows.shape))
    generator = torch.Generator().manual_seed(check_int(seed, "seed", "localize", low=0))
    if not bool(rows.any()):
        must = f"a layer that responds to the images; {layer!r} is zero on all of them"
        raise ValueError(message("layer", "localize", must, layer))
    try:
        return nmf(rows, k, generator=generator, **options)
    except NegativeActivationsError as error:
        text = f"{error} Layer {layer!r} is signed: choose one behind a ReLU."
        raise NegativeActivationsError(text) from None


def _folded(u: Tensor, found: list[FeatureRows]) -> list[Tensor]:
    """Maps ``(k, h, w)`` of each image."""
    parts = u.split([len(part.rows) for part in found])
    return [rows.mT.unflatten(1, part.shape[1:]) for rows, part in zip(parts, found, strict=True)]


def _shares(cells: Tensor, part: FeatureRows, box: Tensor, size: tuple[int, int]) -> Tensor:
    down, across = (new / old for new, old in zip(part.image_size, size, strict=True))
    scaled = box * box.new_tensor([across, down, across, down])
    return share_inside(cells[None], scaled[None], *part.centers, part.image_size)[0]


def _say(shares: Tensor, share: float) -> None:
    text = (
        f"`localize` found no factor with {share:.0%} of its activation inside the box, so all were kept. The largest"
        f" share is {float(shares.max()):.0%}: raise `k`, lower `share`, or give a larger box."
    )
    warnings.warn(text, MeasurementWarning, stacklevel=3)


def _mean_maps(
    cells: list[Tensor], found: list[FeatureRows], images: list[Tensor], factors: tuple[int, ...]
) -> list[Tensor]:
    """Mean of some factors over the largest value in the set, at the size of each image, ``(H, W)``."""
    means = [each[list(factors)].mean(0) for each in cells]
    peak = max(float(mean.max()) for mean in means) or 1.0
    maps = []
    for mean, part, image in zip(means, found, images, strict=True):
        size = (image.shape[1], image.shape[2])
        places = zip(part.centers, size, part.image_size, strict=True)
        rows, columns = ((centers + 0.5) * new / old - 0.5 for centers, new, old in places)
        maps.append(enlarge(mean / peak, rows, columns, size).clamp(0, 1))
    return maps


def _strongest(values: Tensor, keep: float) -> Tensor:
    """The share ``keep`` of the pixels, bool ``(H, W)``."""
    n_pixels = max(1, round(keep * values.numel()))
    weakest = values.flatten().kthvalue(values.numel() - n_pixels + 1).values
    return (values >= weakest * (1 - _FLAT)) & (values > 0)
