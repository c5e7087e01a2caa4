"""What keeps a synthesised image from being noise: penalties, other views of it, and edits between steps."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn.functional import pad
from torchvision.transforms.v2.functional import gaussian_blur

from lightning_interp._checks import check_int, check_number, message

__all__ = ["AlphaNorm", "ClipSmall", "Decay", "GaussianBlur", "Jitter", "L2Norm", "Regularizer", "TotalVariation"]


class Regularizer:
    """The base: does nothing in three places, of which a subclass takes one.

    Regularisers combine at will: ``regularizers=[TotalVariation(0.01), Jitter(4)]``. Images are ``(N, C, H, W)`` as
    the network takes them.
    """

    edits = False  # whether it changes pixels between steps, which only pixel parameters allow

    def penalty(self, images: Tensor) -> Tensor | float:
        """Subtracted from the objective, ``(N,)``."""
        return 0.0

    def view(self, images: Tensor, generator: Generator) -> Tensor:
        """What the network sees in place of the images."""
        return images

    def edit(self, images: Tensor, gradient: Tensor, step: int) -> Tensor:
        """The images after a step, ``gradient`` being that of the objective before it."""
        return images


@dataclass(frozen=True)
class L2Norm(Regularizer):
    """Penalty ``weight * mean(x ** 2)``.

    Reference:
        Simonyan et al., 2013; survey, eq. 9.
    """

    weight: float = 1e-2

    def __post_init__(self) -> None:
        check_number(self.weight, "weight", "L2Norm")

    def penalty(self, images: Tensor) -> Tensor:
        """``(N,)``."""
        return self.weight * images.flatten(1).square().mean(1)


@dataclass(frozen=True)
class AlphaNorm(Regularizer):
    """Penalty ``weight * mean(|x / scale| ** alpha)``: values beyond ``scale`` become expensive.

    Reference:
        Mahendran and Vedaldi, CVPR 2015, section 3; survey, section 5.2.1.
    """

    weight: float = 1e-2
    alpha: float = 6.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        for name, value, low in (("weight", self.weight, 0.0), ("alpha", self.alpha, 1.0), ("scale", self.scale, 1e-9)):
            check_number(value, name, "AlphaNorm", low=low)

    def penalty(self, images: Tensor) -> Tensor:
        """``(N,)``."""
        return self.weight * (images.flatten(1) / self.scale).abs().pow(self.alpha).mean(1)


@dataclass(frozen=True)
class TotalVariation(Regularizer):
    """Penalty ``weight * mean((dx ** 2 + dy ** 2) ** (beta / 2))`` over the differences of neighbouring pixels.

    What weight is strong depends on the objective: about a hundredth of its size to begin with.

    Reference:
        Mahendran and Vedaldi, CVPR 2015; survey, eq. 15.
    """

    weight: float = 1e-2
    beta: float = 2.0

    def __post_init__(self) -> None:
        check_number(self.weight, "weight", "TotalVariation")
        check_number(self.beta, "beta", "TotalVariation", low=0.1)

    def penalty(self, images: Tensor) -> Tensor:
        """``(N,)``."""
        down = pad(images[..., 1:, :] - images[..., :-1, :], (0, 0, 0, 1))  # the last row has none below it
        right = pad(images[..., 1:] - images[..., :-1], (0, 1))
        # A little above zero: the root has no derivative on flat areas.
        squares = down.square() + right.square() + (0.0 if self.beta == 2 else 1e-8)
        return self.weight * squares.pow(self.beta / 2).flatten(1).mean(1)


@dataclass(frozen=True)
class Jitter(Regularizer):
    """Shows the network the images moved by up to ``pixels`` in both directions, anew in each step.

    Args:
        pixels: None is a sixteenth of the shorter side.

    Reference:
        Mordvintsev et al., 2015; survey, section 5.2.1.
    """

    pixels: int | None = None

    def __post_init__(self) -> None:
        if self.pixels is not None:
            check_int(self.pixels, "pixels", "Jitter", low=0)

    def view(self, images: Tensor, generator: Generator) -> Tensor:
        """The images moved, what leaves on one side entering on the other."""
        reach = min(images.shape[2:]) // 16 if self.pixels is None else self.pixels
        down, right = torch.randint(-reach, reach + 1, (2,), generator=generator).tolist()
        return images.roll((down, right), (2, 3))


@dataclass(frozen=True)
class Decay(Regularizer):
    """Multiplies the image by ``1 - rate`` after each step: L2 decay.

    Reference:
        Yosinski et al., 2015, section 3; survey, section 3.2.2.
    """

    rate: float = 0.01
    edits = True

    def __post_init__(self) -> None:
        check_number(self.rate, "rate", "Decay", high=1.0)

    def edit(self, images: Tensor, gradient: Tensor, step: int) -> Tensor:
        """The images, a little nearer to zero."""
        return images * (1 - self.rate)


@dataclass(frozen=True)
class GaussianBlur(Regularizer):
    """Blurs the image every few steps.

    Reference:
        Yosinski et al., 2015, section 3; survey, section 3.2.2.
    """

    sigma: float = 0.5
    every: int = 4
    edits = True

    def __post_init__(self) -> None:
        check_number(self.sigma, "sigma", "GaussianBlur", low=1e-3)
        check_int(self.every, "every", "GaussianBlur")

    def edit(self, images: Tensor, gradient: Tensor, step: int) -> Tensor:
        """The images, blurred in every n-th step."""
        if (step + 1) % self.every:
            return images
        reach = min(max(1, round(3 * self.sigma)), min(images.shape[2:]) - 1)  # reflection needs that many pixels
        blurred: Tensor = gaussian_blur(images, [2 * reach + 1] * 2, [self.sigma] * 2)
        return blurred


@dataclass(frozen=True)
class ClipSmall(Regularizer):
    """Sets a share of the pixels to zero: those of small norm, or of small contribution ``|x * gradient|``.

    Args:
        share: Share of the pixels of each image.
        by: ``"norm"`` or ``"contribution"``.
        every: Steps between two cuts.

    Reference:
        Yosinski et al., 2015, section 3; survey, section 3.2.2.
    """

    share: float = 0.05
    by: str = "norm"
    every: int = 10
    edits = True

    def __post_init__(self) -> None:
        check_number(self.share, "share", "ClipSmall", high=1.0)
        check_int(self.every, "every", "ClipSmall")
        if self.by not in ("norm", "contribution"):
            raise ValueError(message("by", "ClipSmall", "'norm' or 'contribution'", self.by))

    def edit(self, images: Tensor, gradient: Tensor, step: int) -> Tensor:
        """The images, zero where a pixel counts little."""
        count = int(self.share * images[0, 0].numel())
        if (step + 1) % self.every or not count:
            return images
        size = images.norm(dim=1) if self.by == "norm" else (images * gradient).sum(1).abs()
        smallest = size.flatten(1).topk(count, largest=False).indices
        kept = torch.ones_like(size).flatten(1).scatter(1, smallest, 0.0).view_as(size)
        return images * kept[:, None]
