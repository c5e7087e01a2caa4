import pickle
from contextlib import nullcontext
from pathlib import Path
from typing import ClassVar

import pandas as pd
import pytest
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_interp.callbacks.dissection import NetworkDissectionMonitor
from lightning_interp.datasets import ToyConcepts, ToyScenes
from lightning_interp.exceptions import MeasurementWarning
from lightning_interp.functional.dissection import network_dissection
from tests.callbacks.conftest import Net, quiet_trainer, toy_loader
from tests.callbacks.processes import one_and_two

CONCEPTS = ToyConcepts(ToyScenes(10, size=16))
CATEGORIES = ["color", "object", "part", "texture", "scene"]


def monitor(**options):
    return NetworkDissectionMonitor(CONCEPTS, **{"every_n_epochs": 1, "batch_size": 4, "n_pictures": 2, **options})


def fit(callbacks, net=None, **options):
    trainer = quiet_trainer(callbacks=callbacks, **options)
    trainer.fit(net or Net(), toy_loader())
    return trainer


def test_logs_what_the_function_finds(tensorboard):
    own, net = monitor(log_per_layer=True, layers=["features.2", "features.5"]), Net()
    trainer = fit([own], net, logger=tensorboard)
    found = network_dissection(net, CONCEPTS, ["features.2", "features.5"])
    logged = trainer.callback_metrics
    counts = found.detected_concepts()
    assert {name: int(logged[f"dissection/{name}"]) for name in CATEGORIES} == counts
    assert int(logged["dissection/total"]) == sum(counts.values()) > 0
    for layer, row in found.unique_detectors().iterrows():
        assert {name: int(logged[f"dissection/{layer}/{name}"]) for name in row.index} == row.to_dict()
    for name, layer in found.layers.items():
        mine = own.dissection_.layers[name]
        assert torch.equal(mine.iou, layer.iou)
        assert torch.equal(mine.levels, layer.levels)
        assert torch.equal(mine.top.indices, layer.top.indices)
    assert logged["dissection/seconds"] > 0
    assert logged["dissection/bytes"] == own._held_bytes() > 0
    assert own.history[["epoch", "step"]].to_numpy().tolist() == [[1, 6], [2, 12]]


def test_figures_and_tables_of_every_check(tensorboard):
    fit([monitor()], logger=tensorboard, max_epochs=2)
    events = EventAccumulator(tensorboard.log_dir, size_guidance={"images": 0}).Reload()
    assert [event.step for event in events.Scalars("dissection/total")] == [6, 12]
    for tag, steps in (("detectors", [6, 12]), ("units", [6, 12]), ("history", [12])):
        assert [event.step for event in events.Images(f"dissection/{tag}")] == steps
    tables = sorted((Path(tensorboard.log_dir) / "dissection").glob("*.csv"))
    assert [table.name for table in tables] == ["epoch_001.csv", "epoch_002.csv"]
    rows = pd.read_csv(tables[1])
    assert rows.columns.tolist() == ["layer", "unit", "concept", "category", "iou", "detector", "level"]
    assert len(rows) == 8  # units of the last block


def test_checks_after_steps_have_tables_named_after_steps(tmp_path):
    logger = CSVLogger(tmp_path)
    fit([monitor(every_n_train_steps=4, log_figures=False)], logger=logger, max_epochs=2)
    names = sorted(path.name for path in Path(logger.log_dir, "dissection").iterdir())
    assert names == ["epoch_002.csv", "step_00000004.csv", "step_00000008.csv"]


def test_no_logger_no_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = monitor()
    fit([own])
    assert len(own.history) == 2
    assert not list(tmp_path.iterdir())


def test_no_tables_or_pictures_when_not_wanted(tmp_path):
    logger = CSVLogger(tmp_path)
    fit([monitor(table=None, n_pictures=0)], logger=logger, max_epochs=1)
    assert not list(tmp_path.rglob("epoch_*"))
    assert not list(tmp_path.rglob("units_*"))
    assert list(tmp_path.rglob("detectors_*.png"))


def test_a_table_that_cannot_be_written_costs_a_warning(tmp_path):
    logger = CSVLogger(tmp_path)

    class Block(Callback):
        def on_train_start(self, trainer, pl_module):
            Path(trainer.log_dir).mkdir(parents=True, exist_ok=True)
            Path(trainer.log_dir, "dissection").write_text("in the way")

    with pytest.warns(MeasurementWarning, match=r"table .*epoch_001.csv was left out"):
        trainer = fit([Block(), monitor(log_figures=False)], logger=logger, max_epochs=1)
    assert trainer.current_epoch == 1


@pytest.mark.parametrize("tag", ["detectors", "units"])
def test_a_figure_that_fails_costs_a_warning(tensorboard, monkeypatch, tag):
    function = {"detectors": "plot_detectors", "units": "plot_unit_grid"}[tag]
    monkeypatch.setattr(f"lightning_interp.callbacks.dissection.{function}", lambda _: 1 / 0)
    with pytest.warns(MeasurementWarning, match=f"'dissection/{tag}' was left out: division by zero"):
        trainer = fit([monitor()], logger=tensorboard)
    assert trainer.current_epoch == 2


def test_weights_that_became_nan_cost_a_check_not_the_run():
    class Broken(Net):
        def on_train_epoch_start(self):
            if self.current_epoch == 1:
                self.features[4].weight.data.fill_(float("nan"))

    own = monitor()
    with pytest.warns(MeasurementWarning, match=r"could not measure at step 1[28].*Activations must be finite"):
        trainer = fit([own], Broken(), max_epochs=3)
    assert (trainer.current_epoch, own.history["epoch"].tolist()) == (3, [1])


@pytest.mark.parametrize("options", [{}, {"precision": "bf16-mixed"}])
def test_training_is_bit_identical_with_the_callback_on_or_off(options, tmp_path):
    results = []
    for callbacks in ([], [monitor(num_workers=0)]):
        torch.manual_seed(3)
        net = Net()
        fit(callbacks, net, max_epochs=3, logger=CSVLogger(tmp_path), **options)
        flags = [(m.training, len(m._forward_hooks)) for m in net.modules()]
        results.append((net.state_dict(), torch.get_rng_state(), flags))
    (before, rng, flags), (after, rng_too, flags_too) = results
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(rng, rng_too)
    assert flags == flags_too


@pytest.mark.parametrize("precision", ["bf16-true", "64-true"])
def test_other_precisions_with_pictures(precision, tensorboard):
    own = monitor()
    fit([own], precision=precision, logger=tensorboard)
    assert len(own.history) == 2
    assert "dissection/units" in EventAccumulator(tensorboard.log_dir).Reload().Tags()["images"]


def test_resume_keeps_the_history(tmp_path):
    saver = {"callbacks": [], "enable_checkpointing": True}

    def run(own, epochs, ckpt=None):
        torch.manual_seed(0)
        checkpoint = ModelCheckpoint(tmp_path, filename="last", enable_version_counter=False)
        trainer = quiet_trainer(**{**saver, "callbacks": [own, checkpoint]}, max_epochs=epochs)
        trainer.fit(Net(), toy_loader(shuffle=False), ckpt_path=ckpt)
        return own.history.drop(columns="seconds")

    first = run(monitor(), 2)
    resumed = run(monitor(), 4, ckpt=tmp_path / "last.ckpt")
    assert resumed["epoch"].tolist() == [1, 2, 3, 4]
    assert resumed[:2].equals(first)


def test_state_is_plain_and_the_callback_pickles(tmp_path):
    own = monitor()
    fit([own])
    torch.save(own.state_dict(), tmp_path / "state.pt")
    fresh = monitor()
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert fresh.history.equals(own.history)
    assert len(pickle.loads(pickle.dumps(own)).history) == 2


@pytest.mark.parametrize("options", [{"fast_dev_run": True}, {"barebones": True}])
def test_unusual_trainers_run_through(options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if "barebones" in options:
        names = ("enable_checkpointing", "logger", "enable_progress_bar", "enable_model_summary")
        options |= dict.fromkeys(names)
    own = monitor()
    with pytest.warns(UserWarning, match="barebones") if "barebones" in options else nullcontext():
        fit([own], **options)
    assert len(own.history) >= 1
    assert not list(tmp_path.rglob("epoch_*"))


def test_levels_hidden_by_floors_are_found_without_them(monkeypatch):
    asked, original = [], NetworkDissectionMonitor._statistics

    def statistics(self, trainer, module, *, floors):
        asked.append(floors)
        return original(self, trainer, module, floors=floors)

    monkeypatch.setattr(NetworkDissectionMonitor, "_statistics", statistics)

    class Unlike(list):  # one image in twenty excites units far more than all others
        concepts: ClassVar = CONCEPTS.concepts

    data = Unlike((image * (0.01 if i else 100), target) for i, (image, target) in enumerate([*CONCEPTS] * 2))
    own = NetworkDissectionMonitor(data, every_n_epochs=1, batch_size=1, quantile=0.02)
    net = Net()
    fit([own], net, max_epochs=1)
    assert asked == [True, False]
    levels = network_dissection(net, data, batch_size=1, quantile=0.02).layers["features.5"].levels
    assert torch.equal(own.dissection_.layers["features.5"].levels, levels)


class TestRefusedAtTheStart:
    def test_no_concepts(self):
        with pytest.raises(TypeError, match="needs a concept dataset"):
            fit([NetworkDissectionMonitor()])

    def test_targets_that_do_not_fit(self):
        class Wrong(list):
            concepts: ClassVar = {"color": ["unlabelled", "red"]}

        with pytest.raises(ValueError, match=r"numbers of concepts of 'color' below 2. Got 7"):
            fit([NetworkDissectionMonitor(Wrong([(torch.rand(3, 8, 8), {"color": 7})]))])

    def test_a_category_named_like_another_value(self):
        class Wrong(list):
            concepts: ClassVar = {"total": ["unlabelled", "red"]}

        with pytest.raises(ValueError, match=r"categories named otherwise than .*Got \['total'\]"):
            fit([NetworkDissectionMonitor(Wrong([(torch.rand(3, 8, 8), {})]))])

    def test_an_unknown_layer(self):
        with pytest.raises(ValueError, match=r"Got 'feature\.5'"):
            fit([monitor(layers="feature.5")])

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("quantile", 2.0),
            ("iou_threshold", -1.0),
            ("n_top", 0),
            ("batch_size", 0),
            ("n_pictures", -1),
            ("table", "xls"),
        ],
    )
    def test_options_out_of_range(self, name, value):
        with pytest.raises(ValueError, match=f"The `{name}` parameter of `NetworkDissectionMonitor` must be"):
            monitor(**{name: value})

    def test_parquet_without_pyarrow(self, monkeypatch):
        monkeypatch.setattr("lightning_interp.callbacks.dissection.find_spec", lambda name: None)
        with pytest.raises(ModuleNotFoundError, match="pip install pyarrow"):
            monitor(table="parquet")


DISTRIBUTED = """
import sys, torch
from pytorch_lightning.loggers import TensorBoardLogger
from lightning_interp.callbacks.dissection import NetworkDissectionMonitor
from lightning_interp.datasets import ToyConcepts, ToyScenes
from tests.callbacks.conftest import Net, quiet_trainer, toy_loader
from tests.callbacks.processes import report

class Frozen(Net):  # equal weights on any number of processes, so that only the measuring can differ
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)

    def on_train_epoch_start(self):
        self.features[1].eval()

if __name__ == "__main__":
    devices = int(sys.argv[1])
    own = NetworkDissectionMonitor(ToyConcepts(ToyScenes(11, size=16)), every_n_epochs=1, batch_size=3, n_pictures=2)
    options = {"devices": devices, "strategy": "ddp" if devices > 1 else "auto"}
    logger = TensorBoardLogger(sys.argv[2], name="run", version=devices)
    quiet_trainer(callbacks=[own], max_epochs=2, logger=logger, **options).fit(Frozen(), toy_loader())
    layer = own.dissection_.layers["features.5"]
    history = own.history.drop(columns=["seconds", "step"]).to_numpy().tolist()
    report(history, layer.iou.sum().item(), layer.levels.tolist(), layer.top.indices.tolist())
"""


@pytest.mark.slow
def test_two_processes_find_what_one_finds(tmp_path):
    (alone,), both = one_and_two(DISTRIBUTED, tmp_path, tmp_path)
    assert both == [alone, alone]
    one, two = (sorted((tmp_path / f"run/version_{n}/dissection").iterdir()) for n in (1, 2))
    assert [path.read_text() for path in one] == [path.read_text() for path in two]
    assert len(one) == 2
