"""A small network that has learned four classes of toy scenes, and scenes it has not seen."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from lightning_interp.datasets import ToyScenes
from lightning_interp.hooks import preserved_rng
from lightning_interp.models import SVHNCNN

N_CLASSES = 4


def scenes(n, split):
    drawn = ToyScenes(n, split=split)
    labels = torch.as_tensor(drawn.targets)
    return drawn.render()[labels < N_CLASSES].float() / 255, labels[labels < N_CLASSES]


@pytest.fixture(scope="session")
def trained():
    images, labels = scenes(1500, "train")
    with preserved_rng(0):
        net = SVHNCNN(N_CLASSES, 6, image_size=32, batch_norm=True)
        optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
        for _ in range(6):
            for batch in torch.randperm(len(images)).split(30):
                optimizer.zero_grad()
                cross_entropy(net(images[batch]), labels[batch]).backward()
                optimizer.step()
    return net.eval().requires_grad_(False), *scenes(240, "test")
