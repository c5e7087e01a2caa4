import pytest
import torch
from torch import nn

from lightning_interp.exceptions import LayerNotReachedError
from lightning_interp.hooks import capture, replace


def test_values_are_those_before_in_place_operations(resnet, images):
    block, x = resnet.layer1[0], resnet.stem(images).detach()
    with capture(resnet, ["layer1.0.*", "stem.0"]) as activations, torch.no_grad():
        output = resnet(images)
    bn1 = block.bn1(block.conv1(x))
    bn2 = block.bn2(block.conv2(bn1.relu()))
    assert torch.equal(activations["stem.0"], resnet.stem[0](images))
    assert (activations["stem.0"] < 0).any()
    assert torch.equal(activations["layer1.0.bn1"], bn1)
    assert torch.equal(activations["layer1.0.relu"], bn1.relu())
    assert torch.equal(activations["layer1.0.bn2"], bn2)
    assert torch.equal(activations["layer1.0.relu:1"], (bn2 + x).relu())
    assert torch.equal(output, resnet(images))


def test_a_layer_that_runs_twice_has_one_entry_per_call(resnet, images):
    with capture(resnet, "layer1.0.relu") as both, capture(resnet, "layer1.0.relu:1") as second:
        resnet(images)
    assert list(both) == ["layer1.0.relu", "layer1.0.relu:1"]
    assert list(second) == ["layer1.0.relu:1"]


def test_the_last_forward_counts(resnet, images):
    with capture(resnet, ["layer1.0.relu:1", "fc"]) as activations:
        resnet(images)
        first = activations["fc"]
        output = resnet(images + 1)
        assert len(activations) == 2
    assert torch.equal(activations["fc"], output)
    assert not torch.equal(first, output)


def test_parts_of_a_model_called_on_their_own_are_forward_passes_too():
    class Lightning(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.Linear(4, 2)

        def step(self, x):
            return self.head(self.body(x))

    model = Lightning()
    with capture(model, ["body.1", "head"]) as activations:
        for scale in (1.0, 2.0):
            output = model.step(torch.full((1, 4), scale))
    assert list(activations) == ["body.1", "head"]
    assert torch.equal(activations["head"], output)
    assert torch.equal(model.head(activations["body.1"]), output)


def test_detach_false_keeps_the_graph_through_in_place_operations(resnet, images):
    layers = ["stem.0", "layer1.0.bn2", "layer2.0.relu:1"]
    with capture(resnet, layers, detach=False) as activations:
        output = resnet(images)
    grads = torch.autograd.grad(output.sum(), [activations[layer] for layer in layers])
    assert all(grad.abs().sum() > 0 for grad in grads)
    assert torch.equal(output, resnet(images))
    # By the chain rule: the last block's gradient again, from the recorded value on.
    start = activations["layer2.0.relu:1"].detach().requires_grad_()
    tail = resnet.fc(resnet.pool(resnet.layer2[1](start)).flatten(1))
    torch.testing.assert_close(torch.autograd.grad(tail.sum(), start)[0], grads[2])


def test_detach_cuts_the_graph_and_training_goes_on(resnet, images):
    with capture(resnet, "layer1.0.relu") as activations:
        resnet(images).sum().backward()
    assert not activations["layer1.0.relu"].requires_grad
    assert resnet.stem[0].weight.grad.abs().sum() > 0


def test_tuple_outputs_give_their_first_tensor():
    model = nn.Sequential(nn.LSTM(3, 4, batch_first=True))
    for detach in (True, False):
        with capture(model, "0", detach=detach) as activations:
            output, _ = model(torch.ones(2, 5, 3))
        assert torch.equal(activations["0"], output)


def test_tokens_and_vectors_are_captured_as_they_are():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU())
    for shape in ((3, 4), (3, 5, 4)):
        with capture(model, "1") as activations:
            assert torch.equal(model(torch.ones(shape)), activations["1"])


def test_hooks_are_gone_after_the_context_and_after_exceptions(resnet, images, is_untouched):
    with capture(resnet, nn.Conv2d):
        resnet(images)
    assert is_untouched(resnet)
    with pytest.raises(RuntimeError, match="channels"), capture(resnet, nn.Conv2d):
        resnet(torch.ones(1, 1, 8, 8))
    assert is_untouched(resnet)


def test_calls_are_counted_right_after_a_caught_exception(resnet, images):
    with capture(resnet, "layer1.0.relu") as activations:
        with pytest.raises(RuntimeError):
            resnet(torch.ones(1, 1, 8, 8))
        resnet(images)
        resnet(images)
    assert list(activations) == ["layer1.0.relu", "layer1.0.relu:1"]


class Skipping(nn.Sequential):
    def forward(self, x):
        return self[0](x)


def test_a_layer_that_never_runs_is_an_error_with_the_layers_that_did():
    model = Skipping(nn.Linear(4, 4), nn.Linear(4, 4))
    text = r"`layers` parameter of `capture`.*Got '1'.*Layers that ran: '0'"
    with pytest.raises(LayerNotReachedError, match=text), capture(model, ["0", "1"]):
        model(torch.ones(1, 4))
    text = r"Got '0:3'.*calls in one forward pass: '0'"
    with pytest.raises(LayerNotReachedError, match=text), capture(model, "0:3"):
        model(torch.ones(1, 4))
    with capture(model, "1"):
        pass  # no forward pass, no error


def test_reading_too_early_or_by_a_wrong_name_says_so(resnet, images):
    with capture(resnet, "layer1.0.conv1") as activations:
        with pytest.raises(RuntimeError, match="run the model"):
            activations["layer1.0.conv1"]
        assert "layer1.0.conv1" not in activations
        resnet(images)
        with pytest.raises(KeyError, match="Did you mean"):
            activations["layer1.0.conv2"]
        assert torch.equal(activations["module.layer1.0.conv1"], activations["layer1.0.conv1:0"])


def test_a_layer_without_tensors_is_refused():
    class Text(nn.Module):
        def forward(self, x):
            return "text"

    model = nn.Sequential(Text())
    with pytest.raises(TypeError, match="'0' cannot be captured"), capture(model, "0"):
        model(1)


@pytest.mark.parametrize("compiled", ["wrapper", "inner", "in_place"])
def test_modules_that_were_compiled_and_run_before_are_captured(resnet, images, compiled):
    model = resnet
    if compiled == "wrapper":
        model = torch.compile(resnet, backend="eager")
    elif compiled == "inner":
        resnet.layer1 = torch.compile(resnet.layer1, backend="eager")
    else:
        resnet.compile(backend="eager")
    with torch.no_grad():
        expected = model(images)
        with capture(model, ["layer1.0.relu:1", "fc"]) as activations, replace(model, {"layer1.1": lambda a: 2 * a}):
            changed = model(images)
        after = model(images)
    assert torch.equal(activations["fc"], changed)
    assert "layer1.0.relu:1" in activations
    assert torch.equal(after, expected)
    assert not torch.equal(changed, expected)
    torch.compiler.reset()


def test_data_parallel(resnet, images):
    model = nn.DataParallel(resnet)
    with capture(model, "module.fc") as activations:
        output = model(images)
    assert torch.equal(activations["fc"], output)
