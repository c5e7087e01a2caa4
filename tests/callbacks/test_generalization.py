"""GeneralizationMonitor logs what the functions measure, and says where the published rules would have stopped."""

import math
from itertools import pairwise

import pytest
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from lightning_interp.callbacks import CompressionMonitor, GeneralizationMonitor
from lightning_interp.callbacks.sampling import draw_sample
from lightning_interp.functional.generalization import SIGNALS, Snapshot, measure_signals
from tests.callbacks.conftest import SMALL, Net, quiet_trainer, toy_dataset, toy_loader

FEW = {"per_class": 5, "batches_per_class": 2}


def fit(monitor, **options):
    torch.manual_seed(0)
    net = Net()
    trainer = quiet_trainer(**{"callbacks": [monitor], "max_epochs": 4, **options})
    trainer.fit(net, toy_loader())
    return trainer, net


def test_the_last_check_is_what_the_functions_say_of_the_trained_network():
    monitor = GeneralizationMonitor(["train_loss", "gwa", "weight_norm", "nmf_auc"], **FEW)
    trainer, net = fit(monitor)
    sample = draw_sample(toy_dataset(), images_per_class=10, n_classes=10, seed=0)
    expected, _ = measure_signals(Snapshot(net, sample.images, sample.labels, per_class=5), monitor.signals)
    for name in monitor.signals:
        assert monitor.history[name].iloc[-1] == pytest.approx(expected[name], rel=1e-5)
        assert float(trainer.callback_metrics[f"generalization/{name}"]) == pytest.approx(expected[name], rel=1e-5)


def test_label_wave_compares_with_the_check_before():
    predictions = []

    class Watching(GeneralizationMonitor):
        def _measure(self, trainer, module, epoch):
            images, _ = self._placed(self._drawn(), trainer, module)
            predictions.append(Snapshot(module, images, torch.zeros(len(images), dtype=torch.long)).predictions)
            super()._measure(trainer, module, epoch)

    monitor = Watching(["label_wave"], **FEW)
    fit(monitor)
    changes = [float((a != b).double().mean()) for a, b in pairwise(predictions)]
    assert monitor.history["label_wave"].tolist() == [1.0, *changes]
    assert any(changes)


def test_all_signals_with_a_hold_out_set_are_logged_and_drawn(tensorboard):
    monitor = GeneralizationMonitor("all", per_class=10, batches_per_class=2, held_out=toy_dataset())
    fit(monitor, logger=tensorboard, max_epochs=3)
    assert monitor.signals == tuple(SIGNALS)
    assert len(monitor.history) == 3
    events = EventAccumulator(tensorboard.log_dir, size_guidance={"images": 0}).Reload()
    logged = {f"generalization/{name}" for name in SIGNALS if monitor.history[name].map(math.isfinite).all()}
    assert logged <= set(events.Tags()["scalars"])
    assert len(logged) > 25
    assert "generalization/history" in events.Tags()["images"]
    assert set(monitor.stops["signal"]) == set(SIGNALS)
    assert monitor.stops["seconds"].gt(0).all()


def test_the_hold_out_signals_look_at_the_held_out_images():
    held_out = toy_dataset(30)
    held_out.tensors[1].add_(1).remainder_(3)  # every label is wrong
    monitor = GeneralizationMonitor(["train_accuracy", "held_out_accuracy"], held_out=held_out, **FEW)
    fit(monitor, max_epochs=8)
    assert monitor.history["train_accuracy"].iloc[-1] == 1.0
    assert monitor.history["held_out_accuracy"].iloc[-1] < 0.1


def test_stops_replays_the_published_rules():
    monitor = GeneralizationMonitor(["weight_norm", "gwa_mean"], **FEW)
    fit(monitor, max_epochs=3)
    found = SIGNALS["gwa_mean"].rule.replay(monitor.history["gwa_mean"].tolist())
    row = monitor.stops.set_index("signal").loc["gwa_mean"]
    assert (row["stops"], row["returns_epoch"]) == (found.triggered, found.best + 1)
    assert GeneralizationMonitor().stops.empty


def test_stock_callbacks_can_use_it(tmp_path):
    stopper = EarlyStopping("generalization/weight_norm", mode="min", patience=2)
    saver = ModelCheckpoint(tmp_path, monitor="generalization/weight_norm", mode="min")
    trainer, _ = fit(
        GeneralizationMonitor(["weight_norm"], **FEW),
        callbacks=[stopper, GeneralizationMonitor(["weight_norm"], **FEW), saver],
        max_epochs=20,
        enable_checkpointing=True,
    )
    assert trainer.current_epoch < 20  # the norm only grows here
    assert saver.best_model_score is not None


def test_beside_the_compression_monitor():
    monitors = [GeneralizationMonitor(["relative_nmf_auc"], layers="features.5", **FEW), CompressionMonitor(**SMALL)]
    trainer, _ = fit(monitors[0], callbacks=monitors)
    assert {"generalization/relative_nmf_auc", "compression/relative_auc"} <= set(trainer.callback_metrics)


def test_resume_remembers_predictions(tmp_path):
    saver = ModelCheckpoint(tmp_path, save_last=True)
    monitor = GeneralizationMonitor(["label_wave"], **FEW)
    fit(monitor, callbacks=[monitor, saver], max_epochs=2, enable_checkpointing=True)
    again = GeneralizationMonitor(["label_wave"], **FEW)
    trainer = quiet_trainer(callbacks=[again, saver], max_epochs=3, enable_checkpointing=True)
    trainer.fit(Net(), toy_loader(), ckpt_path=tmp_path / "last.ckpt")
    assert again.history["label_wave"].tolist()[:2] == monitor.history["label_wave"].tolist()
    assert again.history["label_wave"].iloc[2] < 1.0  # a fresh one would say that everything is new


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"signals": ["gwaa"]}, "The `signals` parameter of `GeneralizationMonitor` must be .* Did you mean 'gwa'"),
        ({"signals": ["held_out_loss"]}, "The `held_out` parameter of `GeneralizationMonitor` must be a dataset"),
        ({"per_class": 0}, "The `per_class` parameter of `GeneralizationMonitor` must be an int"),
    ],
)
def test_bad_options(options, match):
    with pytest.raises(ValueError, match=match):
        GeneralizationMonitor(**options)


def test_a_network_without_a_linear_head_is_refused_before_training():
    class Convolutional(Net):
        def __init__(self):
            super().__init__()
            self.head = nn.Conv2d(8, 3, 1)

        def forward(self, x):
            return self.head(self.features(x)).mean((2, 3))

    trainer = quiet_trainer(callbacks=[GeneralizationMonitor(["gwa"], **FEW)])
    with pytest.raises(ValueError, match="must end in a Linear layer"):
        trainer.fit(Convolutional(), toy_loader())
    assert trainer.global_step == 0
    monitor = GeneralizationMonitor(["label_wave", "weight_norm"], **FEW)  # these need no head
    quiet_trainer(callbacks=[monitor]).fit(Convolutional(), toy_loader())
    assert len(monitor.history) == 2
