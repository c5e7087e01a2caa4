import torch
from torch import nn

from lightning_interp.models import ResNet18ForSmallImages, VGG16ForSmallImages


def test_vgg_keeps_batch_norm_and_dropout():
    net = VGG16ForSmallImages(n_classes=7, dropout=0.3, in_channels=1)
    assert net(torch.zeros(2, 1, 32, 32)).shape == (2, 7)
    assert sum(isinstance(m, nn.Conv2d) for m in net.modules()) == 13
    assert sum(isinstance(m, nn.BatchNorm2d) for m in net.modules()) == 13
    assert {m.p for m in net.modules() if isinstance(m, nn.Dropout)} == {0.3}


def test_resnet_keeps_resolution_up_to_its_second_stage():
    net = ResNet18ForSmallImages(n_classes=5)
    shapes = {}
    net.trunk.layer1.register_forward_hook(lambda m, i, out: shapes.update(layer1=tuple(out.shape)))
    net.trunk.layer4.register_forward_hook(lambda m, i, out: shapes.update(layer4=tuple(out.shape)))
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 5)
    assert shapes == {"layer1": (2, 64, 32, 32), "layer4": (2, 512, 4, 4)}
