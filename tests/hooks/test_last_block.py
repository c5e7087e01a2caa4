import pytest
import torch
import torchvision.models as zoo
from torch import nn
from torch.nn import functional as F

from lightning_interp.hooks import capture, select_layers


def conv(c_in, c_out, *, stride=1):
    return [nn.Conv2d(c_in, c_out, 3, stride, 1), nn.ReLU()]


def mlp(*, dropout=False):
    layers = [nn.Flatten()]
    for width_in, width in ((784, 32), (32, 16), (16, 16)):
        layers += [nn.Linear(width_in, width), nn.ReLU(), *([nn.Dropout()] if dropout else [])]
    return nn.Sequential(*layers, nn.Linear(16, 10))


class FunctionalResNet(nn.Module):
    """ReLU and sums as functions: only the blocks return features."""

    class Block(nn.Module):
        def __init__(self, width_in, width, stride):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(width_in, width, 3, stride, 1), nn.BatchNorm2d(width)
            self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1), nn.BatchNorm2d(width)
            self.shortcut = nn.Sequential()
            if width_in != width:
                self.shortcut = nn.Sequential(nn.Conv2d(width_in, width, 1, stride), nn.BatchNorm2d(width))

        def forward(self, x):
            out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
            return F.relu(out + self.shortcut(x))

    def __init__(self):
        super().__init__()
        self.layer1 = nn.Sequential(self.Block(3, 4, 1), self.Block(4, 4, 1))
        self.layer2 = nn.Sequential(self.Block(4, 8, 2), self.Block(8, 8, 1))
        self.fc = nn.Linear(8, 10)

    def forward(self, x):
        return self.fc(self.layer2(self.layer1(x)).mean((2, 3)))


def test_strided_network_of_table_3_1_starts_at_its_last_stride():
    model = nn.Sequential(*conv(3, 4), *conv(4, 4), *conv(4, 8, stride=2), *conv(8, 8), *conv(8, 8), nn.Flatten())
    model.append(nn.Linear(8 * 16 * 16, 10))
    assert select_layers(model, "last_block") == ["5", "7", "9"]  # a guessed input: 32x32 runs


def test_composites_end_before_pooling_and_after_norm_dropout_activation():
    model = nn.Sequential(
        *conv(3, 4), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.Dropout2d(), nn.GELU()
    )
    model.extend([nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)])
    assert select_layers(model, "last_block") == ["6"]


def test_block_after_a_max_pool():
    model = nn.Sequential(*conv(3, 4), nn.MaxPool2d(2), *conv(4, 8), *conv(8, 8), nn.MaxPool2d(2), nn.Flatten())
    model.append(nn.Linear(8 * 8 * 8, 4))
    assert select_layers(model, "last_block") == ["4", "6"]


def test_hidden_layers_of_a_perceptron():
    assert select_layers(mlp(), "last_block") == ["2", "4", "6"]
    assert select_layers(mlp(dropout=True), "last_block") == ["3", "6", "9"]
    assert select_layers(nn.Sequential(mlp(), nn.Softmax(1)), "last_block") == ["0.2", "0.4", "0.6"]


def test_perceptron_with_functional_relu_gives_its_linear_layers():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(4, 3)

        def forward(self, x):
            return self.c(F.relu(self.b(F.relu(self.a(x)))))

    assert select_layers(Net(), "last_block") == ["a", "b"]


def test_resnet_blocks_without_signed_shortcuts(resnet):
    layers = [f"layer2.{block}.relu{call}" for block in (0, 1) for call in ("", ":1")]
    assert select_layers(resnet, "last_block") == layers


def test_functional_residual_blocks_are_taken_as_a_whole():
    assert select_layers(FunctionalResNet(), "last_block") == ["layer2.0", "layer2.1"]


def test_backbones_without_a_head_keep_their_last_layer():
    features = nn.Sequential(*conv(3, 4), *conv(4, 8, stride=2), *conv(8, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert select_layers(features, "last_block") == ["3", "5"]


@pytest.mark.parametrize("kernel", [1, 3])
def test_convolution_that_makes_the_logits_is_left_out(kernel):
    body = [*conv(3, 4), *conv(4, 8, stride=2)]
    logits = nn.Conv2d(8, 10, kernel, padding=kernel // 2)
    model = nn.Sequential(*body, logits, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert select_layers(model, "last_block") == ["3"]


def test_squeeze_and_excitation_by_functions_is_left_out():
    class Excite(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.act = nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU()
            self.down, self.up = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)
            self.last, self.fc = nn.Conv2d(8, 8, 1), nn.Linear(8, 4)

        def forward(self, x):
            x = self.act(self.conv(x))
            x = x * torch.sigmoid(self.up(self.act(self.down(x.mean((2, 3), keepdim=True)))))
            return self.fc(self.act(self.last(x)).mean((2, 3)))

    assert select_layers(Excite(), "last_block") == ["act", "act:2"]


@pytest.mark.parametrize(
    ("name", "count", "first", "last", "signed"),
    [
        ("vgg16", 3, "features.25", "features.29", False),
        ("resnet18", 4, "layer4.0.relu", "layer4.1.relu:1", False),
        ("squeezenet1_0", 3, "features.12.squeeze_activation", "features.12.expand3x3_activation", False),
        ("densenet121", 16, "features.denseblock4.denselayer1.relu2", "features.denseblock4.denselayer16.relu2", False),
        ("mobilenet_v2", 8, "features.14.conv.1.2", "features.18.2", False),
        ("googlenet", 12, "inception5a.branch1", "inception5b.branch4.1", False),
        ("efficientnet_b0", 10, "features.6.0.block.1.2", "features.8.2", True),
        ("convnext_tiny", 4, "features.6.1", "features.7.2.block.0", True),
    ],
)
def test_torchvision(name, count, first, last, signed):
    torch.manual_seed(0)
    options = {"init_weights": False} if name == "googlenet" else {}
    with torch.device(
        "meta"
    ):  # weights from one cheap draw: the default initialisation of these networks takes seconds
        model = getattr(zoo, name)(weights=None, **options)
    model.to_empty(device="cpu")
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, -0.1, 0.1) if tensor.dim() > 1 else nn.init.uniform_(tensor, 0.5, 1.0)
    layers = select_layers(model, "last_block")
    assert (len(layers), layers[0], layers[-1]) == (count, first, last)
    with capture(model.eval(), layers) as activations, torch.no_grad():
        model(torch.randn(1, 3, 64, 64))
    assert any((activations[layer] < 0).any() for layer in layers) == signed
    assert len({activations[layer].shape[2:] for layer in layers}) == 1


@pytest.mark.parametrize(
    "model",
    [zoo.VisionTransformer(32, 8, 1, 2, 16, 32), nn.Sequential(nn.Linear(4, 2)), nn.Sequential(nn.ReLU())],
    ids=["tokens", "output layer only", "no weights"],
)
def test_other_networks_are_refused_with_a_way_out(model):
    shape = (2, 3, 32, 32) if isinstance(model, zoo.VisionTransformer) else (2, 4)
    with pytest.raises(ValueError, match="list of layer names"):
        select_layers(model, "last_block", example_input=torch.randn(shape))
