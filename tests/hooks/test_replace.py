import pytest
import torch
from torch import nn

from lightning_interp.exceptions import LayerNotReachedError
from lightning_interp.hooks import capture, replace


def test_later_layers_see_the_change(resnet, images):
    new = torch.rand(2, 8, 8, 8)
    with replace(resnet, {"layer2.0": lambda _: new}), capture(resnet, "layer2.0") as activations:
        output = resnet(images)
    assert torch.equal(output, resnet.fc(resnet.pool(resnet.layer2[1](new)).flatten(1)))
    assert torch.equal(activations["layer2.0"], new)


def test_in_place_operations_do_not_reach_the_tensor_that_a_function_returned(resnet, images):
    new = -torch.ones(2, 4, 16, 16)
    with replace(resnet, {"stem.0": lambda _: new}):
        resnet(images)
    assert torch.equal(new, -torch.ones(2, 4, 16, 16))


def test_calls_of_one_layer_are_told_apart(resnet, images):
    seen = []

    def note(tensor):
        seen.append(tensor.clone())
        return tensor

    with capture(resnet, "layer1.0.relu") as expected:
        resnet(images)
    with replace(resnet, {"layer1.0.relu:1": note}):
        resnet(images)
    with replace(resnet, {"layer1.0.relu": note}):
        resnet(images)
    assert len(seen) == 2
    assert torch.equal(seen[0], expected["layer1.0.relu:1"])
    assert torch.equal(seen[1], expected["layer1.0.relu"])


def test_the_identity_changes_nothing_and_gradients_flow(resnet, images):
    expected = resnet(images)
    with replace(resnet, {"layer*": lambda tensor: tensor}):
        output = resnet(images)
    assert torch.equal(output, expected)
    with replace(resnet, {"layer1": lambda tensor: 0 * tensor}):
        resnet(images).sum().backward()
    assert not resnet.stem[0].weight.grad.any()
    assert resnet.fc.weight.grad.any()


def test_the_dtype_is_cast_back(resnet, images):
    with replace(resnet, {"layer1": lambda tensor: tensor.double()}):
        assert torch.equal(resnet(images), resnet(images))


def test_tuples_keep_their_other_items():
    model = nn.LSTM(3, 4)
    wrapper = nn.Sequential(model)
    with replace(wrapper, {"0": torch.zeros_like}):
        output, (hidden, _) = wrapper(torch.ones(5, 2, 3))
    assert not output.any()
    assert hidden.any()


@pytest.mark.parametrize(
    ("function", "error", "text"),
    [
        (lambda tensor: tensor[:1], ValueError, r"`layer1` parameter of `replace`.*\(2, 4, 16, 16\) on cpu.*\(1, 4"),
        (lambda tensor: tensor.to("meta"), ValueError, "on meta"),
        (lambda tensor: None, TypeError, "`layer1`.*Got None"),
        ("zeros", TypeError, "`layer1`.*a function"),
    ],
)
def test_bad_functions_are_named_by_their_layer(resnet, images, is_untouched, function, error, text):
    with pytest.raises(error, match=text), replace(resnet, {"layer1": function}):
        resnet(images)
    assert is_untouched(resnet)


def test_layers_that_never_run_and_unknown_names_are_errors(resnet, images):
    with pytest.raises(LayerNotReachedError, match="bn1:1'"), replace(resnet, {"layer1.0.bn1:1": torch.relu}):
        resnet(images)
    with pytest.raises(ValueError, match="Did you mean 'layer1'"), replace(resnet, {"layer_1": torch.relu}):
        pass


def test_a_layer_without_tensors_is_refused():
    class Text(nn.Module):
        def forward(self, x):
            return "text"

    model = nn.Sequential(Text())
    with pytest.raises(TypeError, match="'0' cannot be replaced"), replace(model, {"0": torch.relu}):
        model(1)
