"""Images that units, channels, classes or directions respond to most."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Generator, Tensor, nn

from lightning_interp._checks import check_int, message
from lightning_interp.functional.synthesis.image_params import FourierImages, ImageParameters, PixelImages
from lightning_interp.functional.synthesis.objectives import Objective
from lightning_interp.functional.synthesis.optimize import OptimizerName, Stopped, ascend
from lightning_interp.functional.synthesis.pixels import PixelSpace
from lightning_interp.functional.synthesis.regularizers import Jitter, Regularizer

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Maximization", "Parameters", "maximize_activation"]

Parameters: TypeAlias = Literal["fourier", "pixel"] | ImageParameters


@dataclass(frozen=True)
class Maximization:
    """Images and what they excite.

    Attributes:
        names: What each image maximises.
        images: ``(N, C, H, W)`` as the network takes them.
        activations: Objective of each, ``(N,)``.
        trace: Objectives at the start and after each step, ``(T, N)``.
        stopped: ``"steps"``, ``"threshold"``, ``"interrupted"`` or ``"not finite"``.
        space: How pixels become images of the network.
    """

    names: tuple[str, ...]
    images: Tensor
    activations: Tensor
    trace: Tensor
    stopped: Stopped
    space: PixelSpace

    @property
    def pixels(self) -> Tensor:
        """The images for showing, ``(N, C, H, W)`` in [0, 1]."""
        return self.space.to_pixels(self.images)

    def to_dataframe(self) -> "pd.DataFrame":
        """A row per image: ``objective``, ``activation``, ``at_start``."""
        import pandas as pd  # here, because importing it takes a second

        values = {"activation": self.activations.tolist(), "at_start": self.trace[0].tolist()}
        return pd.DataFrame({"objective": self.names, **values})

    def save(self, path: str | Path) -> None:
        """Write to a safetensors file."""
        tensors = {"images": self.images, "activations": self.activations, "trace": self.trace}
        meta = {"names": self.names, "stopped": self.stopped, "mean": self.space.mean, "std": self.space.std}
        save_file({k: v.cpu().contiguous() for k, v in tensors.items()}, path, {"maximization": json.dumps(meta)})

    @classmethod
    def load(cls, path: str | Path) -> "Maximization":
        """Read what :meth:`save` wrote."""
        with safe_open(path, framework="pt") as file:
            meta = json.loads(file.metadata()["maximization"])
            tensors = {name: file.get_tensor(name) for name in ("images", "activations", "trace")}
        space = PixelSpace(tuple(meta["mean"]), tuple(meta["std"]))
        return cls(names=tuple(meta["names"]), **tensors, stopped=meta["stopped"], space=space)


@torch.inference_mode(False)
def maximize_activation(
    model: nn.Module,
    objectives: Objective | Sequence[Objective],
    *,
    image_shape: Sequence[int] | None = None,
    parameters: Parameters = "fourier",
    start: Tensor | None = None,
    regularizers: Sequence[Regularizer] = (Jitter(),),
    steps: int = 256,
    lr: float = 0.05,
    optimizer: OptimizerName = "adam",
    threshold: float | None = None,
    n_images: int = 1,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    colors: Tensor | None = None,
    seed: int = 0,
) -> Maximization:
    """Make images that maximise objectives by gradient ascent, all in one batch.

    Each image keeps its best iterate, and Ctrl-C ends the search with what there is. The network is only run up to the
    layer that is asked for, so an early layer is quick and takes images of any size.

    Args:
        model: Any network; it runs in eval mode and is left as it was.
        objectives: What to maximise, such as ``channel("features.10", 5)``: one, or one for each image. See
            :mod:`lightning_interp.functional.synthesis.objectives`.
        image_shape: ``(C, H, W)`` of the images; that of ``start``, or of ``model.example_input_array``, by default.
        parameters: ``"fourier"`` (decorrelated colours, all frequencies move at one pace), ``"pixel"``, or parameters
            of your own, such as :class:`~lightning_interp.functional.synthesis.image_params.GeneratedImages` (DGN-AM).
        start: Images to start from, ``(1 or N, C, H, W)`` as the network takes them, such as a mean image; for pixels.
        regularizers: See :mod:`lightning_interp.functional.synthesis.regularizers`; they combine at will. A total
            variation, weighted by the size of the activations, makes shapes stand out.
        steps: Steps at most.
        lr: Learning rate.
        optimizer: ``"adam"``, ``"sgd"`` (plain gradient ascent, eq. 8 of the survey) or ``"lbfgs"``.
        threshold: An image is finished once its objective reaches this.
        n_images: Images of a single objective, from different starts.
        mean: Of the network's normalisation, per channel; None if it takes pixels in [0, 1].
        std: Likewise.
        colors: Colour basis for ``"fourier"``, see
            :func:`~lightning_interp.functional.synthesis.image_params.color_basis`; ImageNet's for three channels.
        seed: Seed of start and jitter.

    Returns:
        The images, their activations and the trace.

    Raises:
        ValueError: An option is out of range, a unit or layer does not exist, or the objective is not finite.
        TypeError: An argument is of another type.

    Example:
        >>> from lightning_interp.functional.synthesis import channel
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU())
        >>> found = maximize_activation(net, [channel("1", i) for i in range(4)], image_shape=(3, 16, 16), steps=8)
        >>> found.images.shape, bool((found.activations >= found.trace[0]).all())
        (torch.Size([4, 3, 16, 16]), True)

    Reference:
        Erhan et al., 2009; Olah et al., Distill 2017; survey, section 3, eq. 7 to 10.
    """
    owner = "maximize_activation"
    names = [objectives.name] if isinstance(objectives, Objective) else [each.name for each in objectives]
    generator = Generator().manual_seed(check_int(seed, "seed", owner, low=0))
    n = len(names) if len(names) > 1 else check_int(n_images, "n_images", owner)
    if isinstance(parameters, ImageParameters):
        made, n = parameters, len(parameters.values)
        space = PixelSpace.of(mean, std, channels=max(len(mean or [0]), len(std or [0])))
    else:
        shape = (n, *_shape(model, image_shape, start))
        space = PixelSpace.of(mean, std, channels=shape[1])
        made = _parameters(parameters, shape, start, space, colors, generator, model)
    found = ascend(
        model,
        objectives,
        made,
        regularizers=regularizers,
        steps=steps,
        lr=lr,
        optimizer=optimizer,
        threshold=threshold,
        generator=generator,
        owner=owner,
    )
    names = names if len(names) == n else names * n
    return Maximization(tuple(names), found.images, found.scores, found.trace, found.stopped, space)


def _shape(model: nn.Module, given: Sequence[int] | None, start: Tensor | None) -> tuple[int, ...]:
    example = start if start is not None else getattr(model, "example_input_array", None)
    shape = tuple(given) if given is not None else tuple(example.shape[1:]) if isinstance(example, Tensor) else ()
    if len(shape) != 3 or min(shape) < 1:
        must = "(channels, height, width) of the images to make"
        raise ValueError(message("image_shape", "maximize_activation", must, given))
    return shape


def _parameters(
    kind: str,
    shape: tuple[int, ...],
    start: Tensor | None,
    space: PixelSpace,
    colors: Tensor | None,
    generator: Generator,
    model: nn.Module,
) -> ImageParameters:
    weight = next(model.parameters(), None)
    device = torch.device("cpu") if weight is None else weight.device
    if kind == "fourier" and start is None:
        return FourierImages(shape, space=space, colors=colors, generator=generator, device=device)
    if kind == "pixel" and start is None:
        return PixelImages.noise(shape, space=space, generator=generator, device=device)
    if kind != "pixel" or start is None:
        must = "'fourier', 'pixel' (the only one with a start image) or ImageParameters"
        raise ValueError(message("parameters", "maximize_activation", must, kind))
    if start.shape[1:] != shape[1:] or len(start) not in (1, shape[0]):
        raise ValueError(message("start", "maximize_activation", f"of shape {shape}, or one image", start))
    return PixelImages(start.to(device).expand(shape), space=space)
