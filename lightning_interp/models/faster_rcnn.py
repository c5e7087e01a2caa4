"""Faster R-CNN of torchvision with the backbones of its time."""

from typing import Any, Literal, get_args

from torch import nn
from torchvision.models import ResNet50_Weights, VGG16_Weights, vgg16
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign

from lightning_interp._checks import check_choice, check_int, message

__all__ = ["faster_rcnn"]

BackboneName = Literal["vgg16", "resnet50_fpn"]
BackboneWeights = Literal["imagenet"]
_RATIOS = (0.5, 1.0, 2.0)
_ROI_SIDE = 7


def faster_rcnn(
    backbone: BackboneName | nn.Module = "vgg16",
    *,
    n_classes: int = 20,
    weights: BackboneWeights | None = None,
    min_size: int = 600,
    max_size: int = 1000,
    head_width: int | None = None,
    **options: Any,
) -> FasterRCNN:
    """Build Faster R-CNN; without ``weights`` nothing is downloaded.

    VGG16 is that of the paper: features of stride 16, its own two hidden layers on top of every region, anchors of
    128, 256 and 512 pixels at ``min_size=600``, in proportion at other sizes. With ``weights`` its first four
    convolutions stay as they are, as does the first stage of the ResNet.

    Args:
        backbone: ``"vgg16"``, ``"resnet50_fpn"``, or a network that gives one feature map and has ``out_channels``.
        n_classes: Number of classes; the background is added to them as class 0.
        weights: ``"imagenet"`` downloads those of the backbone, None draws them.
        min_size: Images are scaled to this shorter side ...
        max_size: ... unless their longer side would get larger than this.
        head_width: Units of the two hidden layers on top of a region; 4096 for VGG16 and 1024 for others when None.
        **options: Of torchvision's ``FasterRCNN``: proposals, thresholds, sampling.

    Returns:
        The network. In training it maps images and targets to losses, else images to a dict of ``boxes``, ``labels``
        and ``scores`` each.

    Raises:
        ValueError: If an option has an unknown name or a number is out of range.
        TypeError: If a number is not an int.

    Example:
        >>> import torch
        >>> net = faster_rcnn(nn.Conv2d(3, 8, 3, stride=8), n_classes=3, min_size=32, head_width=16).eval()
        >>> sorted(net([torch.rand(3, 32, 48)])[0])
        ['boxes', 'labels', 'scores']

    Reference:
        Ren et al., Faster R-CNN, NeurIPS 2015; its public code for the sizes.
    """
    check_int(n_classes, "n_classes", "faster_rcnn")
    check_int(min_size, "min_size", "faster_rcnn")
    check_int(max_size, "max_size", "faster_rcnn", low=min_size)
    if head_width is not None:
        check_int(head_width, "head_width", "faster_rcnn")
    if weights is not None:
        check_choice(weights, "weights", "faster_rcnn", get_args(BackboneWeights))
    trunk, head = _parts(backbone, weights)
    pyramid = backbone == "resnet50_fpn"
    if head is None or head_width is not None:
        head_width = head_width or 1024
        head = TwoMLPHead(trunk.out_channels * _ROI_SIDE**2, head_width)
    names = ["0", "1", "2", "3"] if pyramid else ["0"]
    return FasterRCNN(
        trunk,
        min_size=min_size,
        max_size=max_size,
        rpn_anchor_generator=_anchors(min_size, pyramid=pyramid),
        box_roi_pool=MultiScaleRoIAlign(featmap_names=names, output_size=_ROI_SIDE, sampling_ratio=2),
        box_head=head,
        box_predictor=FastRCNNPredictor(head_width or 4096, n_classes + 1),
        **options,
    )


def _parts(backbone: BackboneName | nn.Module, weights: BackboneWeights | None) -> tuple[Any, nn.Module | None]:
    """The network under the regions and, where it brings one, the network on top of each."""
    if isinstance(backbone, nn.Module):
        if not hasattr(backbone, "out_channels"):
            raise ValueError(
                message("backbone", "faster_rcnn", "a network with the attribute `out_channels`", backbone)
            )
        return backbone, None
    check_choice(backbone, "backbone", "faster_rcnn", get_args(BackboneName))
    if backbone == "vgg16":
        return _vgg16(weights)
    trunk = resnet_fpn_backbone(
        backbone_name="resnet50",
        weights=ResNet50_Weights.IMAGENET1K_V1 if weights else None,
        norm_layer=FrozenBatchNorm2d if weights else nn.BatchNorm2d,
        trainable_layers=3 if weights else 5,
    )
    return trunk, None


def _vgg16(weights: BackboneWeights | None) -> tuple[nn.Module, nn.Module]:
    net = vgg16(weights=VGG16_Weights.IMAGENET1K_V1 if weights else None)
    trunk = net.features[:-1]  # without the last pooling: regions are pooled instead
    trunk.out_channels = 512
    if weights:
        trunk[:10].requires_grad_(False)
    return trunk, nn.Sequential(nn.Flatten(), *net.classifier[:-1])


def _anchors(min_size: int, *, pyramid: bool) -> AnchorGenerator:
    sides, reference = ((32, 64, 128, 256, 512), 800) if pyramid else ((128, 256, 512), 600)
    scaled = [max(1, round(side * min_size / reference)) for side in sides]
    sizes = tuple((side,) for side in scaled) if pyramid else (tuple(scaled),)
    return AnchorGenerator(sizes, (_RATIOS,) * len(sizes))
