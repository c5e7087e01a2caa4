"""A world of coloured rectangles, and a network made by hand that sees its colours."""

from typing import ClassVar

import torch
from torch import nn
from torch.utils.data import Dataset

PALETTE = {
    "grey": (0.5, 0.5, 0.5), "red": (0.9, 0.1, 0.1), "green": (0.1, 0.9, 0.1), "blue": (0.1, 0.1, 0.9),
    "yellow": (0.9, 0.9, 0.1), "pink": (0.9, 0.1, 0.9),
}  # fmt: skip
DETECTED = list(PALETTE)[1:]


class Rectangles(Dataset):
    """Grey images with coloured rectangles and a fourth channel of noise. A `thing` is red or blue, or green or pink.

    `scene` is the colour of the first rectangle.
    """

    concepts: ClassVar = {
        "color": ["unlabelled", *PALETTE],
        "thing": ["unlabelled", "red or blue", "green or pink"],
        "scene": ["unlabelled", *PALETTE],
    }

    def __init__(self, n, *, size=(16, 16), seed=0, transform=None):
        generator = torch.Generator().manual_seed(seed)
        self.transform = transform
        self.masks = torch.ones(n, *size, dtype=torch.long)
        self.scenes = torch.zeros(n, dtype=torch.long)
        for i, mask in enumerate(self.masks):
            for _ in range(3):
                color = int(torch.randint(2, 1 + len(PALETTE), (), generator=generator))
                top, left = (int(torch.randint(0, side - 3, (), generator=generator)) for side in size)
                height, width = torch.randint(2, 6, (2,), generator=generator).tolist()
                mask[top : top + height, left : left + width] = color
                self.scenes[i] = self.scenes[i] or color
        colors = torch.tensor(list(PALETTE.values()))[self.masks - 1].permute(0, 3, 1, 2)
        noise = torch.rand(n, 4, *size, generator=generator)
        self.images = torch.cat([colors + 0.02 * noise[:, :3], noise[:, 3:]], 1)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        color = self.masks[index]
        thing = ((color == 2) | (color == 4)).long() + 2 * ((color == 3) | (color == 6)).long()
        targets = {"color": color, "thing": thing, "scene": int(self.scenes[index])}
        image = self.images[index]
        return (self.transform(image) if self.transform else image), targets


def detectors():
    """Units of layer `3`: one per colour of `DETECTED`, exactly 0 off its colour; then two that see only noise."""
    n = len(DETECTED)
    distance, units = nn.Conv2d(4, 6 * n + 1, 1), nn.Conv2d(6 * n + 1, n + 2, 1)
    with torch.no_grad():
        for part in (distance.weight, distance.bias, units.weight, units.bias):
            part.zero_()
        # |x - c| = relu(x - c) + relu(c - x), channel by channel.
        for i, name in enumerate(DETECTED):
            for channel, value in enumerate(PALETTE[name]):
                for side, sign in enumerate((1.0, -1.0)):
                    row = 6 * i + 2 * channel + side
                    distance.weight[row, channel] = sign
                    distance.bias[row] = -sign * (value + 0.01)
            units.weight[i, 6 * i : 6 * i + 6] = -1.0
            units.bias[i] = 0.3
        distance.weight[-1, 3] = 1.0
        units.weight[n, -1], units.weight[n + 1, -1], units.bias[n + 1] = 1.0, -1.0, 1.0
    return nn.Sequential(distance, nn.ReLU(), units, nn.ReLU(inplace=True))
