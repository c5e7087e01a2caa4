"""Plain networks: nothing of Lightning, nothing of ours."""

from lightning_interp.models.faster_rcnn import faster_rcnn
from lightning_interp.models.small_images import ResNet18ForSmallImages, VGG16ForSmallImages
from lightning_interp.models.thesis import CIFAR10CNN, SVHNCNN, FashionMNISTMLP, UrbanSoundsCNN
from lightning_interp.models.upconv_decoder import TopLeftUnpool, UpconvDecoder

__all__ = [
    "CIFAR10CNN",
    "SVHNCNN",
    "FashionMNISTMLP",
    "ResNet18ForSmallImages",
    "TopLeftUnpool",
    "UpconvDecoder",
    "UrbanSoundsCNN",
    "VGG16ForSmallImages",
    "faster_rcnn",
]
