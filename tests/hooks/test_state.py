import random
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from lightning_interp.hooks import evaluating, preserved_rng
from lightning_interp.hooks.state import eager


def test_every_training_flag_comes_back_and_buffers_stay():
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Sequential(nn.Dropout(), nn.BatchNorm1d(3)))
    model[1][1].eval()
    modes = [module.training for module in model.modules()]
    buffers = [buffer.clone() for buffer in model.buffers()]

    def fail_inside():
        with evaluating(model):
            assert not any(module.training for module in model.modules())
            output = model(torch.rand(4, 3))
            assert not output.requires_grad
            assert not output.is_inference()
            raise KeyError

    with pytest.raises(KeyError):
        fail_inside()
    assert [module.training for module in model.modules()] == modes
    assert all(map(torch.equal, buffers, model.buffers()))
    assert torch.is_grad_enabled()


def test_a_train_method_that_freezes_parts_is_respected():
    class Frozen(nn.Sequential):
        def train(self, mode=True):
            super().train(mode)
            self[0].training = True  # Monte-Carlo dropout: on in eval mode too
            return self

    model = Frozen(nn.Dropout(), nn.Linear(2, 2))
    model[0].training = False
    with evaluating(model):
        assert model[0].training
    assert not model[0].training
    assert model[1].training


def draw():
    # NumPy's legacy generator is on purpose: it is the global state that must be protected
    return random.random(), float(np.random.rand()), float(torch.rand(1))


def test_random_states_come_back_after_exceptions_too():
    torch.manual_seed(3)
    with preserved_rng():
        expected = draw()

    def fail_inside():
        with preserved_rng(seed=5):
            draw()
            raise KeyError

    with pytest.raises(KeyError):
        fail_inside()
    assert draw() == expected


def test_a_seed_fixes_all_of_them():
    with preserved_rng(seed=5):
        first = draw()
    with preserved_rng(seed=5):
        assert draw() == first
    with preserved_rng(seed=6):
        assert draw() != first


@pytest.mark.parametrize(("seed", "error"), [(-1, ValueError), (2**32, ValueError), (1.5, TypeError)])
def test_bad_seeds_leave_the_states_alone(seed, error):
    state = torch.get_rng_state()
    with pytest.raises(error, match="`seed` parameter of `preserved_rng`"), preserved_rng(seed=seed):
        pass
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_states_come_back():
    torch.cuda.init()
    with preserved_rng():
        expected = torch.rand(1, device="cuda")
    with preserved_rng(seed=1):
        torch.rand(1, device="cuda")
    assert torch.equal(torch.rand(1, device="cuda"), expected)


class Noticing(nn.Module):
    """Notes whether it runs as plain Python."""

    def __init__(self):
        super().__init__()
        self.eager_runs = []

    def forward(self, x):
        if not torch.compiler.is_compiling():
            self.eager_runs.append(1)
        return x + 1


@pytest.mark.parametrize("stance", [True, False], ids=["torch >= 2.6", "before"])
@pytest.mark.parametrize("how", ["wrapper", "inner", "in_place"])
def test_compiled_modules_run_eagerly_inside_and_compiled_again_after(monkeypatch, how, stance):
    if stance and not hasattr(torch.compiler, "set_stance"):
        pytest.skip("this torch has no stances")
    if not stance:
        monkeypatch.delattr(torch.compiler, "set_stance", raising=False)
    inner = Noticing()
    if how == "in_place":
        inner.compile(backend="eager")
    model = nn.Sequential(torch.compile(inner, backend="eager") if how == "inner" else inner)
    model = torch.compile(model, backend="eager") if how == "wrapper" else model
    x = torch.ones(2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # dynamo's own, on some versions
        model(x)
    before = len(inner.eager_runs)
    with eager(model):
        assert torch.equal(model(x), x + 1)
    assert len(inner.eager_runs) == before + 1
    model(x)
    assert len(inner.eager_runs) == before + 1
    torch.compiler.reset()
