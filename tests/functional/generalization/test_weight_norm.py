import math

import pytest
import torch
from torch import nn
from torch.nn.utils import parameters_to_vector

from lightning_interp.functional.generalization import weight_norm


def test_it_is_the_norm_of_all_parameters(net):
    assert weight_norm(net) == pytest.approx(float(parameters_to_vector(net.parameters()).norm().detach()))


def test_it_grows_with_the_weights_and_not_with_buffers(cnn):
    plain = weight_norm(cnn)
    cnn[1].running_var.fill_(1e6)
    assert weight_norm(cnn) == plain
    with torch.no_grad():
        for p in cnn.parameters():
            p.mul_(-3)
    assert weight_norm(cnn) == pytest.approx(3 * plain)


def test_frozen_weights_do_not_count(cnn):
    cnn[:9].requires_grad_(False)
    assert weight_norm(cnn) == pytest.approx(float(parameters_to_vector(cnn[9:].parameters()).norm().detach()))
    assert weight_norm(cnn.requires_grad_(False)) == 0
    assert weight_norm(nn.ReLU()) == 0


def test_large_and_broken_weights():
    layer = nn.Linear(3, 1, bias=False)
    layer.weight.data = torch.full((1, 3), 1e30)  # whose squares are no float32
    assert weight_norm(layer) == pytest.approx(math.sqrt(3) * 1e30)
    layer.weight.data[0, 0] = math.nan
    assert math.isnan(weight_norm(layer))
