import sys

import pytest
import torch
import torchvision
from torch import nn

from lightning_interp.models import faster_rcnn

MODULE = sys.modules["lightning_interp.models.faster_rcnn"]  # behind the function of that name
SMALL = {"n_classes": 3, "min_size": 48, "max_size": 96, "head_width": 8, "box_detections_per_img": 10}


class Trunk(nn.Conv2d):
    def __init__(self):
        super().__init__(3, 8, 3, stride=8, padding=1)


@pytest.fixture
def target():
    return [{"boxes": torch.tensor([[5.0, 5.0, 30.0, 40.0]]), "labels": torch.tensor([3])}]


@pytest.mark.parametrize("backbone", ["vgg16", "resnet50_fpn", Trunk()])
def test_losses_in_training_predictions_in_evaluation(backbone, target):
    torch.manual_seed(0)
    net = faster_rcnn(backbone, **SMALL, box_score_thresh=0.0)
    losses = net([torch.rand(3, 48, 64)], target)
    assert set(losses) == {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}
    sum(losses.values()).backward()
    assert all(weight.grad is not None for weight in net.backbone.parameters())
    with torch.no_grad():
        (found,) = net.eval()([torch.rand(3, 48, 64)])
    assert len(found["boxes"]) == len(found["scores"]) == 10
    assert set(found["labels"].tolist()) <= {1, 2, 3}
    assert (found["boxes"][:, 2:] <= torch.tensor([64, 48])).all()


def test_vgg16_is_that_of_the_paper():
    with torch.device("meta"):  # takes no memory
        net = faster_rcnn("vgg16")
    assert (net.transform.min_size, net.transform.max_size) == ((600,), 1000)
    assert net.rpn.anchor_generator.sizes == ((128, 256, 512),)
    regions = net.roi_heads.box_head(torch.empty(5, net.backbone.out_channels, 7, 7, device="meta"))
    scores, boxes = net.roi_heads.box_predictor(regions)
    assert (regions.shape, scores.shape, boxes.shape) == ((5, 4096), (5, 21), (5, 84))
    assert net.backbone(torch.empty(1, 3, 64, 96, device="meta")).shape == (1, 512, 4, 6)
    assert all(weight.requires_grad for weight in net.parameters())


def test_anchors_grow_with_the_images():
    assert faster_rcnn(Trunk(), min_size=75).rpn.anchor_generator.sizes == ((16, 32, 64),)
    with torch.device("meta"):
        pyramid = faster_rcnn("resnet50_fpn", min_size=400)
    assert pyramid.rpn.anchor_generator.sizes == ((16,), (32,), (64,), (128,), (256,))


class NarrowVGG(nn.Module):
    """The layers of VGG16, narrow: the real one takes a gigabyte to train."""

    def __init__(self):
        super().__init__()
        real = torchvision.models.vgg.cfgs["D"]
        self.features = torchvision.models.vgg.make_layers([v if v == "M" else 4 for v in real])
        self.classifier = nn.Sequential(nn.Linear(4 * 49, 4), nn.ReLU(), nn.Dropout(), nn.Linear(4, 1000))


def test_imagenet_weights_come_from_torchvision_and_their_first_layers_stay(monkeypatch):
    asked = []
    monkeypatch.setattr(MODULE, "vgg16", lambda weights: asked.append(weights) or NarrowVGG())
    net = faster_rcnn("vgg16", weights="imagenet")
    assert asked == [torchvision.models.VGG16_Weights.IMAGENET1K_V1]
    frozen = [layer.weight.requires_grad for layer in net.backbone if isinstance(layer, nn.Conv2d)]
    assert frozen == [False] * 4 + [True] * 9
    head = net.roi_heads.box_head
    assert head[1].weight.shape == (4, 196)  # the classifier's own hidden layer

    def resnet(**options):
        asked.append((options["weights"], options["norm_layer"], options["trainable_layers"]))
        return Trunk()

    monkeypatch.setattr(MODULE, "resnet_fpn_backbone", resnet)
    for weights in ("imagenet", None):
        faster_rcnn("resnet50_fpn", weights=weights, **SMALL)
    resnet50 = torchvision.models.ResNet50_Weights.IMAGENET1K_V1
    assert asked[1:] == [(resnet50, torchvision.ops.FrozenBatchNorm2d, 3), (None, nn.BatchNorm2d, 5)]


@pytest.mark.parametrize(
    ("arguments", "options", "error", "match"),
    [
        (["vgg61"], {}, ValueError, "`backbone` parameter of `faster_rcnn` .* Did you mean 'vgg16'"),
        ([nn.ReLU()], {}, ValueError, "attribute `out_channels`"),
        ([Trunk()], {"n_classes": 0}, ValueError, "`n_classes`"),
        ([Trunk()], {"weights": "coco"}, ValueError, "`weights` .* one of 'imagenet'"),
        ([Trunk()], {"max_size": 300}, ValueError, r"`max_size` .* an int in \[600, inf\). Got 300"),
        ([Trunk()], {"head_width": 1.0}, TypeError, "`head_width`"),
    ],
)
def test_bad_options_are_named(arguments, options, error, match):
    with pytest.raises(error, match=match):
        faster_rcnn(*arguments, **options)
