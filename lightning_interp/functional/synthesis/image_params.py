"""How an image is made of the numbers that are optimised: pixels, a Fourier spectrum, or the code of a generator."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor, nn

from lightning_interp._checks import check_number, message
from lightning_interp.functional.synthesis.pixels import PixelSpace

__all__ = ["FourierImages", "GeneratedImages", "ImageParameters", "PixelImages", "color_basis"]

# Square root of the covariance of ImageNet's red, green and blue: constants of Lucid (Olah et al., Distill 2017).
_IMAGENET_COLORS = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))


class ImageParameters(ABC):
    """The base: ``values`` is the leaf that is optimised, calling it gives the images.

    Attributes:
        values: ``(N, ...)``, requires gradients.
        modules: Networks in between; they are run in eval mode with constant parameters.
    """

    modules: Sequence[nn.Module] = ()

    def __init__(self, values: Tensor) -> None:
        with torch.inference_mode(False):  # a tensor made in inference mode could not be optimised
            self.values = values.detach().clone().requires_grad_()

    @abstractmethod
    def __call__(self) -> Tensor:
        """Images ``(N, C, H, W)`` as the network takes them."""

    def penalty(self) -> Tensor | None:
        """Subtracted from the objective, ``(N,)``."""
        return None

    def restrict(self) -> None:  # noqa: B027  # nothing to do unless bounded
        """Put the values back to where they are allowed to be, after a step."""


class PixelImages(ImageParameters):
    """The image itself.

    Args:
        start: Images to start from, ``(N, C, H, W)`` as the network takes them.
        space: Where pixels lie in [0, 1]; images are cut to that after each step. None leaves them unbounded.

    Example:
        >>> PixelImages(torch.zeros(2, 3, 8, 8))().shape
        torch.Size([2, 3, 8, 8])
    """

    def __init__(self, start: Tensor, *, space: PixelSpace | None = None) -> None:
        super().__init__(start)
        self.bounds = None if space is None else space.bounds(start)

    @classmethod
    def noise(
        cls,
        shape: Sequence[int],
        *,
        space: PixelSpace,
        std: float = 0.05,
        generator: Generator | None = None,
        device: torch.device | str = "cpu",
    ) -> "PixelImages":
        """Grey with a little noise, ``shape`` being ``(N, C, H, W)``."""
        pixels = 0.5 + std * torch.randn(*shape, generator=generator)
        return cls(space.to_network(pixels.to(device)), space=space)

    def __call__(self) -> Tensor:
        """The images."""
        return self.values

    def restrict(self) -> None:
        """Into [0, 1], where bounded."""
        if self.bounds is not None:
            with torch.no_grad():
                self.values.clamp_(*self.bounds)


class FourierImages(ImageParameters):
    """The spectrum of decorrelated colours, scaled by frequency so that all frequencies move at one pace.

    A sigmoid keeps pixels in [0, 1].

    Args:
        shape: ``(N, C, H, W)``.
        space: How the network's images are normalised.
        colors: Colour basis ``(C, C)``, see :func:`color_basis`; None takes ImageNet's for three channels, and none for
            others.
        decay: Exponent of the frequency by which amplitudes fall.
        std: Of the random start.
        generator: Source of the start.
        device: Where the images are made.

    Raises:
        ValueError: ``colors`` has another shape.

    Example:
        >>> images = FourierImages((1, 4, 9, 7), generator=Generator().manual_seed(0))()
        >>> images.shape, bool(((images > 0) & (images < 1)).all())
        (torch.Size([1, 4, 9, 7]), True)

    Reference:
        Olah et al., Feature Visualization, Distill 2017, "Preconditioning and Parameterization".
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        space: PixelSpace | None = None,
        colors: Tensor | None = None,
        decay: float = 1.0,
        std: float = 0.01,
        generator: Generator | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        n, channels, height, width = shape
        check_number(decay, "decay", "FourierImages")
        if colors is None:
            colors = torch.tensor(_IMAGENET_COLORS) if channels == 3 else torch.eye(channels)
            colors = colors / colors.norm(dim=0).max()
        if colors.shape != (channels, channels):
            raise ValueError(message("colors", "FourierImages", f"of shape {(channels, channels)}", colors))
        frequencies = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None])
        self.size, self.space = (height, width), space or PixelSpace()
        # The constant part moves like the lowest frequency there is.
        self.scale = frequencies.clamp(min=1 / max(height, width)) ** -decay * (height * width) ** 0.5
        self.colors = colors.float()
        start = torch.randn(n, channels, *frequencies.shape, 2, generator=generator)
        super().__init__(std * start.to(device))

    def __call__(self) -> Tensor:
        """The images of the spectra."""
        spectrum = torch.view_as_complex(self.values) * self.scale.to(self.values)
        waves = torch.fft.irfft2(spectrum, s=self.size) / 4  # at the start, pixels vary by about a percent
        pixels = torch.einsum("dc,nchw->ndhw", self.colors.to(waves), waves).sigmoid()
        return self.space.to_network(pixels)


class GeneratedImages(ImageParameters):
    """Images that a generator makes of codes: its prior keeps them natural.

    Args:
        generator: A network or function from codes ``(N, ...)`` to images.
        codes: Codes to start from, ``(N, ...)``.
        l2: Weight of the penalty ``mean(code ** 2)``.
        bounds: Lowest and highest value of a code, numbers or tensors ``(...)``; codes are cut to that after each step.
        output_range: What the generator's darkest and brightest pixels are, such as ``(-1, 1)``; None where its images
            are as the network takes them.
        space: How the network's images are normalised; with ``output_range`` alone.

    Nothing keeps the generator's pixels in their range: where it may leave it, bound the codes, or add
    :class:`~lightning_interp.functional.synthesis.regularizers.AlphaNorm`.

    Example:
        >>> net = nn.Sequential(nn.Linear(5, 12), nn.Unflatten(1, (3, 2, 2)), nn.Tanh())
        >>> images = GeneratedImages(net, torch.zeros(2, 5), output_range=(-1, 1))
        >>> images().shape, images.penalty().detach()
        (torch.Size([2, 3, 2, 2]), tensor([0., 0.]))

    Reference:
        Nguyen et al., NeurIPS 2016 (DGN-AM); survey, eq. 10.
    """

    def __init__(
        self,
        generator: Callable[[Tensor], Tensor],
        codes: Tensor,
        *,
        l2: float = 1e-3,
        bounds: tuple[float | Tensor, float | Tensor] | None = None,
        output_range: tuple[float, float] | None = None,
        space: PixelSpace | None = None,
    ) -> None:
        super().__init__(codes)
        if output_range is not None and not output_range[0] < output_range[1]:
            raise ValueError(message("output_range", "GeneratedImages", "a lower and a higher number", output_range))
        self.generator, self.output_range, self.space = generator, output_range, space or PixelSpace()
        self.l2 = check_number(l2, "l2", "GeneratedImages")
        self.bounds = bounds and tuple(torch.as_tensor(bound).to(self.values) for bound in bounds)
        self.modules = [generator] if isinstance(generator, nn.Module) else []

    def __call__(self) -> Tensor:
        """What the generator makes of the codes."""
        images = self.generator(self.values)
        if self.output_range is None:
            return images
        low, high = self.output_range
        return self.space.to_network((images - low) / (high - low))

    def penalty(self) -> Tensor:
        """``(N,)``."""
        return self.l2 * self.values.flatten(1).square().mean(1)

    def restrict(self) -> None:
        """Codes into their bounds."""
        if self.bounds is not None:
            with torch.no_grad():
                self.values.clamp_(*self.bounds)


def color_basis(pixels: Tensor) -> Tensor:
    """The square root of the covariance of a dataset's channels, of spectral norm 1, for :class:`FourierImages`.

    Args:
        pixels: Images ``(N, C, H, W)`` in [0, 1].

    Returns:
        ``(C, C)``.

    Raises:
        ValueError: There are no images, or no channel varies.

    Example:
        >>> grey = torch.rand(4, 1, 8, 8).expand(-1, 3, -1, -1)
        >>> color_basis(grey).svd().S.round(decimals=1).tolist()  # only brightness varies
        [1.0, 0.0, 0.0]

    Reference:
        Olah et al., Feature Visualization, Distill 2017.
    """
    columns = pixels.float().transpose(0, 1).flatten(1)
    if columns.numel() == 0 or not bool((columns.amax(1) > columns.amin(1)).any()):
        raise ValueError(message("pixels", "color_basis", "images (N, C, H, W) that vary", pixels))
    covariance = torch.atleast_2d(columns.cov())
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors * values.clamp(min=0).sqrt()
    basis: Tensor = root / torch.linalg.matrix_norm(root, 2)
    return basis
