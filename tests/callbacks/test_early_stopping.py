import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_interp.callbacks import NMFEarlyStopping
from lightning_interp.functional.compression import CompressionCounts, CompressionCurve
from tests.callbacks.conftest import SMALL, Net, quiet_trainer, toy_loader


def planted(auc, full=0.6):
    """A curve with the given AuC, of a network that gets 600 of 1000 images right (500 would be guessing)."""
    counts = CompressionCounts.zeros(1, 1, 1)
    correct = torch.tensor([[2 * auc - full], [auc], [full]], dtype=torch.float64)
    correct, total = torch.cat([correct, 0 * correct], 1) * 1000, 500 * torch.ones(2, dtype=torch.float64)
    counts = CompressionCounts(correct, total, counts.squared_error, counts.squared_norm)
    return CompressionCurve((1,), 2, ("features.5",), "nmf", False, counts)


class Planted(NMFEarlyStopping):
    """Sees a given signal in place of a measured one, and notes the weights the network had at each check."""

    def __init__(self, aucs, **options):
        super().__init__(
            **{
                "criterion": "first_maximum",
                "smoothing": 1,
                "patience": 3,
                "min_delta": 0,
                "min_epochs": 0,
                **SMALL,
                **options,
            }
        )
        self.aucs, self.weights = aucs, []

    def _update(self, trainer, pl_module):
        self.weights.append(pl_module.head[1].weight.detach().clone())

    def _curves(self, _):
        return {"": planted(self.aucs[len(self.history_)])}


def fit(stopper, **options):
    net = Net()
    trainer = quiet_trainer(**{"callbacks": [stopper], "max_epochs": 8, **options})
    trainer.fit(net, toy_loader())
    return trainer, net


def resume(stopper, saver, max_epochs):
    net = Net(seed=1)
    trainer = quiet_trainer(callbacks=[stopper, saver], max_epochs=max_epochs, enable_checkpointing=True)
    trainer.fit(net, toy_loader(), ckpt_path=saver.best_model_path)
    return net


RISE_AND_FALL = [0.1, 0.3, 0.4, 0.35, 0.34, 0.33, 0.9, 0.9]


def test_the_planted_curve_has_the_auc_it_is_given():
    assert planted(0.3).auc == pytest.approx(0.3)
    assert planted(0.3).relative_auc == pytest.approx(0.5)


def test_stops_after_patience_and_restores_the_weights_of_the_maximum():
    stopper = Planted(RISE_AND_FALL)
    trainer, net = fit(stopper)
    assert trainer.current_epoch == 6
    assert (stopper.best_epoch, stopper.stopped_epoch) == (3, 6)
    assert torch.equal(net.head[1].weight, stopper.weights[2])
    assert stopper.stopped_reason == (
        "Stopped after epoch 6: relative AuC of NMF-compressed activations: its first maximum was 0.667; "
        "the weights of epoch 3 restored."
    )


def test_weights_stay_where_they_are_on_request():
    stopper = Planted(RISE_AND_FALL, restore_best_weights=False)
    _, net = fit(stopper)
    assert torch.equal(net.head[1].weight, stopper.weights[-1])
    assert stopper.best_weights_ is None


def test_a_run_that_ends_by_itself_keeps_its_last_weights():
    stopper = Planted([0.1, 0.2, 0.3])
    trainer, net = fit(stopper, max_epochs=3)
    assert (trainer.current_epoch, stopper.stopped_epoch, stopper.stopped_reason) == (3, None, "")
    assert torch.equal(net.head[1].weight, stopper.weights[-1])


def test_min_epochs_delays_the_stop():
    stopper = Planted([*RISE_AND_FALL[:6], 0.3, 0.2], min_epochs=7)
    assert fit(stopper)[0].current_epoch == 7
    assert stopper.best_epoch == 3


def test_min_epochs_of_the_trainer_is_honoured_and_the_decision_stands():
    stopper = Planted(RISE_AND_FALL)
    trainer, net = fit(stopper, min_epochs=8)
    assert trainer.current_epoch == 8
    assert stopper.stopped_epoch == 6
    assert torch.equal(net.head[1].weight, stopper.weights[2])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ("relative", "below_one", 1, 2, 0.04)),
        ({"rule": "thesis"}, ("plain", "first_maximum", 3, 3, 0.0)),
        ({"criterion": "half_excess", "smoothing": 5, "min_delta": 0}, ("relative", "half_excess", 5, 2, 0)),
        ({"rule": "thesis", "signal": "relative"}, ("relative", "first_maximum", 3, 3, 0.0)),
    ],
)
def test_rules_are_names_for_settings(options, expected):
    stopper = NMFEarlyStopping(**options)
    found = (stopper.signal, stopper.criterion, stopper.smoothing, stopper.patience, stopper.min_delta)
    assert found == expected


def test_below_one_stops_on_the_relative_signal():
    stopper = Planted([0.65, 0.7, 0.62, 0.55, 0.5, 0.52, 0.9], criterion="below_one")
    assert fit(stopper)[0].current_epoch == 6
    assert stopper.best_epoch == 3


def test_a_network_that_is_never_above_one_trains_to_the_end():
    stopper = Planted([0.5, 0.4, 0.35, 0.3, 0.4, 0.45, 0.5, 0.55], criterion="below_one")
    trainer, net = fit(stopper)
    assert (trainer.current_epoch, stopper.stopped_epoch) == (8, None)
    assert torch.equal(net.head[1].weight, stopper.weights[-1])


def test_a_second_fit_starts_afresh():
    stopper = Planted(RISE_AND_FALL)
    fit(stopper)
    trainer, _ = fit(stopper)
    assert trainer.current_epoch == 6
    assert len(stopper.history) == 6


def test_the_smoothed_signal_and_the_history_are_logged(tensorboard):
    stopper = Planted(RISE_AND_FALL, smoothing=2)
    trainer, _ = fit(stopper, logger=tensorboard)
    events = EventAccumulator(tensorboard.log_dir).Reload()
    smoothed = [event.value for event in events.Scalars("compression/smoothed")]
    assert smoothed[:3] == pytest.approx([1 / 6, 1 / 3, 3.5 / 6])
    assert len(events.Images("compression/history")) == 1
    assert trainer.callback_metrics["compression/bytes"] > stopper._sample.images.nbytes


def test_resumed_run_decides_like_an_uninterrupted_one(tmp_path):
    whole = Planted(RISE_AND_FALL)
    _, _expected = fit(whole)
    first, saver = Planted(RISE_AND_FALL), ModelCheckpoint(tmp_path, filename="half")
    fit(first, max_epochs=4, callbacks=[first, saver], enable_checkpointing=True)
    second = Planted(RISE_AND_FALL)
    net = resume(second, saver, max_epochs=8)
    assert second.stopped_reason == whole.stopped_reason
    assert second.history["auc"].tolist() == whole.history["auc"].tolist()
    assert torch.equal(net.head[1].weight, first.weights[2])


def test_resuming_a_stopped_run_keeps_its_decision(tmp_path):
    first, saver = Planted(RISE_AND_FALL), ModelCheckpoint(tmp_path, filename="end", every_n_epochs=6)
    fit(first, callbacks=[first, saver], enable_checkpointing=True)
    second = Planted(RISE_AND_FALL)
    net = resume(second, saver, max_epochs=7)
    assert second.stopped_reason == first.stopped_reason
    assert torch.equal(net.head[1].weight, first.weights[2])


def test_a_real_signal_stops_a_real_run():
    stopper = NMFEarlyStopping(rule="thesis", signal="relative", smoothing=1, patience=1, min_epochs=0, **SMALL)
    trainer, net = fit(stopper, max_epochs=60)
    assert stopper.stopped_epoch == trainer.current_epoch < 60
    assert all(torch.equal(value, stopper.best_weights_[name]) for name, value in net.state_dict().items())
    values = stopper.history["relative_auc"].tolist()
    assert values[-1] <= values[-2] == max(values)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"rule": "thesys"}, ValueError, "Did you mean 'thesis'"),
        (
            {"signal": "absolute"},
            ValueError,
            "`signal` parameter of `NMFEarlyStopping` must be one of 'plain', 'relative'",
        ),
        ({"criterion": "maximum"}, ValueError, "`criterion` parameter of `NMFEarlyStopping`"),
        ({"smoothing": 0}, ValueError, "`smoothing`"),
        ({"patience": -1}, ValueError, "`patience`"),
        ({"min_epochs": 1.5}, TypeError, "`min_epochs`"),
        ({"per_class": 0}, ValueError, "`per_class` parameter of `NMFEarlyStopping`"),
        ({"every_n_epochs": 0}, ValueError, "`every_n_epochs` parameter of `NMFEarlyStopping`"),
        ({"max_overhead": -1}, ValueError, "`max_overhead`"),
        ({"method": "svd"}, ValueError, "`method` parameter of `NMFEarlyStopping`"),
    ],
)
def test_bad_options_are_named(options, error, text):
    with pytest.raises(error, match=text):
        NMFEarlyStopping(**options)
