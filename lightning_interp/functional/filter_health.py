"""Two symptoms of filters that have not learned: silence, and noise where an edge or a colour should be."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from lightning_interp._checks import message
from lightning_interp.hooks import evaluating, observe

__all__ = ["dead_units", "high_frequency_share", "largest_activations"]

_FFT_SIZE = 32  # at least; larger filters get the next power of 2


def high_frequency_share(filters: Tensor) -> Tensor:
    r"""Share of each filter's power above half the Nyquist frequency, without its constant part.

    .. math:: \sum_{|f| > 1/4} |F(f)|^2 \Big/ \sum_f |F(f)|^2

    where :math:`F` is the Fourier transform of the filter less its mean, :math:`f` is in cycles per pixel, and powers
    are summed over input channels. White noise has about 0.8, a smooth filter almost 0. Large shares in the first
    layer show that it aliases, or was trained too short.

    Args:
        filters: Weights of a convolution, ``(O, I, h, w)``. They are filled up with zeros to one size, so that filters
            of any size compare.

    Returns:
        Shares in [0, 1], ``(O,)``; 0 for filters that are constant.

    Raises:
        ValueError: These are not the weights of a 2-D convolution.

    Example:
        >>> checkers = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).expand(1, 3, 2, 2)
        >>> bool(high_frequency_share(checkers) > 0.9)
        True

    Reference:
        Survey, section 4.3.2 and figure 9; Zeiler & Fergus, ECCV 2014, section 4.1.
    """
    if filters.ndim != 4 or not filters.numel():
        raise ValueError(message("filters", "high_frequency_share", "weights (O, I, h, w)", filters))
    size = max(_FFT_SIZE, 1 << (max(filters.shape[2:]) - 1).bit_length())
    weights = filters.detach().double()
    varying = weights - weights.mean((2, 3), keepdim=True)
    power = torch.fft.fft2(varying, s=(size, size)).abs().square().sum(1)
    frequency = torch.fft.fftfreq(size, dtype=torch.float64, device=filters.device)
    is_high = torch.hypot(frequency[:, None], frequency) > 0.25
    total = power.sum((1, 2))
    is_constant = total <= 1e-12 * size**2 * weights.square().sum((1, 2, 3))  # but for rounding
    shares: Tensor = (power * is_high).sum((1, 2)) / total.masked_fill(is_constant, 1.0)
    return shares.masked_fill(is_constant, 0.0).to(filters.dtype)


def largest_activations(model: nn.Module, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """The largest activation of every unit of some layers on any image, anywhere.

    Args:
        model: A network; it runs in eval mode and is left as it was.
        images: A batch for it, ``(N, ...)``.
        layers: Names of layers with outputs ``(N, units, ...)``.

    Returns:
        Layer name -> activations, ``(units,)``.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.ReLU())
        >>> largest_activations(net, torch.tensor([[[-1.0, 2.0]], [[-3.0, 1.0]]]), ["1"])["1"].tolist()
        [0.0, 2.0]
    """
    found: dict[str, Tensor] = {}

    def look(name: str, output: Tensor) -> None:
        found[name] = output.detach().transpose(0, 1).flatten(1).amax(1)

    with evaluating(model), observe(model, {name: partial(look, name) for name in layers}):
        model(images)
    return found


def dead_units(largest: Tensor) -> Tensor:
    """Which units were never active on a probe set.

    Args:
        largest: The largest activation of every unit behind its rectifier, ``(units,)``.

    Returns:
        Whether it is 0 or below, as bool ``(units,)``.

    Example:
        >>> dead_units(torch.tensor([0.0, 0.1, -2.0])).tolist()
        [True, False, True]

    Reference:
        Survey, section 4.3.2 and figure 9.
    """
    return largest <= 0
