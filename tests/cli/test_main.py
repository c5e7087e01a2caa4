import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lightning_interp.cli import main
from tests.data.image_folder import write

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "tests/conf").glob("*.yaml"))
QUIET = [
    "--trainer.max_epochs=2",
    "--trainer.logger=false",
    "--trainer.enable_checkpointing=false",
    "--trainer.enable_progress_bar=false",
    "--trainer.accelerator=cpu",
]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lightning-interp"])


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_configs_run_and_say_which_layers_they_measure(config, caplog):
    caplog.set_level("INFO")
    main(["fit", "--config", str(config), *QUIET])
    assert " layers net." in caplog.text


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`:UserWarning")
@pytest.mark.filterwarnings("ignore:No seed found:UserWarning")  # said by whichever fit comes first
def test_classes_are_known_by_name_and_fit_writes_its_config(tmp_path):
    main(
        [
            *["fit", "--model=Classifier", "--model.net=SVHNCNN", "--model.net.width=4", "--model.net.n_classes=12"],
            *["--data=ToyScenesDataModule", "--data.n_train=60", "--data.n_test=24", "--data.label_noise=0.4"],
            *["--trainer.callbacks=CompressionMonitor", "--trainer.callbacks.per_class=4"],
            *["--trainer.callbacks.batches_per_class=1", "--trainer.callbacks.layers=net.features.1[35]"],
            *["--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"],
        ]
    )
    (written,) = tmp_path.rglob("config.yaml")
    assert yaml.safe_load(written.read_text())["data"]["init_args"]["label_noise"] == 0.4
    (checkpoint,) = tmp_path.rglob("*.ckpt")
    main(["test", "--config", str(written), "--ckpt_path", str(checkpoint), *QUIET])


def test_the_cifar10_example_runs_on_a_folder_of_pictures(tmp_path):
    write(tmp_path / "pictures", n=8, size=(32, 32))
    small = [
        "--data.init_args.root=pictures",
        "--data.init_args.train_size=null",
        "--model.init_args.net.init_args.width=4",
    ]
    config = str(ROOT / "examples/cifar10_early_stopping.yaml")
    with pytest.warns(UserWarning, match="classes have fewer than 150 training images"):
        main(["fit", "--config", config, *small, *QUIET])


def test_help_names_the_further_verbs():
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "lightning_interp.cli", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "demo" in run.stdout
    assert "fit" in run.stdout


def test_an_unknown_class_is_a_clear_error(capsys):
    with pytest.raises(SystemExit):
        main(["fit", "--model=Classifier", "--model.net=NoSuchNet", "--data=ToyScenesDataModule"])
    assert "NoSuchNet" in capsys.readouterr().err


def test_what_a_user_can_mend_comes_as_one_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(SystemExit, match=r"^lightning-interp heatmaps: The `ckpt` parameter of `load_network`"):
        main(["heatmaps", "--images", "empty"])
    with pytest.raises(SystemExit, match="There is no picture"):
        main(["index", "empty"])
    with pytest.raises(SystemExit, match="There is no index"):
        main(["search", "broken.jpg"])
