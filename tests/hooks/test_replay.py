import pytest
import torch
from torch import nn

from lightning_interp.hooks.replay import Recording, Replay, forwards_wrapped


def record(model, layer, x):
    recording = Recording(layer, 0)
    with forwards_wrapped(model.modules(), recording.wrap), torch.no_grad():
        model(x)
    return recording


def outputs(recording):
    return {call.module: call.output() for call in recording.calls if call.skippable}


def test_dead_outputs_are_nan_without_memory_and_live_ones_are_copies():
    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c, self.d = (nn.Linear(3, 3) for _ in range(4))

        def forward(self, x):
            kept = self.a(x)
            return self.d(self.c(self.b(kept))) + kept

    model, x = Skip(), torch.ones(2, 3)
    found = outputs(record(model, model.d, x))
    assert found.keys() == {model.a, model.b, model.c}
    assert torch.equal(found[model.a], model.a(x))  # a local variable
    assert found[model.b].shape == (2, 3)
    assert found[model.b].isnan().all()
    assert found[model.b].untyped_storage().nbytes() == 4
    assert not found[model.c].isnan().any()  # the argument of the layer that returned last


def test_outputs_that_are_no_floats_are_kept():
    class Index(nn.Module):
        def forward(self, x):
            return x.argmax(1)

    class Both(nn.Module):
        def forward(self, x):
            return x, x.new_zeros(2)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.index, self.both, self.table, self.last = Index(), Both(), nn.Embedding(3, 4), nn.Linear(4, 4)

        def forward(self, x):
            index, _ = self.both(self.index(x))
            return self.last(self.table(index))

    model, x = Net(), torch.eye(3)
    found = outputs(record(model, model.last, x))
    assert torch.equal(found[model.index], torch.arange(3))
    assert torch.equal(found[model.both][0], torch.arange(3))


def test_another_path_than_the_recorded_one_is_noticed():
    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.last, self.use_a = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3), True

        def forward(self, x):
            return self.last(self.a(x) if self.use_a else self.last(x))

    model = Branch()
    recording = record(model, model.last, torch.ones(2, 3))
    model.use_a = False
    replay = Replay(recording, torch.ones(2, 3))
    with forwards_wrapped(replay.modules, replay.wrap), pytest.raises(RuntimeError, match="another path"):
        model(torch.ones(2, 3))


def test_a_forward_of_the_instance_comes_back():
    model = nn.Sequential(nn.Linear(3, 3))
    own = model[0].forward = lambda x: 2 * x
    with pytest.raises(KeyError), forwards_wrapped(model.modules(), lambda module, forward: lambda x: 1 + forward(x)):
        raise KeyError
    assert vars(model[0])["forward"] is own
    assert "forward" not in vars(model)
