"""Tell adversarial images from others without knowing their clean twins."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import pad
from torchvision.transforms.v2.functional import gaussian_blur

from lightning_interp._checks import check_choice, check_int, message
from lightning_interp.hooks import OUTPUT, LayerSpec, forward_to, select_layers

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Detection", "Squeeze", "detection_auc", "detection_scores"]

Squeeze: TypeAlias = Literal["median", "blur"]


@dataclass(frozen=True)
class Detection:
    """How well scores tell adversarial images from clean ones.

    Attributes:
        auc: Area under the ROC curve: the chance that an adversarial image scores above a clean one, ties half.
        fpr: Share of clean images at or above each threshold, ``(T,)``: false alarms.
        tpr: Share of adversarial images at or above each threshold, ``(T,)``: found.
        thresholds: Falling, from infinity, ``(T,)``.
    """

    auc: float
    fpr: Tensor
    tpr: Tensor
    thresholds: Tensor

    def found_at(self, false_alarms: float = 0.05) -> float:
        """Share of adversarial images found when at most this share of the clean ones may be suspected."""
        return float(self.tpr[self.fpr <= false_alarms].max())

    def to_dataframe(self) -> "pd.DataFrame":
        """A row per threshold: ``threshold``, ``fpr``, ``tpr``."""
        import pandas as pd  # here, because importing it takes a second

        columns = {"threshold": self.thresholds, "fpr": self.fpr, "tpr": self.tpr}
        return pd.DataFrame({name: column.numpy() for name, column in columns.items()})

    def save(self, path: str | Path) -> None:
        """Write to a safetensors file."""
        tensors = {"fpr": self.fpr, "tpr": self.tpr, "thresholds": self.thresholds}
        save_file(tensors, path, metadata={"detection": json.dumps(self.auc)})

    @classmethod
    def load(cls, path: str | Path) -> "Detection":
        """Read what :meth:`save` wrote."""
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in ("fpr", "tpr", "thresholds")}
            return cls(json.loads(file.metadata()["detection"]), **tensors)


def detection_scores(
    model: nn.Module,
    images: Tensor,
    *,
    layers: LayerSpec | None = "last_block",
    softmax: bool = True,
    squeeze: Squeeze | Callable[[Tensor], Tensor] = "median",
    batch_size: int = 100,
) -> Tensor:
    r"""How differently a network sees an image once it is smoothed: adversarial noise does not survive that.

    .. math:: \operatorname{mean}_l \frac{\lVert A_l(x) - A_l(s(x)) \rVert_2}{\lVert A_l(x) \rVert_2}
        + \tfrac12 \lVert p(x) - p(s(x)) \rVert_1

    A are activations of layers, p is the softmax output, s smooths. Softmax alone is feature squeezing; activations
    still see strong attacks that leave the smoothed image in the wrong class.

    Args:
        model: A network that maps images to class scores ``(N, n_classes)``; it runs in eval mode and is left as it
            was.
        images: ``(N, C, H, W)`` as the network takes them.
        layers: As in :func:`~lightning_interp.hooks.select_layers`; None leaves activations out.
        softmax: Whether the second term counts.
        squeeze: ``"median"`` of 2x2 pixels, ``"blur"`` (Gaussian, sigma 0.5), or a function from images to smoothed
            images.
        batch_size: Images per pass.

    Returns:
        Scores, ``(N,)`` on the CPU, the higher the more suspicious.

    Raises:
        ValueError: Neither layers nor softmax are asked for, ``squeeze`` changes the shape or is unknown, or ``images``
            are not ``(N, C, H, W)``.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        >>> detection_scores(net, torch.full((2, 3, 8, 8), 0.5))  # flat images survive
        tensor([0., 0.])

    Reference:
        Xu et al., Feature squeezing: detecting adversarial examples in deep neural networks, NDSS 2018, sections 3.2
        (median smoothing) and 5 (the L1 distance of softmax vectors); survey, section 7.2 (activations).
    """
    owner = "detection_scores"
    check_int(batch_size, "batch_size", owner)
    smooth = squeeze if callable(squeeze) else _SMOOTH[check_choice(squeeze, "squeeze", owner, get_args(Squeeze))]
    if images.ndim != 4 or not len(images):
        raise ValueError(message("images", owner, "of shape (N, C, H, W), at least one", images))
    if layers is None and not softmax:
        raise ValueError(message("softmax", owner, "True where `layers` is None", softmax))
    names = [] if layers is None else select_layers(model, layers, example_input=images[:2])
    device = next(model.parameters(), images).device
    scores = []
    with forward_to(model, [*names, OUTPUT] if softmax else names) as features, torch.no_grad():
        for batch in images.split(batch_size):
            moved = batch.to(device)
            smoothed = _checked(smooth(moved), moved)
            scores.append(_change(features(moved), features(smoothed)).cpu())
    return torch.cat(scores)


def _change(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> Tensor:
    """Mean relative change of the layers plus half the L1 distance of softmax vectors, ``(N,)``."""
    terms = []
    for name in before:
        one, other = before[name].float().flatten(1), after[name].float().flatten(1)
        if name == OUTPUT:
            terms.append((other.softmax(1) - one.softmax(1)).abs().sum(1) / 2)
        else:
            lengths = one.norm(dim=1).clamp(min=torch.finfo(one.dtype).tiny)  # silent before and after: no change
            terms.append((other - one).norm(dim=1) / lengths / (len(before) - (OUTPUT in before)))
    return torch.stack(terms).sum(0)


def _checked(smoothed: Tensor, images: Tensor) -> Tensor:
    if smoothed.shape != images.shape:
        must = f"a function that keeps the shape {tuple(images.shape)}"
        raise ValueError(message("squeeze", "detection_scores", must, smoothed))
    return smoothed


def _median(images: Tensor) -> Tensor:
    """Of each pixel and its neighbours above and on the left: the mean of the middle two of the four values."""
    windows = pad(images, (1, 0, 1, 0), mode="replicate").unfold(2, 2, 1).unfold(3, 2, 1).flatten(4)
    return (windows.sum(4) - windows.amax(4) - windows.amin(4)) / 2


def _blur(images: Tensor) -> Tensor:
    blurred: Tensor = gaussian_blur(images, [5, 5], [0.5, 0.5])
    return blurred


_SMOOTH: dict[str, Callable[[Tensor], Tensor]] = {"median": _median, "blur": _blur}


def detection_auc(clean_scores: Tensor, adversarial_scores: Tensor) -> Detection:
    """ROC curve of scores that shall be higher for adversarial images.

    Args:
        clean_scores: Of clean images, ``(N,)``.
        adversarial_scores: Of adversarial images, ``(M,)``.

    Returns:
        The curve and the area under it.

    Raises:
        ValueError: One of the two is empty, or holds a NaN.

    Example:
        >>> round(detection_auc(torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.3, 0.4])).auc, 3)
        0.917

    Reference:
        Fawcett, An introduction to ROC analysis, 2006.
    """
    from sklearn.metrics import auc, roc_curve  # here, because importing it takes a second

    for name, scores in (("clean_scores", clean_scores), ("adversarial_scores", adversarial_scores)):
        if scores.ndim != 1 or not len(scores) or bool(scores.isnan().any()):
            raise ValueError(message(name, "detection_auc", "one number or more, (N,), none of them NaN", scores))
    scores = torch.cat([clean_scores.cpu(), adversarial_scores.cpu()]).double()
    truth = torch.arange(len(scores)) >= len(clean_scores)
    fpr, tpr, thresholds = roc_curve(truth.numpy(), scores.numpy(), drop_intermediate=False)
    return Detection(float(auc(fpr, tpr)), *(torch.tensor(each) for each in (fpr, tpr, thresholds)))
