"""What each factor is worth to a prediction."""

from contextlib import nullcontext

import torch
from torch import Tensor, nn

from lightning_interp._checks import message
from lightning_interp.functional.compression.sweep import class_scores
from lightning_interp.functional.folding import fold, unfold
from lightning_interp.functional.localization.feature_rows import ImageSet, ImageSize, image_batches
from lightning_interp.functional.localization.heatmap import Heatmaps
from lightning_interp.hooks import reflection_padding, resume

__all__ = ["factor_importance"]


def factor_importance(
    model: nn.Module,
    images: ImageSet,
    heatmaps: Heatmaps,
    *,
    classes: Tensor | None = None,
    image_size: ImageSize | None = None,
    batch_size: int = 32,
) -> Tensor:
    """How much the score of a class falls when a factor is taken out of the activations.

    Factor j is subtracted from the layer's output, ``A - u_j v_j``, cut at zero for NMF, and the network goes on from
    there.

    Args:
        model: A network that maps images to class scores ``(N, n_classes)``.
        images: As in :func:`~lightning_interp.functional.localization.heatmap.nmf_heatmaps`.
        heatmaps: Factors of one of its layers, found on these or other images.
        classes: Class of each image, ``(N,)``; the one the network predicts by default.
        image_size: As in ``nmf_heatmaps``.
        batch_size: Images per pass.

    Returns:
        The fall of the score, ``(N, k)``; negative where the factor speaks against the class.

    Raises:
        ValueError: A class is out of range, or their number is not that of the images.

    Example:
        >>> from lightning_interp.functional.localization import nmf_heatmaps
        >>> pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)]
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), *pool)
        >>> images = torch.rand(5, 3, 16, 12)
        >>> factor_importance(net, images, nmf_heatmaps(net, images, k=3)).shape
        torch.Size([5, 3])

    Reference:
        Thesis, section 6.2: the factors as an explanation of a decision.
    """
    n = len(images)  # type: ignore[arg-type]  # a dataset that can be indexed has a length
    if classes is not None and classes.shape != (n,):
        raise ValueError(message("classes", "factor_importance", f"one class for each of {n} images", classes))
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    falls: list[Tensor] = []
    with reflection_padding(model) if heatmaps.padding == "reflect" else nullcontext():
        for batch in image_batches(images, image_size=image_size, batch_size=batch_size):
            done = sum(map(len, falls))
            chosen = None if classes is None else classes[done : done + len(batch)].to(device)
            falls.append(_falls(model, batch.to(device), heatmaps, chosen).cpu())
    return torch.cat(falls)


def _falls(model: nn.Module, images: Tensor, heatmaps: Heatmaps, classes: Tensor | None) -> Tensor:
    with resume(model, heatmaps.layer, images) as run:
        scores = class_scores(run.output)
        chosen = scores.argmax(1) if classes is None else classes
        if int(chosen.amax()) >= scores.shape[1] or int(chosen.amin()) < 0:
            must = f"in [0, {scores.shape[1] - 1}]"
            raise ValueError(message("classes", "factor_importance", must, int(chosen.amax())))
        rows = fold(run.activation, layer=heatmaps.layer)[0].float()
        with torch.autocast(rows.device.type, enabled=False):
            u, v = heatmaps.factorization.transform(rows), heatmaps.v.to(rows)
        falls = []
        for j in range(heatmaps.k):
            rest = rows - u[:, j : j + 1] * v[j]
            rest = rest.clamp(min=0) if heatmaps.method == "nmf" else rest
            without = class_scores(run(unfold(rest, run.activation)))
            falls.append((scores - without).gather(1, chosen[:, None])[:, 0])
    return torch.stack(falls, 1)
