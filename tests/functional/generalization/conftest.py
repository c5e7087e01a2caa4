"""A convolutional network with everything a measurement could disturb, a perceptron, and pictures of three classes."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="session")
def pictures():
    """60 pictures, each class bright in its own colour, and their labels."""
    labels = torch.arange(60) % 3
    images = torch.rand(60, 3, 8, 8, generator=seeded(0))
    images[torch.arange(60), labels] += 0.5
    return images, labels


@pytest.fixture(scope="session")
def trained(pictures):
    torch.manual_seed(0)
    cnn = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Dropout(0.2),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 12),
        nn.ReLU(inplace=True),
        nn.Linear(12, 3),
    )
    mlp = nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
    nets = {"cnn": cnn, "mlp": mlp}
    for net in nets.values():
        optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
        for _ in range(25):
            optimizer.zero_grad()
            cross_entropy(net(pictures[0]), pictures[1]).backward()
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return nets


@pytest.fixture(params=["cnn", "mlp"])
def net(request, trained):
    """Each network in train mode, hence with a running batch norm and dropout."""
    return copy.deepcopy(trained[request.param])


@pytest.fixture
def cnn(trained):
    return copy.deepcopy(trained["cnn"])


@pytest.fixture
def gradient_of():
    """Flat gradient of a loss of a batch, by ``backward`` on a copy of the network in eval mode."""

    def measure(net, images, labels, loss=cross_entropy):
        copied = copy.deepcopy(net).eval()
        loss(copied(images), labels).backward()
        return torch.cat([p.grad.flatten() for p in copied.parameters() if p.requires_grad])

    return measure


@pytest.fixture
def head_problem():
    """Features, scores, labels and weights of a linear head in double precision, away from its optimum."""
    generator = seeded(1)
    features = torch.randn(40, 7, generator=generator, dtype=torch.float64)
    weight = torch.randn(4, 7, generator=generator, dtype=torch.float64)
    return features, features @ weight.T, torch.arange(40) % 4, weight
