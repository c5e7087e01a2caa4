from types import SimpleNamespace

import pytest
import torch
from matplotlib.figure import Figure

from lightning_interp.callbacks.logs import log_figure, log_values, save_pictures, snapshot_name
from lightning_interp.exceptions import MeasurementWarning


def trainer(loggers=(), tmp_path=None, rank=0, barebones=False):
    return SimpleNamespace(
        loggers=list(loggers),
        barebones=barebones,
        is_global_zero=rank == 0,
        global_step=12,
        current_epoch=3,
        log_dir=tmp_path,
        default_root_dir=tmp_path,
    )


class Recorder:
    """A logger that takes pictures in the way named by ``kind``, and notes what it gets."""

    def __init__(self, kind):
        self.got = []
        takers = {"tensorboard": "add_figure", "mlflow": "log_figure"}
        self.experiment = SimpleNamespace(**({takers[kind]: self.note} if kind in takers else {}))
        if kind == "wandb":
            self.log_image = self.note

    def note(self, *args, **kwargs):
        self.got.append((args, kwargs))


@pytest.mark.parametrize("kind", ["tensorboard", "mlflow", "wandb"])
def test_every_kind_of_logger_gets_the_figure(kind, tmp_path):
    logger = Recorder(kind)
    log_figure(trainer([logger], tmp_path), "a/b", Figure)
    assert len(logger.got) == 1
    assert "a/b" in str(logger.got[0])
    assert not list(tmp_path.rglob("*.png"))


def test_without_a_taker_the_figure_becomes_a_file(tmp_path):
    log_figure(trainer([Recorder("csv")], tmp_path), "a/b", Figure)
    assert (tmp_path / "a" / "b_00000012.png").stat().st_size > 0


@pytest.mark.parametrize("options", [{"rank": 1}, {"barebones": True}, {"loggers": []}])
def test_nothing_is_drawn_where_nobody_looks(options, tmp_path):
    drawn = []
    log_figure(trainer(**{"loggers": [Recorder("csv")], "tmp_path": tmp_path, **options}), "a", lambda: drawn.append(1))
    assert drawn == []


def test_a_drawing_error_is_a_warning(tmp_path):
    with pytest.warns(MeasurementWarning, match="'a' was left out: division by zero"):
        log_figure(trainer([Recorder("csv")], tmp_path), "a", lambda: 1 / 0)


def test_values_reach_every_logger_and_the_trainer():
    got, logged = [], []
    logger = SimpleNamespace(log_metrics=lambda values, step: got.append((values, step)), save=lambda: None)
    module = SimpleNamespace(log_dict=lambda values, **options: logged.append((values, options)))
    log_values(trainer([logger, logger]), module, {"x": 1.0})
    assert got == [({"x": 1.0, "epoch": 3}, 12)] * 2
    assert logged[0][0] == {"x": 1.0}
    assert logged[0][1]["logger"] is False
    log_values(trainer([logger], barebones=True), module, {"x": 1.0})
    assert len(got) == 2


def test_pictures_are_written_once_by_rank_zero(tmp_path):
    def write(**options):
        running = trainer([Recorder("wandb")], tmp_path, **options)
        running.fast_dev_run = False
        save_pictures(running, "name/epoch_001", {"a/b:c d": torch.ones(3, 2, 2)})
        return [path.name for path in tmp_path.rglob("*.png")]

    assert write(rank=1) == []
    assert write(barebones=True) == []
    assert write() == ["a_b_c_d.png"]


def test_a_folder_that_cannot_be_written_costs_a_warning(tmp_path):
    (tmp_path / "name").write_text("a file in the way")
    running = trainer([Recorder("wandb")], tmp_path)
    running.fast_dev_run = False
    with pytest.warns(MeasurementWarning, match="were left out"):
        save_pictures(running, "name/epoch_001", {"a": torch.ones(3, 2, 2)})


def test_snapshots_are_named_by_epoch_or_step(tmp_path):
    assert snapshot_name(trainer(), 5.0) == "epoch_005"
    assert snapshot_name(trainer(), 5.5) == "step_00000012"
