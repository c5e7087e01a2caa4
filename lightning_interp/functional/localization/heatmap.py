"""NMF heatmaps: which regions of a set of images have activations in common."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lightning_interp._checks import check_choice, check_int, message
from lightning_interp.exceptions import NegativeActivationsError
from lightning_interp.functional.factorization import Factorization, factorize
from lightning_interp.functional.localization.alignment import enlarge
from lightning_interp.functional.localization.choose_rank import choose_rank
from lightning_interp.functional.localization.feature_rows import (
    FeatureRows,
    ImageSet,
    ImageSize,
    Padding,
    feature_rows,
)

__all__ = ["HeatmapMethod", "Heatmaps", "nmf_heatmaps"]

HeatmapMethod: TypeAlias = Literal["nmf", "pca"]
_TENSORS = ("cells", "peaks", "rows", "columns")


@dataclass(frozen=True)
class Heatmaps:
    """Factors of a layer's activations over a set of images, folded back to maps.

    Attributes:
        layer: The layer.
        method: ``"nmf"``, or ``"pca"``, whose maps are signed.
        cells: The maps at the size of the layer, ``(N, k, h, w)``, each factor over its largest value in the set.
        peaks: That value of each factor, ``(k,)``.
        factorization: Basis and error; its ``v`` are directions in the layer's space.
        rows: Where the cells lie in the image: rows ``(h,)`` in pixels ...
        columns: ... and columns, ``(w,)``.
        image_size: Height and width of the images.
        padding: What convolutions saw beyond the border.
        colors: Colour number of each factor, the same for the same concept in sweeps over k.
    """

    layer: str
    method: HeatmapMethod
    cells: Tensor
    peaks: Tensor
    factorization: Factorization
    rows: Tensor
    columns: Tensor
    image_size: tuple[int, int]
    padding: Padding
    colors: tuple[int, ...] = ()

    @property
    def k(self) -> int:
        """Number of factors."""
        return self.cells.shape[1]

    @property
    def v(self) -> Tensor:
        """What each factor looks like in the layer's space, ``(k, C)``, rows of unit length."""
        return self.factorization.v

    @property
    def error(self) -> float:
        """Relative error of the factorisation."""
        return float(self.factorization.error)

    @property
    def maps(self) -> Tensor:
        """The maps at image size, ``(N, k, H, W)`` in [0, 1]; in [-1, 1] for PCA. Made anew at each call."""
        return self.maps_of(range(len(self.cells)))

    def maps_of(self, images: int | Sequence[int], *, size: tuple[int, int] | None = None) -> Tensor:
        """Maps of some images, ``(n, k, H, W)``, or ``(k, H, W)`` of one, at image size or at that of the original."""
        cells = self.cells[images if isinstance(images, int) else list(images)]
        size = size or self.image_size
        places = zip((self.rows, self.columns), size, self.image_size, strict=True)
        scaled = [(centers + 0.5) * new / old - 0.5 for centers, new, old in places]
        return enlarge(cells, scaled[0], scaled[1], size)

    def project(
        self, model: nn.Module, images: ImageSet, *, image_size: ImageSize | None = None, batch_size: int = 32
    ) -> "Heatmaps":
        """The same factors on other images: V and the scale of the maps stay as they are.

        Args:
            model: The network.
            images: As in :func:`nmf_heatmaps`; of any one size.
            image_size: As in :func:`nmf_heatmaps`.
            batch_size: Images per forward pass.

        Returns:
            Heatmaps of the new images; values above 1 are cut.
        """
        options: dict[str, Any] = {"padding": self.padding, "image_size": image_size, "batch_size": batch_size}
        with feature_rows(model, images, self.layer, **options) as found:
            u = torch.cat([self.factorization.transform(part) for part in found.rows.split(2**16)])
        return folded(replace(self.factorization, u=u), found, self.method, self.padding, self.peaks, self.colors)

    def save(self, path: str | Path) -> None:
        """Write to a safetensors file, and the factors beside it."""
        path = Path(path)
        names = ("layer", "method", "image_size", "padding", "colors")
        tensors = {name: getattr(self, name).cpu().contiguous() for name in _TENSORS}
        save_file(tensors, path, {"heatmaps": json.dumps({name: getattr(self, name) for name in names})})
        self.factorization.save(_beside(path))

    @classmethod
    def load(cls, path: str | Path) -> "Heatmaps":
        """Read what :meth:`save` wrote."""
        path = Path(path)
        with safe_open(path, framework="pt") as file:
            meta = json.loads(file.metadata()["heatmaps"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
        meta["image_size"], meta["colors"] = tuple(meta["image_size"]), tuple(meta["colors"])
        return cls(**meta, **tensors, factorization=Factorization.load(_beside(path)))


def nmf_heatmaps(
    model: nn.Module,
    images: ImageSet,
    k: int | Literal["auto"] = 4,
    *,
    layer: str | None = None,
    method: HeatmapMethod = "nmf",
    padding: Padding = "zeros",
    image_size: ImageSize | None = None,
    batch_size: int = 32,
    max_bytes: int = 2**31,
    max_k: int = 8,
    seed: int = 0,
    **options: Any,
) -> Heatmaps:
    """Factorise the activations of a set of images together and fold the factors back to maps over the images.

    What the images have in common gets one factor: objects and, at larger k, their parts. Nothing is labelled.

    Args:
        model: A network; it runs in eval mode and is left as it was.
        images: ``(N, C, H, W)`` as the network takes them, a list of images, or a dataset that yields images or tuples
            that begin with one.
        k: Number of factors; ``"auto"`` takes the elbow of the error curve up to ``max_k``, see
            :func:`~lightning_interp.functional.localization.choose_rank.choose_rank`.
        layer: A layer with maps, non-negative for NMF; the last one of ``"last_block"`` by default.
        method: ``"nmf"``, or ``"pca"`` for comparison, whose maps are signed.
        padding: ``"reflect"`` swaps the zero padding of convolutions: else factors of networks with batch norm stick to
            the border.
        image_size: Resize images to this square, or height and width; needed where they differ in size.
        batch_size: Images per forward pass.
        max_bytes: Activations that take more than this are kept in a temporary file, with the same result.
        max_k: Largest number of factors that ``"auto"`` tries.
        seed: Seed of the factorisation.
        **options: Of :func:`lightning_interp.functional.nmf`, such as ``max_iter`` and ``tol``.

    Returns:
        Maps, basis and error.

    Raises:
        ValueError: There is no image, images differ in size, the layer has no map, is silent on all images, or has
            fewer units or positions than ``k``.
        NegativeActivationsError: NMF of a layer with negative activations.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU())
        >>> h = nmf_heatmaps(net, torch.rand(5, 3, 16, 12), k=3)
        >>> h.maps.shape, h.v.shape, bool((h.maps.amax((0, 2, 3)) <= 1).all())
        (torch.Size([5, 3, 16, 12]), torch.Size([3, 8]), True)

    Reference:
        Thesis, section 4.2; methods.md, section 3.
    """
    check_choice(method, "method", "nmf_heatmaps", get_args(HeatmapMethod))
    gather: dict[str, Any] = {"padding": padding, "image_size": image_size, "batch_size": batch_size}
    with feature_rows(model, images, layer, max_bytes=max_bytes, **gather) as found:
        check_rows(found, k)
        if method == "nmf":
            options["generator"] = torch.Generator().manual_seed(check_int(seed, "seed", "nmf_heatmaps", low=0))
        with signs_named(found.layer):
            rank = choose_rank(found.rows, max_k=max_k, method=method, **options) if k == "auto" else k
            factors = factorize(found.rows, rank, method=method, **options)
        return folded(factors, found, method, padding, None, tuple(range(rank)))


def check_rows(found: FeatureRows, k: int | str) -> None:
    """Refuse more factors than there can be, and activations that are all zero."""
    limit = min(found.rows.shape)
    if k != "auto":
        check_int(k, "k", "nmf_heatmaps", high=limit)
    if not bool((found.rows != 0).any()):
        must = f"a layer that responds to the images; {found.layer!r} is zero on all of them"
        raise ValueError(message("layer", "nmf_heatmaps", must, found.layer))


@contextmanager
def signs_named(layer: str) -> Iterator[None]:
    """Say which layer is signed, and what can be done about it."""
    try:
        yield
    except NegativeActivationsError as error:
        ways = f"Layer {layer!r} is signed: choose one behind a ReLU, or method='pca'."
        raise NegativeActivationsError(f"{error} {ways}") from None


def folded(
    factors: Factorization,
    found: FeatureRows,
    method: HeatmapMethod,
    padding: Padding,
    peaks: Tensor | None = None,
    colors: tuple[int, ...] = (),
) -> Heatmaps:
    """Heatmaps of factors ``u (N * h * w, k)``, scaled by ``peaks``, by default by their own."""
    n, h, w = found.shape
    maps = factors.u.view(n, h, w, -1).movedim(-1, 1)
    peaks = maps.abs().amax((0, 2, 3)) if peaks is None else peaks
    cells = (maps / peaks.where(peaks > 0, 1.0)[:, None, None]).clamp(-1, 1)
    return Heatmaps(
        found.layer, method, cells, peaks, factors, *found.centers, found.image_size, padding, colors=colors
    )


def _beside(path: Path) -> Path:
    return path.with_suffix(f".factors{path.suffix}")
