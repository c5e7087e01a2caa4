import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from lightning_interp.hooks.names import (
    address,
    aliases,
    named_layers,
    split_address,
    unwrap,
    without_wrappers,
)


def net():
    return nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.Linear(2, 2))


def test_named_layers_are_named_modules_without_the_root():
    model = net()
    assert named_layers(model) == {name: module for name, module in model.named_modules() if name}


def test_wrappers_are_seen_through_outside_and_inside():
    model = net()
    expected = named_layers(model)
    assert named_layers(nn.DataParallel(model)) == expected
    assert named_layers(AveragedModel(model)).keys() == expected.keys()
    model[0] = torch.compile(nn.DataParallel(model[0]), backend="eager")
    wrapped = torch.compile(nn.DataParallel(model), backend="eager")
    assert named_layers(wrapped) == expected
    assert unwrap(wrapped) is model


def test_a_child_that_happens_to_be_called_module_is_no_wrapper():
    model = nn.ModuleDict({"module": nn.Linear(2, 2), "other": nn.Linear(2, 2)})
    assert list(named_layers(model)) == ["module", "other"]


def test_shared_modules_come_once_and_know_their_other_names():
    model = nn.Module()
    model.first = nn.Sequential(nn.ReLU())
    model.second = model.first
    assert list(named_layers(model)) == ["first", "first.0"]
    assert aliases(model) == {"first": "first", "first.0": "first.0", "second": "first", "second.0": "first.0"}


def test_prefixes_are_dropped_only_as_whole_components():
    assert without_wrappers("module._orig_mod.layer4.0") == "layer4.0"
    assert without_wrappers("layer4._orig_mod.0") == "layer4.0"
    assert without_wrappers("my_module.layer4") == "my_module.layer4"


def test_addresses_round_trip():
    assert [address("relu", index) for index in range(3)] == ["relu", "relu:1", "relu:2"]
    assert [split_address(text) for text in ("relu", "relu:0", "a.relu:12")] == [
        ("relu", 0),
        ("relu", 0),
        ("a.relu", 12),
    ]
