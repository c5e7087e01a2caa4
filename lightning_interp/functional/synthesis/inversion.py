"""What a layer still knows of an image: an image with the same activations, found by optimisation."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Generator, Tensor, nn

from lightning_interp._checks import check_choice, check_int, check_number, message
from lightning_interp.functional.synthesis.image_params import FourierImages, ImageParameters, PixelImages
from lightning_interp.functional.synthesis.objectives import feature_match
from lightning_interp.functional.synthesis.optimize import OptimizerName, Stopped, ascend
from lightning_interp.functional.synthesis.pixels import PixelSpace
from lightning_interp.functional.synthesis.regularizers import AlphaNorm, Regularizer, TotalVariation
from lightning_interp.hooks import forward_to

__all__ = ["Inversion", "invert"]

# Weak enough for the features of a first layer to decide, strong enough to settle what deeper ones leave open.
_NATURAL = (AlphaNorm(1e-4, alpha=6.0, scale=2.0), TotalVariation(0.02, beta=2.0))


@dataclass(frozen=True)
class Inversion:
    """Images, and what can be recovered of them from one layer.

    Attributes:
        layer: The layer.
        images: The originals, ``(N, C, H, W)`` as the network takes them.
        reconstructions: Images with nearly the same activations, ``(N, C, H, W)``.
        feature_errors: ``||A(x) - A(x0)|| / ||A(x0)||`` of each, ``(N,)``.
        pixel_errors: ``||x - x0|| / ||x0 - mean of x0||`` of each, ``(N,)``; 1 is as bad as a grey image.
        trace: The relative feature error at the start and after each step, ``(T, N)``.
        stopped: ``"steps"``, ``"interrupted"`` or ``"not finite"``.
        space: How pixels become images of the network.
    """

    layer: str
    images: Tensor
    reconstructions: Tensor
    feature_errors: Tensor
    pixel_errors: Tensor
    trace: Tensor
    stopped: Stopped
    space: PixelSpace

    @property
    def pixels(self) -> Tensor:
        """The reconstructions for showing, ``(N, C, H, W)`` in [0, 1]."""
        return self.space.to_pixels(self.reconstructions)

    def save(self, path: str | Path) -> None:
        """Write to a safetensors file."""
        names = ("images", "reconstructions", "feature_errors", "pixel_errors", "trace")
        meta = {"layer": self.layer, "stopped": self.stopped, "mean": self.space.mean, "std": self.space.std}
        tensors = {name: getattr(self, name).cpu().contiguous() for name in names}
        save_file(tensors, path, {"inversion": json.dumps(meta)})

    @classmethod
    def load(cls, path: str | Path) -> "Inversion":
        """Read what :meth:`save` wrote."""
        with safe_open(path, framework="pt") as file:
            meta = json.loads(file.metadata()["inversion"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
        space = PixelSpace(tuple(meta["mean"]), tuple(meta["std"]))
        return cls(layer=meta["layer"], **tensors, stopped=meta["stopped"], space=space)


@torch.inference_mode(False)
def invert(
    model: nn.Module,
    images: Tensor,
    layer: str,
    *,
    regularizers: Sequence[Regularizer] = _NATURAL,
    fidelity: float = 1.0,
    parameters: str = "pixel",
    steps: int = 400,
    lr: float = 0.05,
    optimizer: OptimizerName = "adam",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    seed: int = 0,
) -> Inversion:
    """Find images whose activations at a layer are those of given images, from noise, all in one batch.

    Minimises ``fidelity * ||A(x) - A(x0)||^2 / ||A(x0)||^2 + regularisers``.

    Args:
        model: Any network; it runs in eval mode and is left as it was.
        images: ``(N, C, H, W)`` as the network takes them.
        layer: Name of the layer.
        regularizers: What a natural image is like; an alpha-norm and the total variation by default.
        fidelity: Weight of the features against the regularisers, C in the survey.
        parameters: ``"pixel"`` (cut to [0, 1]) or ``"fourier"``.
        steps: Steps at most.
        lr: Learning rate.
        optimizer: ``"adam"``, ``"sgd"`` or ``"lbfgs"``.
        mean: Of the network's normalisation, per channel; None if it takes pixels in [0, 1].
        std: Likewise.
        seed: Seed of the noise.

    Returns:
        Reconstructions with their errors.

    Raises:
        ValueError: An option is out of range, the layer does not exist, or it is silent on an image.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3))
        >>> found = invert(net, torch.rand(2, 3, 8, 8), "1", steps=5)
        >>> found.reconstructions.shape, bool((found.trace[-1] < found.trace[0]).all())
        (torch.Size([2, 3, 8, 8]), True)

    Reference:
        Mahendran and Vedaldi, CVPR 2015; survey, eq. 13 to 15 (the regulariser is added).
    """
    check_number(fidelity, "fidelity", "invert", low=1e-12)
    check_choice(parameters, "parameters", "invert", ("pixel", "fourier"))
    if images.ndim != 4 or not len(images):
        raise ValueError(message("images", "invert", "images (N, C, H, W)", images))
    space = PixelSpace.of(mean, std, channels=images.shape[1])
    generator = Generator().manual_seed(check_int(seed, "seed", "invert", low=0))
    target = activations(model, images, layer)
    if silent := (target.flatten(1) == 0).all(1).nonzero().flatten().tolist():
        must = f"a layer that responds to every image; {layer!r} is silent on images {silent[:8]}"
        raise ValueError(message("layer", "invert", must, layer))
    found = ascend(
        model,
        fidelity * feature_match(layer, target),
        _start(parameters, images, space, generator),
        regularizers=regularizers,
        steps=steps,
        lr=lr,
        optimizer=optimizer,
        generator=generator,
        owner="invert",
    )
    relative = [(-scores / fidelity).clamp(min=0).sqrt() for scores in (found.scores, found.trace)]
    pixel_errors = relative_pixel_error(images.to(found.images), found.images)
    return Inversion(layer, images, found.images, relative[0], pixel_errors, relative[1], found.stopped, space)


def activations(model: nn.Module, images: Tensor, layer: str) -> Tensor:
    """Activations of a layer, ``(N, ...)``, without their graph."""
    with forward_to(model, layer) as features, torch.no_grad():
        return features(images.clone())[layer]


def relative_pixel_error(images: Tensor, reconstructions: Tensor) -> Tensor:
    """``||x - x0|| / ||x0 - mean of x0||``, ``(N,)``, the mean being that of each channel of each image."""
    varies = (images - images.mean((2, 3), keepdim=True)).flatten(1).norm(dim=1)
    errors: Tensor = (reconstructions - images).flatten(1).norm(dim=1) / varies.clamp(min=1e-12)
    return errors


def _start(kind: str, images: Tensor, space: PixelSpace, generator: Generator) -> ImageParameters:
    make = PixelImages.noise if kind == "pixel" else FourierImages
    return make(images.shape, space=space, generator=generator, device=images.device)
