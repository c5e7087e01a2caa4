import pytest
import torch
from torch import nn

from lightning_interp.models import CIFAR10CNN, SVHNCNN, FashionMNISTMLP, UrbanSoundsCNN

# Table 3.1 of the thesis, written down once more: (channels, stride) of the convolutions.
TABLE = {
    CIFAR10CNN: [
        (64, 1),
        (64, 1),
        (128, 2),
        (128, 1),
        (128, 1),
        (256, 2),
        (256, 1),
        (256, 1),
        (512, 2),
        (512, 1),
        (512, 1),
    ],
    SVHNCNN: [(64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1)],
    UrbanSoundsCNN: [(64, 1), (128, 1), (128, 1), (256, 1), (256, 1), (512, 1), (512, 1)],
}


@pytest.mark.parametrize("network", TABLE)
def test_convolutions_are_those_of_the_table(network):
    with torch.device("meta"):
        convolutions = [m for m in network().modules() if isinstance(m, nn.Conv2d)]
    assert [(c.out_channels, c.stride[0]) for c in convolutions] == TABLE[network]
    assert {(c.kernel_size, c.padding) for c in convolutions} == {((3, 3), (1, 1))}


@pytest.mark.parametrize("network", [*TABLE, FashionMNISTMLP])
def test_every_hidden_layer_has_a_relu_and_there_is_no_norm(network):
    with torch.device("meta"):
        net = network()
    kinds = [type(m) for m in net.modules() if not list(m.children())]
    weighted = [i for i, kind in enumerate(kinds) if kind in (nn.Conv2d, nn.Linear)]
    assert all(kinds[i + 1] is nn.ReLU for i in weighted[:-1])
    assert set(kinds) <= {nn.Conv2d, nn.Linear, nn.ReLU, nn.MaxPool2d, nn.Flatten}


def test_linear_layers_of_the_table():
    with torch.device("meta"):
        sizes = {
            n: [m.out_features for m in n().modules() if isinstance(m, nn.Linear)] for n in [*TABLE, FashionMNISTMLP]
        }
    assert sizes[CIFAR10CNN] == sizes[SVHNCNN] == [10]
    assert sizes[UrbanSoundsCNN] == [4096, 4096, 10]
    assert sizes[FashionMNISTMLP] == [128, 512, 2048, 2048, 10]


@pytest.mark.parametrize("size", [32, 33, (17, 40), 5])
def test_any_image_size_works(size):
    height, width = (size, size) if isinstance(size, int) else size
    assert CIFAR10CNN(3, width=4, in_channels=1, image_size=size)(torch.zeros(2, 1, height, width)).shape == (2, 3)


def test_too_small_for_its_pooling_is_refused():
    with pytest.raises(ValueError, match=r"at least 16 pixels a side. Got \(15, 64\)"):
        UrbanSoundsCNN(image_size=(15, 64))


def test_the_signal_survives_eleven_layers():
    torch.manual_seed(0)
    scores = CIFAR10CNN(width=16)(torch.randn(16, 3, 32, 32))
    assert 0.1 < scores.std() < 10


@pytest.mark.parametrize("network", TABLE)
def test_batch_norm_comes_between_convolution_and_relu(network):
    kinds = [type(m) for m in network(width=4, batch_norm=True).features]
    places = [i for i, kind in enumerate(kinds) if kind is nn.Conv2d]
    assert all(kinds[i + 1 : i + 3] == [nn.BatchNorm2d, nn.ReLU] for i in places)
    assert kinds.count(nn.BatchNorm2d) == len(places)
