"""Images that mean nothing to us and that a network is sure about."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lightning_interp._checks import check_number, message
from lightning_interp.functional.synthesis.activation_maximization import Parameters, maximize_activation
from lightning_interp.functional.synthesis.objectives import log_odds
from lightning_interp.functional.synthesis.pixels import PixelSpace
from lightning_interp.functional.synthesis.regularizers import Regularizer
from lightning_interp.hooks import OUTPUT, forward_to

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FoolingImages", "fooling_images"]

_MARGIN = 1e-3  # of the log odds, so that rounding does not put an image below what was asked for


@dataclass(frozen=True)
class FoolingImages:
    """Images made to be classified with confidence.

    Attributes:
        classes: What each image shall be.
        images: ``(N, C, H, W)`` as the network takes them.
        confidences: Softmax probability of that class, ``(N,)`` float64.
        confidence: The one asked for.
        steps: Steps until the network was that sure of what it was shown (with jitter, a moved image), ``(N,)``; -1 if
            it never was.
        trace: Log odds of the class at the start and after each step, ``(T, N)``.
        space: How pixels become images of the network.
    """

    classes: tuple[int, ...]
    images: Tensor
    confidences: Tensor
    confidence: float
    steps: Tensor
    trace: Tensor
    space: PixelSpace

    @property
    def pixels(self) -> Tensor:
        """The images for showing, ``(N, C, H, W)`` in [0, 1]."""
        return self.space.to_pixels(self.images)

    @property
    def reached(self) -> Tensor:
        """Whether the network is as sure of an image as was asked for, ``(N,)``."""
        return self.confidences >= self.confidence

    def to_dataframe(self) -> "pd.DataFrame":
        """A row per image: ``class``, ``confidence``, ``reached``, ``steps``."""
        import pandas as pd  # here, because importing it takes a second

        columns = {"confidence": self.confidences, "reached": self.reached, "steps": self.steps}
        return pd.DataFrame({"class": self.classes, **{name: column.tolist() for name, column in columns.items()}})

    def save(self, path: str | Path) -> None:
        """Write to a safetensors file."""
        tensors = {name: getattr(self, name).cpu().contiguous() for name in _TENSORS}
        space = {"mean": self.space.mean, "std": self.space.std}
        save_file(tensors, path, {"fooling": json.dumps({"classes": self.classes, "asked": self.confidence, **space})})

    @classmethod
    def load(cls, path: str | Path) -> "FoolingImages":
        """Read what :meth:`save` wrote."""
        with safe_open(path, framework="pt") as file:
            meta = json.loads(file.metadata()["fooling"])
            tensors = {name: file.get_tensor(name) for name in _TENSORS}
        space = PixelSpace(tuple(meta["mean"]), tuple(meta["std"]))
        return cls(classes=tuple(meta["classes"]), confidence=meta["asked"], space=space, **tensors)


_TENSORS = ("images", "confidences", "steps", "trace")


def fooling_images(
    model: nn.Module,
    classes: Sequence[int],
    *,
    image_shape: Sequence[int] | None = None,
    confidence: float = 0.9999,
    regularizers: Sequence[Regularizer] = (),
    parameters: Parameters = "pixel",
    start: Tensor | None = None,
    steps: int = 400,
    lr: float = 0.02,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    seed: int = 0,
) -> FoolingImages:
    """Gradient ascent from noise until the network is all but certain of a class: one image for each.

    Ascends the log odds of the class, ``log(p / (1 - p))``, until they say ``p >= confidence``. Regularisers make
    images smoother, and confidence harder to reach.

    Args:
        model: A network with class scores ``(N, n_classes)``; it runs in eval mode and is left as it was.
        classes: The class of each image; a class may come several times.
        image_shape: ``(C, H, W)``; that of ``start``, or of ``model.example_input_array``, by default.
        confidence: Softmax probability to reach, below 1.
        regularizers: See :mod:`lightning_interp.functional.synthesis.regularizers`; none by default.
        parameters: ``"pixel"``, ``"fourier"``, or your own, see
            :func:`~lightning_interp.functional.synthesis.maximize_activation`.
        start: Images to start from, ``(1 or N, C, H, W)`` as the network takes them; grey noise by default.
        steps: Steps at most.
        lr: Learning rate of Adam, in what the network takes.
        mean: Of the network's normalisation, per channel; None if it takes pixels in [0, 1].
        std: Likewise.
        seed: Seed of noise and jitter.

    Returns:
        The images with the confidence they reach, whether or not that is what was asked for.

    Raises:
        ValueError: No class, an unknown one, or an option out of range.
        TypeError: An argument is of another type.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4))
        >>> _ = net[1].weight.data.mul_(9.0)
        >>> fooling_images(net, [0, 1, 2, 3], image_shape=(3, 8, 8)).reached
        tensor([True, True, True, True])

    Reference:
        Nguyen et al., Deep neural networks are easily fooled, CVPR 2015, section 2.3; survey, section 7.1 and figure
        19.
    """
    owner = "fooling_images"
    wanted = [int(each) for each in classes]
    if not wanted:
        raise ValueError(message("classes", owner, "at least one class", classes))
    if not 0 < check_number(confidence, "confidence", owner) < 1:
        raise ValueError(message("confidence", owner, "a number above 0 and below 1", confidence))
    threshold = log(confidence / (1 - confidence)) + _MARGIN
    found = maximize_activation(
        model,
        [log_odds(each) for each in wanted],
        image_shape=image_shape,
        parameters=parameters,
        start=start,
        regularizers=regularizers,
        steps=steps,
        lr=lr,
        threshold=threshold,
        mean=mean,
        std=std,
        seed=seed,
    )
    sure = (found.trace >= threshold).cpu()
    first = torch.where(sure.any(0), sure.int().argmax(0), -1)
    confidences = _confidences(model, found.images, wanted)
    return FoolingImages(tuple(wanted), found.images, confidences, confidence, first, found.trace, found.space)


def _confidences(model: nn.Module, images: Tensor, classes: Sequence[int]) -> Tensor:
    """Of the images themselves, which regularisers may have shown to the network in other ways."""
    with forward_to(model, OUTPUT) as features, torch.no_grad():
        scores = features(images.clone())
    rows = [log_odds(each)({OUTPUT: scores[OUTPUT][i : i + 1]}) for i, each in enumerate(classes)]
    return torch.cat(rows).double().sigmoid().cpu()
