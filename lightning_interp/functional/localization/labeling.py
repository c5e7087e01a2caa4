"""Semi-automatic labelling: name the factors after a look at a few images, and all images are labelled."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_interp._checks import check_int, check_number, message
from lightning_interp.functional.localization.binary_maps import map_batches
from lightning_interp.functional.localization.heatmap import Heatmaps

__all__ = ["FactorLabels", "label_factors"]


@dataclass(frozen=True)
class FactorLabels:
    """A class for every pixel of a set of images.

    Attributes:
        masks: Long, ``(N, H, W)``: index into ``names``.
        names: Names of the classes; entry 0 is the background.
    """

    masks: Tensor
    names: tuple[str, ...]


def label_factors(
    heatmaps: Heatmaps, names: Mapping[int, str], *, threshold: float = 0.75, background: str = "background"
) -> FactorLabels:
    """Label all pixels by naming factors.

    Args:
        heatmaps: NMF heatmaps.
        names: Name of a factor, by its number. Several may share one; factors without are ignored; one named like the
            background takes pixels away from weaker ones.
        threshold: Share of a factor's largest value in the set from which on a pixel may be its. Where several factors
            reach theirs, the stronger share wins; the first one named where they are equal.
        background: Name of the rest.

    Returns:
        Masks and names, in the order given.

    Raises:
        ValueError: No factor is named, or one that there is not; or ``threshold`` is out of (0, 1].

    Example:
        >>> from lightning_interp.functional.localization import nmf_heatmaps
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU())
        >>> found = nmf_heatmaps(net, torch.rand(5, 3, 16, 12), k=3)
        >>> labels = label_factors(found, {0: "head", 2: "leg"})
        >>> labels.names, labels.masks.shape
        (('background', 'head', 'leg'), torch.Size([5, 16, 12]))

    Reference:
        Thesis, section 4.4.2: factors of 140 images, named after a look at five.
    """
    check_number(threshold, "threshold", "label_factors", low=1e-6, high=1)
    if not names:
        raise ValueError(message("names", "label_factors", "a name for one factor at least", dict(names)))
    numbers = [check_int(number, "names", "label_factors", low=0, high=heatmaps.k - 1) for number in names]
    classes = tuple(dict.fromkeys([background, *names.values()]))
    class_of = torch.tensor([classes.index(name) for name in names.values()], device=heatmaps.cells.device)
    masks = []
    for batch in map_batches(heatmaps):
        strength, factor = batch[:, numbers].max(1)
        masks.append(torch.where(strength >= threshold, class_of[factor], 0))
    return FactorLabels(torch.cat(masks), classes)
