from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from pytorch_lightning.loggers import CSVLogger

from lightning_interp.callbacks.snapshots import SnapshotMonitor
from tests.callbacks.conftest import Net, quiet_trainer, toy_loader

RED = torch.zeros(3, 4, 6)
RED[0, :2] = 1.0  # the upper half


class Reds(SnapshotMonitor):
    def _measure(self, trainer, pl_module, epoch):
        self._snapshot(
            trainer, pl_module, epoch, values={"n": 1.0}, pictures={"conv:1/x": RED}, figures={"own": Figure}
        )


@pytest.fixture
def csv(tmp_path):
    return CSVLogger(tmp_path, name="run")


def test_pictures_become_files_in_their_colours_and_upright(csv):
    monitor = Reds(name="reds", every_n_epochs=2)
    quiet_trainer(callbacks=[monitor], logger=csv, max_epochs=4).fit(Net(), toy_loader())
    files = sorted(path.relative_to(csv.log_dir).as_posix() for path in Path(csv.log_dir).rglob("*.png"))
    assert [name for name in files if "epoch" in name] == ["reds/epoch_002/conv_1_x.png", "reds/epoch_004/conv_1_x.png"]
    assert any(name.startswith("reds/own_") for name in files)
    assert any(name.startswith("reds/evolution_") for name in files)
    with Image.open(f"{csv.log_dir}/reds/epoch_002/conv_1_x.png") as picture:
        assert picture.size == (6, 4)
        assert (picture.getpixel((5, 0)), picture.getpixel((0, 3))) == ((255, 0, 0), (0, 0, 0))
    assert monitor.evolution.epochs == [2.0, 4.0]
    assert monitor.history["n"].tolist() == [1.0, 1.0]


def test_without_figures_only_numbers_are_kept(csv, tmp_path):
    monitor = Reds(name="reds", log_figures=False)
    quiet_trainer(callbacks=[monitor], logger=csv).fit(Net(), toy_loader())
    assert not list(tmp_path.rglob("*.png"))
    assert monitor.evolution.epochs == [1.0, 2.0]


def test_a_second_run_starts_anew():
    monitor = Reds(name="reds")
    for _ in range(2):
        quiet_trainer(callbacks=[monitor]).fit(Net(), toy_loader())
    assert monitor.evolution.epochs == [1.0, 2.0]


def test_the_images_are_of_different_classes():
    monitor = Reds(name="reds", n_images=3)
    quiet_trainer(callbacks=[monitor], max_epochs=1).fit(Net(), toy_loader())
    assert monitor._drawn().labels.tolist() == [0, 1, 2]
