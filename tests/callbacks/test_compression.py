import math
import re
from contextlib import nullcontext

import pytest
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_interp.callbacks import CompressionMonitor
from lightning_interp.callbacks.sampling import draw_sample
from lightning_interp.exceptions import MeasurementWarning, NegativeActivationsError
from lightning_interp.functional import compression_curve
from tests.callbacks.conftest import SMALL, Net, quiet_trainer, toy_dataset, toy_loader


def test_logs_what_the_function_measures(tensorboard):
    net, monitor = Net(), CompressionMonitor(log_per_class=True, log_per_layer=True, **SMALL)
    trainer = quiet_trainer(logger=tensorboard, callbacks=[monitor])
    trainer.fit(net, toy_loader())
    sample = draw_sample(toy_dataset(), images_per_class=10, n_classes=10, seed=0)
    curve = compression_curve(net, sample.images, sample.labels, ks=[1, 2, 4], batch_size=5)
    logged = trainer.callback_metrics
    assert logged["compression/nmf_auc"] == pytest.approx(curve.auc)
    assert logged["compression/relative_auc"] == pytest.approx(curve.relative_auc)
    assert logged["compression/full_accuracy"] == pytest.approx(curve.full_accuracy)
    assert [logged[f"compression/class_auc/{c}"] for c in range(3)] == pytest.approx(curve.class_auc.tolist()[:3])
    assert logged["compression/layer_auc/features.5"] == pytest.approx(curve.auc)
    assert logged["compression/seconds"] > 0
    assert logged["compression/bytes"] == sample.images.nbytes + sample.labels.nbytes
    assert monitor.history["epoch"].tolist() == [1, 2]


def test_tensorboard_gets_scalars_at_the_right_steps_and_the_figure(tensorboard):
    quiet_trainer(logger=tensorboard, callbacks=[CompressionMonitor(**SMALL)]).fit(Net(), toy_loader())
    events = EventAccumulator(tensorboard.log_dir).Reload()
    assert [event.step for event in events.Scalars("compression/nmf_auc")] == [6, 12]
    image = events.Images("compression/curve")
    assert [event.step for event in image] == [6, 12]
    assert image[0].width > 300


@pytest.mark.parametrize("monitor_first", [True, False])
def test_stock_callbacks_can_monitor_it_in_any_order(tmp_path, monitor_first):
    stock = [
        EarlyStopping(monitor="compression/nmf_auc", mode="max", patience=1, min_delta=10.0),
        ModelCheckpoint(tmp_path, monitor="compression/relative_auc", mode="max", filename="best"),
    ]
    own = [CompressionMonitor(**SMALL)]
    trainer = quiet_trainer(
        callbacks=own + stock if monitor_first else stock + own, max_epochs=9, enable_checkpointing=True
    )
    trainer.fit(Net(), toy_loader())
    assert trainer.current_epoch == 2  # nothing improves by ten, so patience ends at the second check
    assert (tmp_path / "best.ckpt").exists()


def test_steps_instead_of_epochs_under_gradient_accumulation():
    monitor = CompressionMonitor(every_n_train_steps=2, **SMALL)
    quiet_trainer(callbacks=[monitor], accumulate_grad_batches=2, max_epochs=2).fit(Net(), toy_loader())
    assert monitor.history["step"].tolist() == [2, 4, 6]
    assert monitor.history["epoch"].tolist() == pytest.approx([4 / 6, 1 + 2 / 6, 2])


def test_every_n_epochs():
    monitor = CompressionMonitor(every_n_epochs=2, **SMALL)
    quiet_trainer(callbacks=[monitor], max_epochs=5).fit(Net(), toy_loader())
    assert monitor.history["epoch"].tolist() == [2, 4]


def test_max_overhead_puts_checks_off():
    monitor = CompressionMonitor(max_overhead=1e-9, **SMALL)
    quiet_trainer(callbacks=[monitor], max_epochs=4).fit(Net(), toy_loader())
    assert monitor.history["epoch"].tolist() == [1]


@pytest.mark.parametrize("method", ["pca", "kmeans", "random_ablation"])
def test_other_methods_log_under_their_own_name(method):
    trainer = quiet_trainer(callbacks=[CompressionMonitor(method=method, **SMALL)], max_epochs=1)
    trainer.fit(Net(), toy_loader())
    assert 0 <= trainer.callback_metrics[f"compression/{method}_auc"] <= 1


def test_two_monitors_need_two_names():
    pair = [CompressionMonitor(**SMALL), CompressionMonitor(method="pca", **SMALL)]
    with pytest.raises(ValueError, match=r"The `name` parameter of .* must differ.*Got 'compression' twice"):
        quiet_trainer(callbacks=pair).fit(Net(), toy_loader())
    pair[1].name = "linear"
    trainer = quiet_trainer(callbacks=pair)
    trainer.fit(Net(), toy_loader())
    assert {"compression/nmf_auc", "linear/pca_auc"} <= set(trainer.callback_metrics)


@pytest.mark.parametrize("options", [{"fast_dev_run": True}, {"barebones": True}, {"num_sanity_val_steps": 2}])
def test_unusual_trainers_run_through(options):
    if "barebones" in options:
        options |= {"enable_checkpointing": None, "logger": None, "enable_progress_bar": None}
        options |= {"enable_model_summary": None}
    monitor = CompressionMonitor(**SMALL)
    with pytest.warns(UserWarning, match="barebones") if "barebones" in options else nullcontext():
        quiet_trainer(callbacks=[monitor], **options).fit(Net(), toy_loader())
    assert len(monitor.history) >= 1


def test_several_loggers_and_loggers_without_pictures(tmp_path, tensorboard):
    csv = CSVLogger(tmp_path / "csv")
    quiet_trainer(logger=[csv, tensorboard], callbacks=[CompressionMonitor(**SMALL)]).fit(Net(), toy_loader())
    assert "compression/nmf_auc" in (tmp_path / "csv/lightning_logs/version_0/metrics.csv").read_text()
    only_csv = CSVLogger(tmp_path / "alone")
    quiet_trainer(logger=only_csv, callbacks=[CompressionMonitor(**SMALL)]).fit(Net(), toy_loader())
    assert len(list((tmp_path / "alone").rglob("curve_*.png"))) == 2


def test_a_picture_that_fails_costs_a_warning(tensorboard, monkeypatch):
    monkeypatch.setattr("lightning_interp.callbacks.compression.plot_compression_curve", lambda curve: 1 / 0)
    trainer = quiet_trainer(logger=tensorboard, callbacks=[CompressionMonitor(**SMALL)])
    with pytest.warns(MeasurementWarning, match="'compression/curve' was left out: division by zero"):
        trainer.fit(Net(), toy_loader())
    assert trainer.current_epoch == 2


def test_weights_that_became_nan_cost_a_check_not_the_run():
    class Broken(Net):
        def on_train_epoch_start(self):
            if self.current_epoch == 1:
                self.features[4].weight.data.fill_(float("nan"))

    monitor = CompressionMonitor(**SMALL)
    trainer = quiet_trainer(callbacks=[monitor], max_epochs=3)
    with pytest.warns(MeasurementWarning, match="could not measure at step 1[28], training goes on"):
        trainer.fit(Broken(), toy_loader())
    assert (trainer.current_epoch, monitor.history["epoch"].tolist()) == (3, [1])


def test_a_single_class_warns():
    images = toy_dataset(30).tensors[0]
    with pytest.warns(MeasurementWarning, match="single class"):
        quiet_trainer(callbacks=[CompressionMonitor(**SMALL)]).fit(
            Net(), DataLoader(TensorDataset(images, torch.zeros(30, dtype=torch.long)), 10)
        )


def test_negative_activations_are_refused_at_the_start_by_layer_name():
    with pytest.raises(NegativeActivationsError, match=r"Layer 'features.0'.*negatives"):
        quiet_trainer(callbacks=[CompressionMonitor("features.0", **SMALL)]).fit(Net(), toy_loader())


def test_an_unknown_layer_is_refused_at_the_start():
    with pytest.raises(ValueError, match=r"Got 'feature\.5'. Did you mean 'features.5'"):
        quiet_trainer(callbacks=[CompressionMonitor("feature.5", **SMALL)]).fit(Net(), toy_loader())


def test_a_rank_beyond_the_width_is_refused_at_the_start():
    options = {**SMALL, "ks": [1, 99]}
    with pytest.raises(ValueError, match=r"must be an int in \[1, 8\]. Got 99"):
        quiet_trainer(callbacks=[CompressionMonitor(**options)]).fit(Net(), toy_loader())


def test_a_model_without_scores_is_refused_at_the_start():
    class NoScores(Net):
        def forward(self, x):
            return self.features(x)

        def training_step(self, batch, batch_idx):
            return self(batch[0]).square().mean()

    with pytest.raises(TypeError, match=re.escape("must return class scores (N, n_classes)")):
        quiet_trainer(callbacks=[CompressionMonitor("features.5", **SMALL)]).fit(NoScores(), toy_loader())


def test_labels_beyond_the_scores_are_refused():
    data = TensorDataset(torch.rand(50, 3, 8, 8), torch.arange(50) % 5)
    with pytest.raises(ValueError, match=r"must be below the 3 class scores of the model. Got 4"):
        quiet_trainer(callbacks=[CompressionMonitor(dataset=data, **SMALL)]).fit(Net(), toy_loader())


def test_a_mlp_and_per_layer_curves():
    class MLP(Net):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(nn.Flatten(), nn.Linear(192, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU())
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            return self.head(self.features(x))

    net, options = MLP(), {**SMALL, "ks": [1, 4, 10]}  # rank 10 fits the first layer only
    trainer = quiet_trainer(callbacks=[CompressionMonitor(log_per_layer=True, **options)])
    trainer.fit(net, toy_loader())
    sample = draw_sample(toy_dataset(), images_per_class=10, n_classes=10, seed=0)
    for layer, ks in (("features.2", [1, 4, 10]), ("features.4", [1, 4])):
        alone = compression_curve(net, sample.images, sample.labels, layers=layer, ks=ks, batch_size=5)
        assert trainer.callback_metrics[f"compression/layer_auc/{layer}"] == pytest.approx(alone.auc)


def test_an_explicit_dataset_takes_the_place_of_the_training_set():
    data = TensorDataset(torch.rand(8, 3, 8, 8), torch.arange(8) % 2)
    monitor = CompressionMonitor(dataset=data, per_class=4, batches_per_class=1, ks=[1])
    quiet_trainer(callbacks=[monitor]).fit(Net(), toy_loader())
    assert monitor.curve_.counts.total.tolist() == [4, 4, 0]
    assert math.isnan(monitor.curve_.class_auc[2])


def test_a_dictionary_of_loaders_is_searched_for_one():
    loaders = {"a": toy_loader(), "b": toy_loader()}

    class Two(Net):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch["a"], batch_idx)

    monitor = CompressionMonitor(**SMALL)
    quiet_trainer(callbacks=[monitor]).fit(Two(), loaders)
    assert len(monitor.history) == 2


def test_something_that_is_no_dataloader_needs_a_dataset():
    batches = [(torch.rand(4, 3, 8, 8), torch.arange(4) % 3)] * 3
    with pytest.raises(TypeError, match="Set `dataset=`"):
        quiet_trainer(callbacks=[CompressionMonitor(**SMALL)]).fit(Net(), batches)
    assert DataLoader(toy_dataset()).batch_size == 1
