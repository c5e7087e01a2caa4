"""A folder of small pictures that differ."""

import numpy as np
from PIL import Image
from torch import nn


def write_pictures(folder, n=6, *, first=0):
    """Pictures of several sizes, ``0.png``, ``1.jpg`` and so on, every third one in a folder inside."""
    for i in range(first, first + n):
        pixels = np.random.default_rng(i).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        picture = Image.fromarray(pixels).resize([(40, 30), (33, 50), (48, 48)][i % 3], Image.Resampling.NEAREST)
        file = folder / ("inside" if i % 3 == 2 else ".") / f"{i}.{['png', 'jpg'][i % 2]}"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture.save(file)


NETWORK = ["--model=SVHNCNN", '--model_args={"width": 8}', "--image_size=32"]
RANDOM = [*NETWORK, "--weights=random"]


class Bare(nn.Sequential):
    """Black pictures leave it silent."""

    def __init__(self):
        super().__init__(nn.Conv2d(3, 8, 3, stride=4, bias=False), nn.ReLU())
