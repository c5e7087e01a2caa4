import random

import pytest
import torch
from torch import nn

from lightning_interp.hooks.trace import trace_forward


class Picky(nn.Module):
    """Runs for 28x28 images only, draws noise, has a batch norm and a dropout."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.drop = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout()
        self.fc = nn.Linear(2 * 26 * 26, 4)

    def forward(self, x):
        return self.fc(self.drop(self.bn(self.conv(x))).flatten(1)) + torch.rand(1) + random.random()


def test_the_input_is_guessed_and_nothing_changes(is_untouched):
    model = Picky().train()
    model.bn.eval()
    modes = [module.training for module in model.modules()]
    buffers = [buffer.clone() for buffer in model.buffers()]
    states = torch.get_rng_state(), random.getstate()
    trace = trace_forward(model)
    assert [call.name for call in trace.calls] == ["conv", "bn", "drop", "fc"]
    assert trace.calls[0].input_shape == (2, 1, 28, 28)
    assert trace.output.shape == (2, 4)
    assert is_untouched(model, modes)
    assert all(map(torch.equal, buffers, model.buffers()))
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()


@pytest.mark.parametrize(("channels", "dims"), [(3, 1), (2, 2), (1, 3)], ids=["1d", "2d", "3d"])
def test_guesses_fit_the_first_convolution(channels, dims):
    model = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1](channels, 2, 3)
    assert trace_forward(nn.Sequential(model)).calls[0].input_shape == (2, channels, *[64] * dims)


def test_a_given_input_is_preferred_cut_to_two_images_and_moved():
    model = nn.Sequential(nn.Linear(4, 2))
    model.example_input_array = torch.zeros(1, 4)
    assert trace_forward(model).calls[0].input_shape == (1, 4)
    assert trace_forward(model, torch.zeros(9, 4)).calls[0].input_shape == (2, 4)


def test_tuples_and_dicts_are_arguments():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 2)

        def forward(self, x, scale):
            return self.fc(input=x * scale)

    for inputs in ((torch.ones(2, 4), 3), {"x": torch.ones(2, 4), "scale": 3}):
        assert torch.equal(trace_forward(Sum(), inputs).calls[0].input, torch.full((2, 4), 3.0))


@pytest.mark.parametrize(
    "model", [nn.Sequential(nn.Embedding(5, 4)), nn.Sequential(nn.LazyConv2d(4, 3)), nn.Bilinear(2, 3, 4)]
)
def test_no_guess_that_runs_names_the_way_out(model):
    with pytest.raises(ValueError, match=r"`example_input` parameter of `select_layers`.*example_input_array"):
        trace_forward(model)


def test_signs_are_those_at_the_time_of_the_call():
    model = nn.Sequential(nn.Linear(4, 64), nn.ReLU(inplace=True))
    calls = trace_forward(model).calls
    assert [call.nonnegative for call in calls] == [False, True]
    assert calls[0].output is calls[1].output
