import time
import warnings

import pytest
import torch
from torch.nn.functional import cross_entropy

from lightning_interp.functional.generalization import SIGNALS, Signal, Snapshot, check_signals, measure_signals
from lightning_interp.functional.generalization.rules import Rule


def test_a_value_does_not_depend_on_the_company(net, pictures):
    held_out = (pictures[0][:9], pictures[1][:9])
    together, seconds = measure_signals(Snapshot(net, *pictures, held_out=held_out), SIGNALS)
    backwards, _ = measure_signals(Snapshot(net, *pictures, held_out=held_out), reversed(SIGNALS))
    assert list(together) == list(seconds) == list(SIGNALS)
    assert together == backwards
    for name in SIGNALS:
        alone, _ = measure_signals(Snapshot(net, *pictures, held_out=held_out), [name])
        assert alone == {name: together[name]}


def test_seconds_are_those_of_each_signal(cnn, pictures, monkeypatch):
    slow = Signal(lambda s: time.sleep(0.05) or 1, "maximum", Rule("never"), "test")
    monkeypatch.setitem(SIGNALS, "slow", slow)
    values, seconds = measure_signals(Snapshot(cnn, *pictures), ["weight_norm", "slow"])
    assert values["slow"] == 1.0
    assert isinstance(values["slow"], float)
    assert seconds["slow"] >= 0.05 > seconds["weight_norm"] >= 0


def test_what_is_shared_is_counted_once(cnn, pictures):
    calls = []
    cnn.register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
    measure_signals(Snapshot(cnn, *pictures), ["train_accuracy", "train_loss", "gwa", "label_wave", "effective_rank"])
    assert calls == [2, 60]


def test_measuring_uses_up_no_compilations(cnn, pictures):
    """A compiled network that is recompiled too often runs as plain Python ever after."""
    compiled = []

    def backend(graph, _):
        compiled.append(graph)
        return graph.forward

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the compiler of this version of torch has to say
        model = torch.compile(cnn, backend=backend)
        cross_entropy(model(pictures[0]), pictures[1]).backward()
        assert len(compiled) == 1
        measure_signals(Snapshot(model, *pictures, held_out=pictures), SIGNALS)
        cross_entropy(model(pictures[0]), pictures[1]).backward()
    assert len(compiled) == 1


def test_names_come_once_and_in_order():
    assert check_signals(["gwa", "train_loss", "gwa"], "f") == ("gwa", "train_loss")
    assert check_signals("gwa", "f") == ("gwa",)
    assert check_signals([], "f") == ()
    assert check_signals(SIGNALS, "f") == tuple(SIGNALS)


def test_an_unknown_name_gets_a_suggestion(cnn, pictures):
    with pytest.raises(
        ValueError, match=r"`signals` parameter of `measure_signals` must be names among .* Did you mean"
    ):
        measure_signals(Snapshot(cnn, *pictures), ["train_loss", "label_waves"])
    with pytest.raises(ValueError, match=r"`signals` parameter of `Owner` .* Got 'zzz'"):
        check_signals(["zzz"], "Owner")


def test_what_a_network_lacks_is_told(cnn, pictures):
    with pytest.raises(ValueError, match="`held_out` parameter of `Snapshot` must be given"):
        measure_signals(Snapshot(cnn, *pictures), ["held_out_loss"])
