import importlib.util
from pathlib import Path

import pytest
import torch

from lightning_interp.datasets.detection_pool import GrowingDetection
from lightning_interp.modules.detector import Detector
from tests.data import voc
from tests.modules.test_detector import SMALL, trunk

EXAMPLE = Path(__file__).parents[2] / "examples" / "semi_supervised_detection.py"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The example on 8 labelled pictures, a pool of 10, and 4 for the test."""
    monkeypatch.chdir(tmp_path)
    voc.write(tmp_path, year=2007, lists={"train": 8, "test": 4})
    voc.write(tmp_path, year=2012, lists={"train": 10}, first=20)
    spec = importlib.util.spec_from_file_location("semi_supervised_detection", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def main(*, pseudo_confidence, **options):
        torch.manual_seed(0)
        thresholds = {"pseudo_confidence": pseudo_confidence, "box_score_thresh": 0.0}
        detector = Detector(trunk(), lr=0.01, **thresholds, **SMALL)
        return module.main(tmp_path, detector=detector, steps=22, labeled_epochs=2, **options)

    return main


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_best_of_the_pool_are_trained_on_under_predicted_boxes(run, monkeypatch, capsys):
    given = []
    original = GrowingDetection.set_pseudo_labels
    monkeypatch.setattr(
        GrowingDetection, "set_pseudo_labels", lambda self, *args: given.append(args) or original(self, *args)
    )
    selection = run(pseudo_confidence=0.0)
    assert "3 pictures with predicted boxes" in capsys.readouterr().out
    assert selection.history["n_chosen"].tolist() == [3]
    ((indices, targets),) = [args for args in given if len(args[0])]  # one update
    assert len(indices) == len(targets) == 3
    assert all(len(target["boxes"]) == len(target["labels"]) > 0 for target in targets)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_pictures_without_a_confident_prediction_stay_out(run, capsys):
    selection = run(pseudo_confidence=1.0)
    assert selection.history["n_chosen"].tolist() == [0]
    assert "0 pictures with predicted boxes" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_baseline(run, capsys):
    selection = run(pseudo_confidence=0.0, baseline=True)
    assert selection.history.empty
    assert "0 pictures with predicted boxes" in capsys.readouterr().out
