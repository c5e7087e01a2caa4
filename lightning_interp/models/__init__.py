"""Plain networks: nothing of Lightning, nothing of ours."""

from lightning_interp.models.faster_rcnn import faster_rcnn
from lightning_interp.models.small_images import ResNet18ForSmallImages, VGG16ForSmallImages
from lightning_interp.models.thesis import CIFAR10CNN, SVHNCNN, FashionMNISTMLP, UrbanSoundsCNN

__all__ = [
    "CIFAR10CNN",
    "SVHNCNN",
    "FashionMNISTMLP",
    "ResNet18ForSmallImages",
    "UrbanSoundsCNN",
    "VGG16ForSmallImages",
    "faster_rcnn",
]
