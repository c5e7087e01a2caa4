"""Every example runs, in small."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.models import squeezenet1_0

from lightning_interp.cli import main
from tests.data.image_folder import write

EXAMPLES = Path(__file__).parents[1] / "examples"
TINY = {"max_epochs": 2, "n_train": 96, "n_test": 24, "width": 6}
SMALL = {  # options, and what the output must tell
    "activation_maximization": ({**TINY, "n_units": 2, "steps": 3}, "with prior"),
    "adversarial": (
        {"max_epochs": 1, "n_train": 120, "n_images": 24, "width": 4, "steps": 20},
        "found_at_5_percent",
    ),
    "deconvnet": ({**TINY, "n_units": 2}, "aliasing"),
    "dissection": (
        {"max_epochs": 2, "every_n_epochs": 1, "n_train": 120, "n_concepts": 24, "width": 4},
        "total",
    ),
    "early_stopping": ({"max_epochs": 2, "n_train": 240, "width": 4}, "relative_auc"),
    "heatmaps": (
        {"max_epochs": 1, "n_train": 120, "n_images": 3, "width": 6, "weights": "nowhere.safetensors"},
        "after one mask was shown",
    ),
    "inverse_set": (
        {**TINY, "max_epochs": 4, "n_codes": 8, "n": 6, "rounds": 1, "levels": ((0.0, 0.8), (0.2, 1.0))},
        "to the nearest",
    ),
    "inversion": ({**TINY, "n_images": 2, "steps": 3}, "drop_least"),
    "retrieval": ({"max_epochs": 1, "n_train": 96, "n_images": 60, "n_queries": 6, "width": 6}, "same object"),
    "semi_supervised": ({"epochs": 2, "labeled": 48, "pool": 72, "n_test": 24, "width": 4}, "of them right"),
    "squeezenet": ({"weights": "nowhere.safetensors"}, "pass your own with --weights"),
    "style_transfer": ({"max_epochs": 1, "n_train": 96, "width": 4, "size": 32, "steps": 2}, "style loss"),
}
DRAWN = {  # figures it promises
    "activation_maximization": {"evolution", "first_layer", "channels", "factors", "classes"},
    "deconvnet": {"evolution", "filters", "block3", "block4"},
    "heatmaps": {"bird", "bird_sweep"},
    "inverse_set": {"unit", "class", "both", "nearest", "trace"},
    "inversion": {"searched", "decoded", "perturbed", "errors"},
    "retrieval": {"ranking", "factors", "directions"},
    "style_transfer": {"style_transfer"},
}
ELSEWHERE = {"semi_supervised_detection"}  # needs a dataset to be written first: tests/examples


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_no_example_is_left_out():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(SMALL) | ELSEWHERE


@pytest.mark.slow  # together they are
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", SMALL)
def test_examples_run(name, capsys):
    options, told = SMALL[name]
    load(name).main(**options)
    assert told in capsys.readouterr().out
    assert {path.stem for path in Path().glob(f"{name}_example/*.png")} >= DRAWN.get(name, set())


@pytest.fixture
def squeezenet(tmp_path):
    """Options of the example: weights and pictures of no meaning."""
    torch.manual_seed(0)
    weights = tmp_path / "weights.safetensors"
    save_file(squeezenet1_0().state_dict(), weights)
    write(tmp_path / "pictures", n=2, size=(70, 80))
    return {"weights": str(weights), "pictures": str(tmp_path / "pictures"), "size": 64, "steps": 2, "n_of_each": 1}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_squeezenet_on_pictures(squeezenet, capsys):
    drawn = load("squeezenet").main(**squeezenet)
    assert {path.stem for path in Path("squeezenet_example").glob("*.png")} == set(drawn)
    assert len(drawn) == 7
    assert "squeezenet_example/inversion.png" in capsys.readouterr().out


def test_squeezenet_says_which_pictures_it_misses(squeezenet, capsys):
    assert load("squeezenet").main(**{**squeezenet, "pictures": "nowhere"}) == []
    assert "'nowhere'" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_style_transfer_of_picture_files():
    for name, size in (("photo", (50, 40)), ("painting", (36, 60))):
        Image.new("RGB", size, "teal").save(f"{name}.png")
    table = load("style_transfer").main("photo.png", "painting.png", **SMALL["style_transfer"][0])
    assert (table >= 0).all(axis=None)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_semi_supervised_on_a_folder_of_pictures(tmp_path):
    write(tmp_path / "pictures", n=10)
    accuracy = load("semi_supervised").main(data="pictures", labeled=9, pool=21, epochs=2, width=4, size=20)
    assert len(accuracy) == 4
    assert all(0 <= value <= 1 for value in accuracy.values())
    assert {path.name for path in (tmp_path / "semi_supervised_logs").iterdir()} >= {"start", "by_softmax"}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_semi_supervised_config_on_a_folder_of_pictures(tmp_path, monkeypatch):
    write(tmp_path / "pictures", n=8, size=(32, 32))
    monkeypatch.setattr(sys, "argv", ["lightning-interp"])
    small = [
        *["--data.init_args.root=pictures", "--data.init_args.labeled_size=12", "--data.init_args.batch_size=6"],
        *["--model.init_args.net=SVHNCNN", "--model.init_args.net.width=4", "--trainer.max_epochs=2"],
        *["--trainer.logger=false", "--trainer.enable_checkpointing=false", "--trainer.accelerator=cpu"],
        *["--trainer.callbacks.init_args.start_epoch=1"],
    ]
    main(["fit", "--config", str(EXAMPLES / "semi_supervised.yaml"), *small])
    assert (tmp_path / "pseudo_labels.csv").read_text().startswith("index,label,score,epoch")
