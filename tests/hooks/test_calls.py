import torch
from torch import nn

from lightning_interp.hooks.calls import CallWatcher, watched_calls


def test_every_call_is_reported_in_the_order_of_return_with_its_inputs():
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.Linear(2, 2))
    model.append(model[0][1])  # the shared ReLU again, at another depth
    seen = []
    watcher = CallWatcher(model, ["0.0", "0.1", "0", "1"], lambda name, inputs, output: seen.append((name, inputs[0])))
    x = torch.ones(1, 2)
    with watched_calls(watcher, model):
        model(x)
        assert [name for name, _ in seen] == ["0.0", "0.1", "0", "1", "0.1:1"]
        assert seen[0][1] is x
        assert seen[2][1] is x
        model(x)
    assert [name for name, _ in seen[5:]] == ["0.0", "0.1", "0", "1", "0.1:1"]
    assert watcher.most == {"0.0": 1, "0.1": 2, "0": 1, "1": 1}


def test_starting_a_part_counts_anew_only_inside_it():
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2)), nn.Linear(2, 2))
    started = []
    watcher = CallWatcher(model, ["0.0", "1"], lambda *_: None, started.append)
    with watched_calls(watcher, model):
        model[0](torch.ones(1, 2))
        model(torch.ones(1, 2))
    assert started == [["0.0"], ["0.0", "1"]]
