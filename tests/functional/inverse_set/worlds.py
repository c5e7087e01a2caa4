"""Units whose inverse set is known, and small networks with a generator."""

import torch
from torch import nn

from lightning_interp.functional.inverse_set.generators import CodeGenerator

DIM = 6
DIRECTION = torch.tensor([1.0, 2, -1, 0.5, 1, -2]) / torch.tensor([1.0, 2, -1, 0.5, 1, -2]).norm()


def linear_unit(n_units=1):
    """``w x``, and with two units also ``x_0``, of images that are vectors."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(DIM, n_units, bias=False))
    with torch.no_grad():
        net[1].weight[0] = DIRECTION
        if n_units > 1:
            net[1].weight[1] = torch.eye(DIM)[0]
    return net


def identity():
    """Codes are the images."""
    return CodeGenerator(nn.Unflatten(1, (1, 1, DIM)), (DIM,), valid=False)


def uniform_slab(low, high, n=400_000):
    """Uniform samples of the unit cube whose ``w x`` is between ``low`` and ``high``."""
    points = torch.rand(n, DIM, generator=torch.Generator().manual_seed(0))
    return points[((points @ DIRECTION) >= low) & ((points @ DIRECTION) <= high)]


def network():
    torch.manual_seed(0)
    first = [nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
    net = nn.Sequential(*first, nn.Conv2d(6, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    with torch.no_grad():
        net[0].weight.mul_(3)  # weights at their start are small: little would change
        net[3].weight.mul_(3)
        net[3].bias.fill_(0.3)
    return net


def drawing(dim=12):
    torch.manual_seed(1)
    draw = [nn.Linear(dim, 32), nn.Tanh(), nn.Linear(32, 3 * 10 * 12), nn.Sigmoid(), nn.Unflatten(1, (3, 10, 12))]
    with torch.no_grad():
        draw[2].weight.mul_(4)
    return nn.Sequential(*draw)


OURS = {"generator": drawing(), "output_range": (0, 1), "encoder": "2"}
