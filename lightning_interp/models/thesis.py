"""The four networks of the thesis (table 3.1): 3x3 convolutions or linear layers, each followed by a ReLU.

There is no norm in the table; the convolutional ones take ``batch_norm=True`` for comparison.
"""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

__all__ = ["CIFAR10CNN", "SVHNCNN", "FashionMNISTMLP", "UrbanSoundsCNN"]

# An entry is (width in units of the first layer, stride), or "P" for a 2x2 max-pool.
_Plan = Sequence[tuple[int, int] | str]
_CIFAR10: _Plan = [(1, 1), (1, 1), (2, 2), (2, 1), (2, 1), (4, 2), (4, 1), (4, 1), (8, 2), (8, 1), (8, 1)]
_SVHN: _Plan = [(1, 1), (1, 1), (2, 2), (2, 1), (4, 2), (4, 1), (8, 2), (8, 1)]
_URBAN: _Plan = [(1, 1), "P", (2, 1), (2, 1), "P", (4, 1), (4, 1), "P", (8, 1), (8, 1), "P"]
_FASHION = (1, 4, 16, 16)


def _convolutions(
    plan: _Plan, width: int, in_channels: int, image_size: tuple[int, int], batch_norm: bool
) -> tuple[nn.Sequential, int]:
    """The convolutional trunk of ``plan`` and the number of features it ends with."""
    layers: list[nn.Module] = []
    channels, (height, breadth) = in_channels, image_size
    for step in plan:
        if isinstance(step, str):
            layers.append(nn.MaxPool2d(2))
            height, breadth = height // 2, breadth // 2
            continue
        factor, stride = step
        layers.append(nn.Conv2d(channels, factor * width, 3, stride=stride, padding=1))
        channels = factor * width
        layers += [nn.BatchNorm2d(channels)] * batch_norm + [nn.ReLU(inplace=True)]
        height, breadth = -(-height // stride), -(-breadth // stride)
    if height < 1 or breadth < 1:
        smallest = 2 ** sum(step == "P" for step in plan)
        raise ValueError(f"The `image_size` parameter must be at least {smallest} pixels a side. Got {image_size}.")
    return nn.Sequential(*layers), channels * height * breadth


def _hidden(sizes: Sequence[int]) -> list[nn.Module]:
    return [module for n, m in pairwise(sizes) for module in (nn.Linear(n, m), nn.ReLU(inplace=True))]


def _he_initialise(network: nn.Module) -> None:
    # Eleven ReLU layers without norm do not start learning from PyTorch's default, which shrinks the signal.
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.constant_(module.get_parameter("bias"), 0.0)


class _ThesisCNN(nn.Sequential):
    """A trunk named ``features``, flattened, and a ``classifier``."""

    def __init__(
        self,
        plan: _Plan,
        n_classes: int,
        width: int,
        in_channels: int,
        image_size: int | tuple[int, int],
        batch_norm: bool,
        hidden: Sequence[int] = (),
    ) -> None:
        size = (image_size, image_size) if isinstance(image_size, int) else (image_size[0], image_size[1])
        features, n_features = _convolutions(plan, width, in_channels, size, batch_norm)
        sizes = [n_features, *hidden]
        head = nn.Sequential(*_hidden(sizes), nn.Linear(sizes[-1], n_classes))
        super().__init__(OrderedDict(features=features, flatten=nn.Flatten(), classifier=head))
        _he_initialise(self)


class CIFAR10CNN(_ThesisCNN):
    """Eleven convolutions 64 64 128/2 128 128 256/2 256 256 512/2 512 512 and a linear classifier.

    Args:
        n_classes: Number of classes.
        width: Channels of the first layer; all others scale with it (64 in the thesis).
        in_channels: Channels of the input image.
        image_size: Side of the input image, or ``(height, width)``.
        batch_norm: Put batch norm between each convolution and its ReLU (the thesis has none).

    Example:
        >>> import torch
        >>> CIFAR10CNN(width=8)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])

    Reference:
        Thesis, table 3.1.
    """

    def __init__(
        self,
        n_classes: int = 10,
        width: int = 64,
        in_channels: int = 3,
        image_size: int | tuple[int, int] = 32,
        batch_norm: bool = False,
    ) -> None:
        super().__init__(_CIFAR10, n_classes, width, in_channels, image_size, batch_norm)


class SVHNCNN(_ThesisCNN):
    """Eight convolutions 64 64 128/2 128 256/2 256 512/2 512 and a linear classifier.

    Args:
        n_classes: Number of classes.
        width: Channels of the first layer; all others scale with it (64 in the thesis).
        in_channels: Channels of the input image.
        image_size: Side of the input image, or ``(height, width)``.
        batch_norm: Put batch norm between each convolution and its ReLU (the thesis has none).

    Example:
        >>> import torch
        >>> SVHNCNN(width=8)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])

    Reference:
        Thesis, table 3.1.
    """

    def __init__(
        self,
        n_classes: int = 10,
        width: int = 64,
        in_channels: int = 3,
        image_size: int | tuple[int, int] = 32,
        batch_norm: bool = False,
    ) -> None:
        super().__init__(_SVHN, n_classes, width, in_channels, image_size, batch_norm)


class UrbanSoundsCNN(_ThesisCNN):
    """64 P 128 128 P 256 256 P 512 512 P, then two hidden linear layers of 4096: a spectrogram classifier.

    Args:
        n_classes: Number of classes.
        width: Channels of the first layer; all others, the hidden layers included, scale with it (64 in the thesis).
        in_channels: Channels of the spectrogram.
        image_size: Side of the spectrogram, or ``(bands, frames)``; at least 16 a side.
        batch_norm: Put batch norm between each convolution and its ReLU (the thesis has none).

    Example:
        >>> import torch
        >>> UrbanSoundsCNN(width=4, image_size=(32, 48))(torch.zeros(2, 1, 32, 48)).shape
        torch.Size([2, 10])

    Reference:
        Thesis, table 3.1.
    """

    def __init__(
        self,
        n_classes: int = 10,
        width: int = 64,
        in_channels: int = 1,
        image_size: int | tuple[int, int] = 64,
        batch_norm: bool = False,
    ) -> None:
        super().__init__(_URBAN, n_classes, width, in_channels, image_size, batch_norm, hidden=(64 * width, 64 * width))


class FashionMNISTMLP(nn.Sequential):
    """Hidden layers of 128 512 2048 2048 with ReLU, and a linear classifier.

    Args:
        n_classes: Number of classes.
        width: Units of the first hidden layer; all others scale with it (128 in the thesis).
        in_features: Numbers per input image (784 for 28x28 grey images).

    Example:
        >>> import torch
        >>> FashionMNISTMLP(width=16)(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])

    Reference:
        Thesis, table 3.1.
    """

    def __init__(self, n_classes: int = 10, width: int = 128, in_features: int = 784) -> None:
        sizes = [in_features, *(factor * width for factor in _FASHION)]
        head = nn.Linear(sizes[-1], n_classes)
        super().__init__(OrderedDict(flatten=nn.Flatten(), features=nn.Sequential(*_hidden(sizes)), classifier=head))
        _he_initialise(self)
