"""Look at outputs of layers, and change nothing."""

import pytest
import torch
from torch import nn

from lightning_interp.exceptions import LayerNotReachedError
from lightning_interp.hooks import capture, observe


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.LazyLinear(2)).eval()


def test_every_output_is_shown_at_the_moment_it_is_made():
    model, images, seen = network(), torch.rand(2, 3, 8, 8), []
    with torch.no_grad(), observe(model, {"0": lambda a: seen.append(("conv", a.clone()))}):
        model(images)
    assert len(seen) == 1
    torch.testing.assert_close(seen[0][1], model[0](images))  # before the in-place ReLU
    assert seen[0][1].min() < 0


def test_the_output_and_the_gradients_of_the_network_are_the_same():
    model, images = network(), torch.rand(2, 3, 8, 8, requires_grad=True)
    expected = torch.autograd.grad(model(images).sum(), images)[0]
    with observe(model, {"1": lambda a: a.detach().sum()}):
        output = model(images)
    assert torch.equal(torch.autograd.grad(output.sum(), images)[0], expected)


def test_the_tensor_is_the_layers_own():
    model, seen = network(), []
    with torch.no_grad(), capture(model, "1") as kept, observe(model, {"1": seen.append}):
        model(torch.rand(2, 3, 8, 8))
    assert torch.equal(seen[0], kept["1"])
    assert seen[0].data_ptr() != kept["1"].data_ptr()


def test_no_hook_stays_after_an_error():
    model = network()

    def fail(activation):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), observe(model, {"1": fail}):
        model(torch.rand(1, 3, 8, 8))
    model(torch.rand(1, 3, 8, 8))


def test_a_layer_that_does_not_run_is_named():
    model = nn.ModuleDict({"a": nn.ReLU(), "b": nn.ReLU()})
    model.forward = lambda x: model["a"](x)
    with pytest.raises(LayerNotReachedError, match="'b'"), observe(model, {"b": lambda a: None}):
        model(torch.rand(1))
