import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_interp.functional.synthesis import receptive_field
from lightning_interp.functional.synthesis.receptive_field import receptive_fields
from tests.hooks.conftest import SmallResNet


class Dense(nn.Module):
    """Every layer sees all before it; the last one is strided."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(2 + 2 * i, 2, 3, padding=1) for i in range(3))
        self.down = nn.Conv2d(8, 3, 2, stride=2)

    def forward(self, x):
        for layer in self.layers:
            x = torch.cat([x, F.relu(layer(x))], -3)
        return self.down(x)


class Cifar(nn.Module):
    """A residual block whose shortcut is a strided slice with zero channels added."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(2, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1)

    def forward(self, x):
        shortcut = F.pad(x[:, :, ::2, 1:][..., ::2], (0, 0, 0, 0, 1, 1))
        y = self.conv2(self.conv1(x).relu_())
        return (F.pad(shortcut, (0, y.shape[3] - shortcut.shape[3])) + y).relu()


class Shuffled(nn.Module):
    """ShuffleNet's exchange of channels between two groups."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(2, 4, (3, 1), groups=2), nn.Conv2d(2, 2, (1, 4), dilation=(1, 2))

    def forward(self, x):
        x = self.conv1(x)
        n, c, h, w = x.shape
        left, right = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w).chunk(2, 1)
        return torch.cat([left[..., 3:-3], self.conv2(right)], 1).permute(0, -3, 2, 3)


class Excited(nn.Module):
    """Squeeze and excitation behind a convolution."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(2, 3, 3), nn.Conv2d(3, 3, 1)

    def forward(self, x):
        x = self.conv(x)
        return x * self.fc(F.adaptive_avg_pool2d(x, 1)).sigmoid()


class Part(nn.Module):
    """Pooled by hand from a part of the image."""

    def forward(self, x):
        return x[:, :, 2:5, -4:].mean((2, 3), keepdim=True)


class Flat(nn.Module):
    """Linear units behind a strided convolution."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, stride=3)

    def forward(self, x):
        x = self.conv(x).flatten(1)
        return F.linear(x, x.new_ones(3, x.shape[1]), x.new_ones(3))


class ChannelsLast(nn.Module):
    def forward(self, x):
        return x[..., 1:].permute(0, 2, 3, 1).softmax(-1).permute(0, 3, 1, 2)


def net(*layers):
    return nn.Sequential(*layers)


NETS = {
    "padded": net(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(3, 2, 3, padding=1)),
    "strided": net(nn.Conv2d(2, 3, 3, stride=(2, 3)), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 2, stride=2)),
    "dilated": net(nn.Conv2d(2, 3, 3, dilation=3, padding=2), nn.LeakyReLU(), nn.Conv2d(3, 2, 2, dilation=(1, 2))),
    "padding seen alone": net(nn.Conv2d(2, 2, 1, padding=2), nn.Conv2d(2, 2, 1, stride=2)),
    "same": net(nn.Conv2d(2, 3, 3, dilation=2, padding="same"), nn.Conv2d(3, 2, 3, padding=1, padding_mode="reflect")),
    "replicated": net(nn.ReplicationPad2d((3, 1, 0, 2)), nn.Conv2d(2, 2, 2, stride=2)),
    "reflected far": net(nn.ReflectionPad2d((5, 6, 7, 0)), nn.Conv2d(2, 2, 2, stride=2)),
    "pooled": net(nn.Conv2d(2, 3, 3), nn.AvgPool2d(3, 2, 1), nn.Conv2d(3, 2, 2)),
    "ceiled": net(nn.AvgPool2d(3, 2, ceil_mode=True), nn.Conv2d(2, 2, 2), nn.AvgPool2d((3, 2), ceil_mode=True)),
    "adaptive": net(nn.Conv2d(2, 2, 2), nn.AdaptiveAvgPool2d((5, 4)), nn.Conv2d(2, 2, 2)),
    "transposed": net(nn.Conv2d(2, 2, 3, stride=2), nn.ConvTranspose2d(2, 2, 3, 2, 1, output_padding=1)),
    "residual": net(nn.Conv2d(2, 4, 3, 1, 1), SmallResNet().layer2[0]),
    "dense": Dense(),
    "sliced shortcut": Cifar(),
    "shuffled": Shuffled(),
    "excited": Excited(),
    "flat": Flat(),
    "part": Part(),
}


def prepared(net, size):
    """An image, and weights that cannot cancel, so that a gradient of zero means out of reach."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(1, 2, *size, generator=generator, requires_grad=True)
    for parameter in net.parameters():
        parameter.data = torch.rand(parameter.shape, generator=generator) + 0.1
    return net.eval(), images


def all_positions(output):
    height, width = output.shape[2:] if output.ndim == 4 else (1, 1)
    return torch.cartesian_prod(torch.arange(height), torch.arange(width))


def brute_force(output, images):
    """Boxes of the pixels whose gradient is not zero in any channel, position by position."""
    maps = output.sum(1) if output.ndim == 4 else output.sum(1)[:, None, None]
    boxes = []
    for value in maps[0].flatten():
        (gradient,) = torch.autograd.grad(value, images, retain_graph=True)
        rows, columns = torch.nonzero(gradient.abs().sum((0, 1)), as_tuple=True)
        boxes.append([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1] if len(rows) else [0, 0, 0, 0])
    return torch.tensor(boxes)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("size", [(9, 13), (13, 12)])
def test_it_equals_brute_force(name, size):
    net, images = prepared(copy.deepcopy(NETS[name]), size)
    output = net(images)
    assert torch.equal(receptive_fields(output, images, all_positions(output)), brute_force(output, images))


@pytest.mark.parametrize("name", ["residual", "shuffled", "flat"])
def test_shapes_may_come_from_a_backward_pass(name, monkeypatch):
    """As they do in torch < 2.5."""
    net, images = prepared(copy.deepcopy(NETS[name]), (13, 12))
    output = net(images)
    expected = receptive_fields(output, images, all_positions(output))
    monkeypatch.setattr(receptive_field, "_TELLS_SHAPES", False)
    assert torch.equal(receptive_fields(output, images, all_positions(output)), expected)
    assert images.grad is None


def test_maximum_pooling_has_the_field_of_its_windows_whatever_the_switches():
    images = torch.rand(1, 1, 7, 8, requires_grad=True)
    pools = [pool(3, 2, 1, ceil_mode=True) for pool in (nn.MaxPool2d, nn.AvgPool2d)]
    found, expected = (receptive_fields(y, images, all_positions(y)) for y in (pool(images) for pool in pools))
    assert torch.equal(found, expected)
    dilated = nn.MaxPool2d((2, 3), 1, dilation=(3, 2))(images)
    assert receptive_fields(dilated, images, torch.tensor([[1, 2]])).tolist() == [[1, 2, 5, 7]]


def test_behind_what_it_cannot_follow_everything_counts():
    images = torch.rand(1, 3, 6, 7, requires_grad=True)
    output = ChannelsLast()(images)
    assert receptive_fields(output, images, torch.tensor([[2, 2]])).tolist() == [[0, 1, 6, 7]]
    normed = nn.GroupNorm(1, 3)(images)
    assert receptive_fields(normed, images, torch.tensor([[2, 2]])).tolist() == [[0, 0, 6, 7]]


def test_one_for_all_positions():
    images = torch.rand(1, 1, 10, 10, requires_grad=True)
    output = nn.Conv2d(1, 1, 2, stride=3)(images)
    positions = torch.tensor([[-1, -1], [-1, 1], [2, -1]])
    assert receptive_fields(output, images, positions).tolist() == [[0, 0, 8, 8], [0, 3, 8, 5], [6, 0, 8, 8]]


def test_gates_may_be_left_out():
    net, images = prepared(Excited(), (9, 9))
    output, position = net(images), torch.tensor([[1, 2]])
    assert receptive_fields(output, images, position).tolist() == [[0, 0, 9, 9]]
    assert receptive_fields(output, images, position, through_gates=False).tolist() == [[1, 2, 4, 5]]


def test_images_may_have_a_graph_of_their_own():
    code = torch.rand(1, 1, 4, 4, requires_grad=True)
    images = nn.functional.pad(code, (1, 1, 1, 1)).tanh()
    output = nn.functional.avg_pool2d(images, 2)
    assert receptive_fields(output, images, torch.tensor([[2, 0]])).tolist() == [[4, 0, 6, 2]]
    assert receptive_fields(output, code, torch.tensor([[2, 0]])).tolist() == [[3, 0, 4, 1]]


def test_nothing_reaches_a_map_of_something_else():
    images, other = (torch.rand(1, 1, 4, 4, requires_grad=True) for _ in range(2))
    assert receptive_fields(other * 2, images, torch.tensor([[1, 1]])).tolist() == [[0, 0, 0, 0]]
