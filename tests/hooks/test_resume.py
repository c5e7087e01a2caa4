import gc
import time
import weakref

import pytest
import torch
import torchvision.models as zoo
from torch import nn
from torch.nn import functional as F

from lightning_interp.exceptions import LayerNotReachedError
from lightning_interp.hooks import capture, evaluating, replace, resume


class Calls(nn.Module):
    """Counts its runs."""

    def __init__(self):
        super().__init__()
        self.runs = 0

    def forward(self, x):
        self.runs += 1
        return x


def vgg_like():
    convs = [nn.Conv2d(3, 4, 3, padding=1), Calls(), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3)]
    return nn.Sequential(nn.Sequential(*convs, nn.ReLU(inplace=True)), nn.Flatten(), nn.Linear(216, 5))


class Functional(nn.Module):
    """`gone` is made outside modules from a value nobody keeps: it cannot be had without running the first layer."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        gone = F.relu(self.first(x))
        return self.third(self.second(gone)) + gone


class Held(Functional):
    """The same with the value in a variable: the skip connection can be recomputed."""

    def forward(self, x):
        kept = self.first(x)
        return self.third(self.second(F.relu(kept))) + F.relu(kept)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.relu = nn.Linear(4, 4), nn.Linear(4, 4), nn.ReLU(inplace=True)

    def forward(self, x):
        return self.relu(self.b(self.relu(self.a(self.relu(self.a(x))))))


def expected(model, layer, activation, inputs):
    with replace(model, {layer: lambda _: activation}), evaluating(model):
        return model(inputs)


def check(model, layer, inputs, *, fast=True):
    with capture(model, layer) as activations, evaluating(model):
        output = model(inputs)
    with resume(model, layer, inputs) as run:
        assert run.resumed is fast
        assert torch.equal(run.output, output)
        assert torch.equal(run.activation, activations[layer])
        for activation in (run.activation, torch.rand_like(run.activation), -run.activation):
            before = activation.clone()
            result = run(activation)
            assert torch.equal(result, expected(model, layer, activation, inputs))
            assert torch.equal(activation, before)
            assert not result.requires_grad
        assert torch.equal(run(run.activation), output)


@pytest.mark.parametrize("layer", ["0", "0.0", "0.2", "0.3", "0.5", "1", "2"])
def test_sequential(layer, is_untouched):
    model = vgg_like()
    check(model, layer, torch.rand(2, 3, 16, 16))
    assert is_untouched(model, [True] * 10)


@pytest.mark.parametrize(
    "layer", ["stem.0", "layer1.0.conv1", "layer1.1.relu", "layer1.1.relu:1", "layer1", "layer2.0.downsample.1", "pool"]
)
def test_residual_networks_with_in_place_sums(resnet, images, layer, is_untouched):
    check(resnet, layer, images)
    assert is_untouched(resnet)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet18", "layer4.0.relu:1"),
        ("resnet18", "layer4.1.bn1"),
        ("densenet", "features.denseblock2.denselayer1.relu2"),
        ("densenet", "features.denseblock2.denselayer2.conv1"),
    ],
)
def test_torchvision(name, layer):
    torch.manual_seed(0)
    model = zoo.resnet18() if name == "resnet18" else zoo.DenseNet(4, (2, 3), 8)
    check(model, layer, torch.rand(2, 3, 32, 32))


@pytest.mark.parametrize("layer", ["a", "relu", "a:1", "relu:1", "b", "relu:2"])
def test_modules_run_several_times(layer):
    check(Twice(), layer, torch.randn(3, 4))


@pytest.mark.parametrize("layer", ["first", "second", "third"])
def test_functional_skip_connections(layer):
    torch.manual_seed(0)
    check(Held(), layer, torch.randn(3, 4))
    check(Functional(), layer, torch.randn(3, 4), fast=layer == "first")


def test_a_layer_that_runs_inside_a_skipped_module_and_later_is_not_resumed():
    # Hooks that count its calls, such as replace on "0.1:1", would be misled.
    shared = nn.ReLU()
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 4), shared), nn.Linear(4, 4), shared)
    check(model, "1", torch.randn(3, 4), fast=False)


def test_noise_and_nan_fall_back():
    class Noise(nn.Module):
        def forward(self, x):
            return x + torch.rand_like(x)

    with resume(nn.Sequential(nn.Linear(4, 4), Noise()), "0", torch.ones(2, 4)) as run:
        assert not run.resumed
    diverged = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    nn.init.constant_(diverged[0].weight, torch.nan)
    with resume(diverged, "0", torch.ones(2, 4)) as run:
        assert torch.equal(run(torch.ones(2, 4)), torch.ones(2, 4))


@pytest.mark.parametrize("operation", [F.relu_, lambda x: x[:, torch.isfinite(x).all(0)]])
def test_operations_that_fail_on_placeholders_fall_back(operation):
    class Net(Functional):
        def forward(self, x):
            x = operation(F.dropout(self.first(x), training=self.training))
            x = self.second(x)
            return [self.third(x), (x,)]

    model, x = Net(), torch.ones(2, 4)
    with resume(model, "third", x) as run, evaluating(model):
        new = torch.rand(2, 4)
        assert torch.equal(run(new)[0], new)
        assert torch.equal(run(new)[1][0], run.output[1][0])


def test_layers_in_front_do_not_run():
    model = vgg_like()
    with resume(model, "0.4", torch.rand(2, 3, 16, 16)) as run:
        runs = model[0][1].runs
        run(run.activation)
        assert model[0][1].runs == runs == 1


def test_replace_and_capture_on_later_layers(resnet, images):
    new = torch.rand(2, 8, 8, 8)
    start = torch.rand(2, 4, 16, 16)
    tail = {"layer2.0.relu:1": lambda _: new}
    with resume(resnet, "layer1.1.relu:1", images) as run, replace(resnet, tail), capture(resnet, "layer2.1") as acts:
        output = run(start)
    with replace(resnet, tail), replace(resnet, {"layer1.1.relu:1": lambda _: start}):
        assert torch.equal(output, resnet(images))
    with evaluating(resnet):
        assert torch.equal(acts["layer2.1"], resnet.layer2[1](new))
    # The other way round: recorded inside replace.
    with replace(resnet, {"layer2.1.relu": lambda tensor: 2 * tensor}):
        check(resnet, "layer1.1.relu:1", images)


def test_inputs_that_are_normalised_in_place_and_several_arguments():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x, scale):
            return {"out": self.b(self.a(x.mul_(scale)))}

    x = torch.ones(2, 4)
    model = Net()
    with resume(model, "a", (x, 3.0)) as run, evaluating(model):
        assert torch.equal(x, torch.ones(2, 4))
        assert run.resumed
        assert torch.equal(run(run.activation)["out"], model.b(model.a(3 * x)))
        assert torch.equal(run(run.activation)["out"], run.output["out"])


def test_compiled_and_wrapped_models(resnet, images, is_untouched):
    plain = resnet(images)
    compiled = torch.compile(nn.DataParallel(resnet), backend="eager")
    compiled(images)
    with resume(compiled, "module.layer2.0", images) as run:
        assert run.resumed
        torch.testing.assert_close(run(run.activation), plain)
    is_untouched(resnet)
    torch.compiler.reset()


def test_training_flags_and_batch_norm_stay(resnet, images, is_untouched):
    resnet.train()
    resnet.layer1.eval()
    modes = [module.training for module in resnet.modules()]
    buffers = [buffer.clone() for buffer in resnet.buffers()]
    with resume(resnet, "layer1", images) as run:
        run(run.activation)
    assert is_untouched(resnet, modes)
    assert all(map(torch.equal, buffers, resnet.buffers()))


def test_memory_is_released(resnet, images):
    with resume(resnet, "layer1", images) as run:
        reference = weakref.ref(run.activation)
    del run
    gc.collect()
    assert reference() is None


def test_the_whole_cost_is_that_of_the_tail():
    torch.manual_seed(0)
    layers = [layer for _ in range(11) for layer in (nn.Conv2d(24, 24, 3, padding=1), nn.ReLU(inplace=True))]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10)).eval()
    x = torch.rand(8, 24, 48, 48)

    def seconds(function, *arguments):
        times = []
        for _ in range(5):
            start = time.perf_counter()
            with torch.no_grad():
                function(*arguments)
            times.append(time.perf_counter() - start)
        return min(times)

    with resume(model, "17", x) as run:  # the ReLU of the ninth of eleven convolutions
        # Two of eleven convolutions, and room for the noise of a busy machine.
        assert seconds(run, run.activation) < 0.45 * seconds(model, x)


def test_bad_arguments(resnet, images):
    with pytest.raises(ValueError, match="one layer; this matches 2"), resume(resnet, "layer?", images):
        pass
    with resume(resnet, "layer1", images) as run, pytest.raises(ValueError, match=r"\(2, 4, 16, 16\).*'layer1'"):
        run(torch.ones(1, 4, 16, 16))
    text = r"`layer` parameter of `resume`.*'layer1:1'"
    with pytest.raises(LayerNotReachedError, match=text), resume(resnet, "layer1:1", images):
        pass


def test_a_layer_without_tensors_is_refused():
    class Text(nn.Module):
        def forward(self, x):
            return "text"

    with pytest.raises(TypeError, match="no tensor"), resume(nn.Sequential(Text()), "0", torch.ones(1)):
        pass
