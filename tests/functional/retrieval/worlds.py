"""A network whose channels are known, and images for it."""

import torch
from torch import nn


class ColorNet(nn.Sequential):
    """Channels that see red, green, blue and brightness in squares of 4 x 4 pixels; then a classifier."""

    def __init__(self):
        see = nn.Conv2d(3, 4, 4, stride=4)
        with torch.no_grad():
            see.weight.zero_()
            for channel in range(3):
                see.weight[channel] = -1 / 16
                see.weight[channel, channel] = 1 / 16
            see.weight[3] = 0.2 / 16
            see.bias.zero_()
        torch.manual_seed(0)
        super().__init__(see, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))


def picture(*patches, size=(32, 48), ground=(0.0, 0.0, 1.0)):
    """A ground with rectangles: ``(colour, (left, top, right, bottom))``."""
    image = torch.tensor(ground)[:, None, None].expand(3, *size).clone()
    for color, (left, top, right, bottom) in patches:
        image[:, top:bottom, left:right] = torch.tensor(color)[:, None, None]
    return image


RED, GREEN = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)
