"""The synthesis benchmark, in small."""

import json
import sys

import pytest
import torch
from torch import nn

from benchmarks import _synthesis_deconvnet, _synthesis_maximization, _synthesis_peers, synthesis
from lightning_interp.functional.synthesis import deconvnet
from lightning_interp.hooks import OUTPUT, preserved_rng
from lightning_interp.models import CIFAR10CNN

CPU = torch.device("cpu")
FIRST, LAST = "features.1", "features.21"


class Functions(nn.Module):
    """Its rectifier is a function: captum has nothing to hook."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 4, 3, padding=1)

    def forward(self, images):
        return self.last(self.first(images).relu())


def build(make=CIFAR10CNN, **options):
    with preserved_rng(0):
        return make(**options).eval()


@pytest.fixture
def net():
    return build(width=4)


@pytest.fixture
def small(monkeypatch):
    """Tiny networks in place of all."""
    layers = (FIRST, "features.11", LAST)
    one = _synthesis_maximization.Subject("tiny", lambda: build(width=4), 32, layers)
    monkeypatch.setattr(_synthesis_maximization, "subjects", lambda side: [one])
    other = _synthesis_deconvnet.Subject("tiny", lambda: build(width=4), 32, "modules", layers[:2])
    monkeypatch.setattr(_synthesis_deconvnet, "subjects", lambda side: [other])


@pytest.fixture
def lucent():
    ask(_synthesis_peers.LUCENT)


@pytest.fixture
def captum():
    ask(_synthesis_peers.CAPTUM)


def ask(peer):
    there, why = _synthesis_peers.takes_part(peer, CPU)
    if not there:
        pytest.skip(reason=f"the peer it compares with comes with `pip install .[bench]`: {why}")


@pytest.fixture
def alone(monkeypatch):
    """As if no peer were installed."""
    for module in ("lucent.optvis.render", "captum.attr"):
        monkeypatch.setitem(sys.modules, module, None)


def case(net, layer, units, steps=5):
    return _synthesis_maximization.Case(net, layer, units, 32, steps)


def run(tmp_path, part, monkeypatch):
    monkeypatch.setattr("sys.argv", ["synthesis.py"])
    synthesis.main(["--quick", "--part", part, "--out", str(tmp_path)])
    return json.loads(next(tmp_path.glob("synthesis*.json")).read_text())


class TestMaximization:
    @pytest.mark.parametrize("layer", [FIRST, LAST, OUTPUT])
    def test_ours_is_the_bare_loop_while_it_climbs(self, net, layer):
        units = _synthesis_maximization.excited(net, layer, 2, 32)
        wanted = case(net, layer, units)
        ours, bare = _synthesis_maximization.ours(wanted), _synthesis_maximization.bare(wanted)
        torch.testing.assert_close(ours, bare)

    @pytest.mark.parametrize("layer", [FIRST, LAST, OUTPUT])
    def test_lucent_starts_where_we_start_and_climbs_the_same_way(self, lucent, net, layer):
        wanted = case(net, layer, _synthesis_maximization.excited(net, layer, 3, 32))
        ours, theirs = _synthesis_maximization.ours(wanted), _synthesis_maximization.lucent(wanted)
        assert (ours - theirs).abs().mean() < 1e-3  # Adam makes much of rounding where a gradient is nearly zero
        reached = [_synthesis_maximization.activation(wanted, images) for images in (ours, theirs)]
        torch.testing.assert_close(*reached, rtol=1e-3, atol=0)

    @pytest.mark.parametrize("frozen", [False, True])
    def test_lucent_leaves_no_hooks_no_gradients_and_no_random_state(self, lucent, net, frozen):
        before = torch.get_rng_state()
        _synthesis_maximization.lucent(case(net, FIRST, [0]), frozen=frozen)
        assert torch.equal(before, torch.get_rng_state())
        assert not any(module._forward_hooks for module in net.modules())
        assert all(p.grad is None and p.requires_grad for p in net.parameters())

    def test_activation_is_the_mean_of_each_images_own_unit(self, net):
        images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        maps = net.features[:2](images)
        expected = torch.stack([maps[0, 3].mean(), maps[1, 1].mean()])
        torch.testing.assert_close(_synthesis_maximization.activation(case(net, FIRST, [3, 1]), images), expected)
        logits = _synthesis_maximization.activation(case(net, OUTPUT, [3, 1]), images)
        torch.testing.assert_close(logits, torch.stack([net(images)[0, 3], net(images)[1, 1]]))

    def test_a_row_per_objective_and_one_for_a_batch(self, small, alone, monkeypatch, tmp_path):
        result = run(tmp_path, "maximization", monkeypatch)
        assert [(row["layer"], row["images"]) for row in result["rows"]] == [
            *((layer, 1) for layer in (FIRST, "features.11", LAST, OUTPUT)),
            ("features.11", synthesis.QUICK.batch),
        ]
        assert all(row["activation, ours"] > row["activation, start"] for row in result["rows"])
        assert not any("lucent" in name for row in result["rows"] for name in row)
        assert "torch-lucent takes no part" in result["notes"]


class TestDeconvNet:
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))

    def test_captum_finds_the_same_where_rectifiers_are_modules(self, captum):
        subject = _synthesis_deconvnet.Subject("tiny", lambda: build(width=4), 32, "modules", (LAST,))
        row = _synthesis_deconvnet.measure(
            _synthesis_deconvnet.network(subject), self.images, LAST, n_units=3, repeats=1
        )
        assert row["difference to captum"] < 1e-5

    def test_and_another_thing_where_they_are_functions(self, captum):
        row = _synthesis_deconvnet.measure(build(Functions), self.images, "last", n_units=3, repeats=1)
        assert row["difference to captum"] > 0.1

    def test_the_bare_passes_are_as_many_as_there_are_units(self, net, monkeypatch):
        found = deconvnet(net, self.images, FIRST, n_units=3)
        calls = []
        grad = torch.autograd.grad
        monkeypatch.setattr(
            torch.autograd, "grad", lambda *args, **options: calls.append(args[2]) or grad(*args, **options)
        )
        _synthesis_deconvnet.bare(net, self.images, found)
        assert len(calls) == 3
        torch.testing.assert_close(torch.stack([each.sum((1, 2, 3)) for each in calls]), found.activations)

    def test_difference_counts_what_only_one_of_them_has(self):
        maps = torch.zeros(2, 1, 1, 2, 2)
        others = maps.clone()
        others[1, 0, 0, 0, 0] = 3.0
        assert _synthesis_deconvnet.difference(maps, maps) == 0
        assert _synthesis_deconvnet.difference(maps, others) == _synthesis_deconvnet.difference(others, maps) == 1

    def test_a_row_per_layer(self, small, alone, monkeypatch, tmp_path):
        result = run(tmp_path, "deconvnet", monkeypatch)
        assert [row["layer"] for row in result["rows"]] == [FIRST, "features.11"]
        assert all(row["ours, times bare"] > 0 and "difference to captum" not in row for row in result["rows"])
        assert "captum takes no part" in result["notes"]


def test_inversion_by_layer(monkeypatch, tmp_path):
    rows = run(tmp_path, "inversion", monkeypatch)["rows"]
    assert len(rows) == 7
    assert all(row["feature error"] < row["feature error, start"] for row in rows)
    assert [row["values"] for row in rows][-1] == 12


def test_lucent_is_not_asked_on_a_cpu_beside_a_gpu(monkeypatch):
    monkeypatch.setattr(_synthesis_peers, "import_module", lambda name: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    there, why = _synthesis_peers.takes_part(_synthesis_peers.LUCENT, CPU)
    assert not there
    assert "cuda:0" in why
