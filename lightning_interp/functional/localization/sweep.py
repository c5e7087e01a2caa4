"""Heatmaps at several numbers of factors, in which a concept keeps its colour."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lightning_interp._checks import check_int, message
from lightning_interp.functional.factorization import factorize_path
from lightning_interp.functional.localization.feature_rows import ImageSet, ImageSize, Padding, feature_rows
from lightning_interp.functional.localization.heatmap import HeatmapMethod, Heatmaps, check_rows, folded, signs_named

__all__ = ["heatmap_sweep", "matched_colors"]


def heatmap_sweep(
    model: nn.Module,
    images: ImageSet,
    ks: Sequence[int] = (1, 2, 3, 4),
    *,
    layer: str | None = None,
    method: HeatmapMethod = "nmf",
    padding: Padding = "zeros",
    image_size: ImageSize | None = None,
    batch_size: int = 32,
    max_bytes: int = 2**31,
    seed: int = 0,
    **options: Any,
) -> list[Heatmaps]:
    """Heatmaps of the same activations at increasing numbers of factors.

    Args:
        model: As in :func:`~lightning_interp.functional.localization.heatmap.nmf_heatmaps`, like all that follow.
        images: The set of images.
        ks: Increasing numbers of factors.
        layer: A layer with maps.
        method: ``"nmf"`` or ``"pca"``.
        padding: ``"zeros"`` or ``"reflect"``.
        image_size: Resize images to this square, or height and width.
        batch_size: Images per forward pass.
        max_bytes: Activations that take more than this are kept in a temporary file.
        seed: Seed of the factorisation.
        **options: Of the factorisation.

    Returns:
        One result per k. ``colors`` number concepts: a factor takes over the number of the one at the previous k that
        it resembles most (cosine of V, matched one to one); new ones get new numbers.

    Raises:
        ValueError: As for ``nmf_heatmaps``, or ``ks`` do not increase.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU())
        >>> [found.colors[0] for found in heatmap_sweep(net, torch.rand(4, 3, 16, 16), [1, 2])]
        [0, 0]

    Reference:
        Thesis, section 4.3.1 and figures 4.6 to 4.9.
    """
    if not ks:
        raise ValueError(message("ks", "heatmap_sweep", "at least one number of factors", ks))
    gather: dict[str, Any] = {"padding": padding, "image_size": image_size, "batch_size": batch_size}
    with feature_rows(model, images, layer, max_bytes=max_bytes, **gather) as found:
        check_rows(found, max(ks))
        if method == "nmf":
            options["generator"] = torch.Generator().manual_seed(check_int(seed, "seed", "heatmap_sweep", low=0))
        sweep: list[Heatmaps] = []
        with signs_named(found.layer):
            for factors in factorize_path(found.rows, ks, method=method, **options):
                colors = matched_colors(sweep[-1].v, sweep[-1].colors, factors.v) if sweep else tuple(range(factors.k))
                sweep.append(replace(folded(factors, found, method, padding), colors=colors))
        return sweep


def matched_colors(before: Tensor, colors: Sequence[int], after: Tensor) -> tuple[int, ...]:
    """Colour numbers of factors, taken over from those they resemble.

    Args:
        before: Factors with known colours, ``(k, C)``, of unit length.
        colors: Their numbers.
        after: Factors to number, ``(k', C)``, of unit length.

    Returns:
        ``k'`` different numbers.

    Example:
        >>> matched_colors(torch.eye(3)[:2], (5, 2), torch.eye(3)[[1, 2, 0]])
        (2, 6, 5)
    """
    from scipy.optimize import linear_sum_assignment  # here, because importing it takes a while

    likeness = (before @ after.mT).abs().cpu().numpy()
    numbers = {int(new): colors[old] for old, new in zip(*linear_sum_assignment(-likeness), strict=True)}
    fresh = iter(range(max(colors) + 1, max(colors) + 1 + len(after)))
    return tuple(numbers[i] if i in numbers else next(fresh) for i in range(len(after)))
