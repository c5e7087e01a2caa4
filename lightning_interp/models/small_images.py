"""ImageNet architectures fitted to 32x32 images: VGG16 with batch norm and dropout, and ResNet18."""

from torch import Tensor, nn
from torchvision.models import resnet18, vgg16_bn

__all__ = ["ResNet18ForSmallImages", "VGG16ForSmallImages"]


class VGG16ForSmallImages(nn.Module):
    """VGG16 with batch norm, dropout and one hidden layer: torchvision's trunk, a head for 1x1 feature maps.

    Args:
        n_classes: Number of classes.
        dropout: Probability of dropping a unit before each linear layer.
        in_channels: Channels of the input image.

    Example:
        >>> import torch
        >>> VGG16ForSmallImages()(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(self, n_classes: int = 10, dropout: float = 0.5, in_channels: int = 3) -> None:
        super().__init__()
        self.features = vgg16_bn(weights=None).features
        if in_channels != 3:
            self.features[0] = nn.Conv2d(in_channels, 64, 3, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(512, 512),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(512, n_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Class scores ``(N, n_classes)`` of images ``(N, C, H, W)``, at least 32 pixels a side."""
        scores: Tensor = self.classifier(self.pool(self.features(images)).flatten(1))
        return scores


class ResNet18ForSmallImages(nn.Module):
    """ResNet18 with a 3x3 stem of stride 1 and no stem pooling, so that 32x32 images keep their detail.

    Args:
        n_classes: Number of classes.
        in_channels: Channels of the input image.

    Example:
        >>> import torch
        >>> ResNet18ForSmallImages()(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(self, n_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        trunk = resnet18(weights=None, num_classes=n_classes)
        trunk.conv1 = nn.Conv2d(in_channels, 64, 3, padding=1, bias=False)
        trunk.maxpool = nn.Identity()
        self.trunk = trunk

    def forward(self, images: Tensor) -> Tensor:
        """Class scores ``(N, n_classes)`` of images ``(N, C, H, W)``."""
        scores: Tensor = self.trunk(images)
        return scores
