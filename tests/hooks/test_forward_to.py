import pytest
import torch
from torch import nn

from lightning_interp.exceptions import LayerNotReachedError
from lightning_interp.hooks import OUTPUT, capture, forward_to
from lightning_interp.models import SVHNCNN


@pytest.fixture
def net():
    torch.manual_seed(0)
    return SVHNCNN(width=4)


def test_gives_what_capture_gives_and_gradients_of_the_input(net):
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    with capture(net, ["features.3", "classifier"]) as expected:
        net.eval()(images)
    with forward_to(net, ["features.3", "classifier.0", OUTPUT]) as features:
        seen = features(images)
    assert torch.equal(seen["features.3"], expected["features.3"])
    assert torch.equal(seen[OUTPUT], seen["classifier.0"])
    (gradient,) = torch.autograd.grad(seen["features.3"].sum(), images)
    assert gradient.abs().sum() > 0


def test_what_lies_behind_the_last_layer_does_not_run(net):
    ran = []
    net.features[4].register_forward_hook(lambda *_: ran.append(4))
    net.classifier.register_forward_hook(lambda *_: ran.append("classifier"))
    with forward_to(net, "features.4") as features:
        features(torch.rand(1, 3, 47, 21))  # a size the classifier would refuse
    assert ran == [4]


def test_in_place_operations_do_not_reach_what_is_handed_out():
    net = nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True), nn.Linear(3, 2))
    x = -torch.ones(4, 3)
    with forward_to(net, ["0", "2"]) as features:
        seen = features(x)
    assert torch.equal(seen["0"], net[0](x))


def test_everything_comes_back(net, is_untouched):
    net.train()
    net.features[0].weight.requires_grad_(False)
    flags = [parameter.requires_grad for parameter in net.parameters()]

    with torch.inference_mode(), forward_to(net, "features.1") as features:
        features(torch.rand(1, 3, 32, 32))
        assert not net.training
        assert not any(parameter.requires_grad for parameter in net.parameters())
        assert torch.is_grad_enabled()
    assert [parameter.requires_grad for parameter in net.parameters()] == flags
    assert net.training
    is_untouched(net)


def test_calls_of_a_shared_layer_are_told_apart():
    relu = nn.ReLU()
    net = nn.Sequential(nn.Linear(2, 2), relu, nn.Linear(2, 2), relu)
    with forward_to(net, ["1", "1:1"]) as features:
        seen = features(torch.randn(3, 2))
        again = features(torch.zeros(3, 2))
    assert torch.equal(seen["1:1"], net[2](seen["1"]).relu())
    assert not torch.equal(seen["1"], again["1"])


def test_the_model_can_be_called_for_itself_inside(net):
    images = torch.rand(2, 3, 32, 32)
    expected = net.eval()(images)
    with forward_to(net, "features.3") as features, forward_to(net, "features.1") as others:
        seen = features(images)["features.3"].clone()
        assert torch.equal(net(images), expected)
        assert torch.equal(net.features[2:4](others(images)["features.1"]), seen)
        assert torch.equal(features(images)["features.3"], seen)


def test_bad_layers(net):
    with pytest.raises(ValueError, match="names of one layer each; this matches 3"), forward_to(net, "features.1[0-2]"):
        pass
    with pytest.raises(ValueError, match="matches a layer"), forward_to(net, "nowhere"):
        pass

    class Skips(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x):
            return self.used(x)

    with pytest.raises(LayerNotReachedError, match="unused"), forward_to(Skips(), "unused") as features:
        features(torch.ones(1, 2))


def test_no_tensor():
    class Text(nn.Module):
        def forward(self, x):
            return "text"

    with pytest.raises(TypeError, match="returned no tensor but str"), forward_to(Text(), OUTPUT) as features:
        features(torch.ones(1))


def test_a_model_made_in_inference_mode_is_named():
    with torch.inference_mode():
        net = nn.Linear(2, 2)
    with pytest.raises(RuntimeError, match=r"'weight' was made in torch.inference_mode\(\)"), forward_to(net, OUTPUT):
        pass
