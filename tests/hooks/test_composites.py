"""Every convolution and linear layer, up to where its composite ends."""

import pytest
import torch
import torchvision.models as zoo
from torch import nn
from torch.nn import functional as F

from lightning_interp.hooks import capture, select_layers
from lightning_interp.models import (
    CIFAR10CNN,
    FashionMNISTMLP,
    ResNet18ForSmallImages,
    UrbanSoundsCNN,
    VGG16ForSmallImages,
)


def composites(model, shape=(2, 3, 16, 16)):
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return select_layers(model, "composites", example_input=noise)


def conv(c_in=3, c_out=4):
    return nn.Conv2d(c_in, c_out, 3, padding=1)


def untrained(name):
    """A network of torchvision with weights from one cheap draw: its own initialisation takes seconds."""
    options = {"init_weights": False} if name == "googlenet" else {}
    with torch.device("meta"):
        model = getattr(zoo, name)(weights=None, **options)
        if name == "vgg16_bn":  # nine tenths of its weights
            model.classifier = nn.Sequential(nn.Linear(512 * 49, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 8))
    return draw(model)


def draw(model):
    """Weights for a network on the meta device."""
    torch.manual_seed(0)
    for tensor in [*model.to_empty(device="cpu").parameters(), *model.buffers()]:
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, -0.1, 0.1) if tensor.dim() > 1 else nn.init.uniform_(tensor, 0.5, 1.0)
    return model


@pytest.mark.parametrize(
    ("tail", "end"),
    [
        ([], "0"),
        ([nn.ReLU()], "1"),
        ([nn.BatchNorm2d(4), nn.Dropout2d(), nn.GELU()], "3"),
        ([nn.ReLU(), nn.MaxPool2d(2)], "2"),
        ([nn.MaxPool2d(2), nn.ReLU()], "2"),
        ([nn.AvgPool2d(2), nn.BatchNorm2d(4), nn.ReLU(inplace=True)], "3"),
        ([nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.ReLU(inplace=True)], "3"),
        ([nn.ReLU(), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(2)], "3"),
        ([nn.ReLU(), nn.Flatten(), nn.Dropout()], "1"),
        ([nn.Softmax2d()], "0"),
    ],
    ids=lambda value: "-".join(type(each).__name__ for each in value) or "alone" if isinstance(value, list) else None,
)
def test_where_a_composite_ends(tail, end):
    assert composites(nn.Sequential(conv(), *tail)) == [end]


def test_in_place_activations_behind_a_pooling_belong_to_it_also_when_more_follows():
    model = nn.Sequential(conv(), nn.MaxPool2d(2), nn.ReLU(inplace=True), conv(4, 4), nn.Flatten(), nn.Linear(256, 2))
    assert composites(model) == ["2", "3", "5"]


def test_the_models_of_the_thesis_end_in_their_activations_and_poolings():
    cnn = CIFAR10CNN(width=4)
    relus = [name for name, module in cnn.named_modules() if isinstance(module, nn.ReLU)]
    assert len(relus) == 11
    assert composites(cnn, (2, 3, 32, 32)) == [*relus, "classifier.0"]
    normed = CIFAR10CNN(width=4, batch_norm=True)
    assert composites(normed, (2, 3, 32, 32))[0] == "features.2"
    mlp = FashionMNISTMLP(width=4)
    assert composites(mlp, (2, 1, 28, 28)) == [*(f"features.{i}" for i in (1, 3, 5, 7)), "classifier"]


def test_poolings_of_the_urban_sounds_network():
    model = UrbanSoundsCNN(width=4)
    found = select_layers(model, "composites")
    kinds = [type(dict(model.named_modules())[name]).__name__ for name in found]
    assert kinds == ["MaxPool2d", "ReLU", "MaxPool2d"] + ["ReLU", "MaxPool2d"] * 2 + ["ReLU", "ReLU", "Linear"]


@pytest.mark.parametrize("name", ["vgg16_bn", "resnet18"])
def test_networks_for_small_images_have_the_composites_of_their_originals(name):
    with torch.device("meta"):
        model = VGG16ForSmallImages() if name == "vgg16_bn" else ResNet18ForSmallImages()
    draw(model)
    found = composites(model, (2, 3, 32, 32))
    if name == "vgg16_bn":
        assert len(found) == 13 + len([module for module in model.classifier if isinstance(module, nn.Linear)])
        assert found[:3] == ["features.2", "features.6", "features.9"]
    else:
        shortcuts = [f"trunk.layer{stage}.0.downsample.1" for stage in (2, 3, 4)]
        assert [each for each in found if "downsample" in each] == shortcuts
        assert len(found) == 21


@pytest.mark.parametrize(
    ("name", "count", "some"),
    [
        ("resnet18", 21, ["maxpool", "layer1.0.relu", "layer1.0.relu:1", "layer2.0.downsample.1", "avgpool", "fc"]),
        ("squeezenet1_0", 26, ["features.2", "features.3.squeeze_activation", "classifier.3"]),
        ("googlenet", 58, ["maxpool1", "conv2", "maxpool2", "inception3a.branch4.1", "fc"]),
        ("densenet121", 121, ["features.pool0", "features.denseblock1.denselayer1.relu2", "features.transition1.pool"]),
        ("vgg16_bn", 15, ["features.2", "features.6", "avgpool", "classifier.2", "classifier.3"]),
        ("mobilenet_v2", 53, ["features.0.2", "features.1.conv.2", "classifier.1"]),
    ],
)
def test_torchvision(name, count, some):
    model = untrained(name)
    found = composites(model, (2, 3, 64, 64))
    assert set(some) <= set(found)
    weights = [each for each, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len(found) == count == len([each for each in weights if "aux" not in each])
    modules = dict(model.named_modules())
    pools = [each for each in found if "Pool" in type(modules.get(each)).__name__]
    assert not [each for each in pools if "branch" in each], "the pooling branch of an inception block is no composite"


def test_a_branch_that_pools_does_not_pool_the_others():
    class Branches(nn.Module):
        def __init__(self, *, pool_first):
            super().__init__()
            self.stem, self.relu = conv(), nn.ReLU()
            self.pool, self.a, self.b = nn.MaxPool2d(3, 1, 1), conv(4, 2), conv(4, 2)
            self.pool_first = pool_first

        def forward(self, x):
            x = self.relu(self.stem(x))
            if self.pool_first:
                return torch.cat([self.b(self.pool(x)), self.a(x)], 1)
            return torch.cat([self.a(x), self.b(self.pool(x))], 1)

    assert composites(Branches(pool_first=False)) == ["relu", "a", "b"]
    assert composites(Branches(pool_first=True)) == ["relu", "b", "a"]


def test_two_poolings_of_one_tensor_leave_it_before_both():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.mean, self.max = conv(), nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1)

        def forward(self, x):
            x = self.conv(x)
            return self.mean(x) + self.max(x)

    assert composites(Both()) == ["conv"]


class Functional(nn.Module):
    """Activations, poolings and sums as functions, one block that ends in a ReLU."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = conv(4, 4), conv(4, 4)

        def forward(self, x):
            return F.relu(self.conv2(F.relu(self.conv1(x))) + x)

    def __init__(self):
        super().__init__()
        self.stem, self.block, self.pool, self.fc = conv(), self.Block(), nn.MaxPool2d(2), nn.Linear(256, 3)

    def forward(self, x):
        return self.fc(self.pool(self.block(F.relu(self.stem(x)))).flatten(1))


def test_functional_activations_are_followed_to_the_block_around():
    assert composites(Functional()) == ["stem", "block.conv1", "pool", "fc"]


def test_shared_in_place_relu_and_sums_in_place(resnet):
    found = composites(resnet)
    assert found[0] == "stem.1"
    assert [name for name in found if name.startswith("layer2")] == [
        *("layer2.0.downsample.1", "layer2.0.relu", "layer2.0.relu:1", "layer2.1.relu"),
    ]
    assert found[-2:] == ["pool", "fc"]


def test_what_is_captured_there_is_what_the_layer_passes_on(resnet, images):
    with capture(resnet, "composites") as activations, torch.no_grad():
        output = resnet(images)
    assert set(composites(resnet)) <= set(activations)
    assert torch.equal(activations["fc"], output)
    stem = F.relu(resnet.stem[0](images))
    assert torch.equal(activations["stem.1"], stem)
    assert torch.equal(activations["pool"], activations["layer2.1.relu:1"].mean((2, 3), keepdim=True))
    assert all((activations[name] >= 0).all() for name in activations if "relu" in name)
    assert (activations["layer2.0.downsample.1"] < 0).any()


def test_a_perceptron_and_a_softmax_at_the_end():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3), nn.Softmax(1))
    assert composites(model, (2, 3, 2, 2)) == ["3", "4"]


def test_a_list_may_combine_them_with_names(resnet):
    found = select_layers(resnet, ["composites", "layer1.0"])
    assert set(found) == {*composites(resnet), "layer1.0"}


@pytest.mark.parametrize("model", [nn.Sequential(nn.ReLU()), nn.Sequential(nn.BatchNorm2d(3), nn.MaxPool2d(2))])
def test_no_convolution_and_no_linear_layer(model):
    with pytest.raises(
        ValueError, match=r"`layers` .* list of layer names .* no convolution and no linear layer. Got 'co"
    ):
        composites(model)
