"""One update of a detector with the most typical pictures of a pool, on generated VOC folders (image-score paper, 3.2).

    python -m benchmarks.detection_pseudo_labels --seeds 0 1 2

A small Faster R-CNN learns from toy scenes written as VOC2007, labels those written as VOC2012, and goes on for equally
many steps: on the labelled pictures alone, with the top 30 % of the pool by dataset-wide image score under predicted
boxes, with as many random pictures of it, and with the top 30 % under their true boxes.
"""

import argparse
import logging
import tempfile
import warnings
from collections.abc import Sequence
from copy import deepcopy
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks._results import write_results
from lightning_interp._lightning import Trainer, seed_everything
from lightning_interp.datamodules import VOCDetectionDataModule
from lightning_interp.functional import image_scores, select_top, voc_average_precision
from lightning_interp.functional.selection import batch_statistics
from lightning_interp.hooks import evaluating
from lightning_interp.modules import Detector
from tests.data import voc

SIZES = {"labeled": 60, "pool": 120, "test": 60}
STEPS, FURTHER = 600, 200
SHARE = 0.3
OPTIONS: dict[str, Any] = {
    **{"min_size": 64, "max_size": 128, "head_width": 128, "coco_map": False},
    **{"rpn_pre_nms_top_n_train": 200, "rpn_post_nms_top_n_train": 100},
    **{"rpn_batch_size_per_image": 64, "box_batch_size_per_image": 64},
}


class Trunk(nn.Sequential):
    """Six convolutions of stride 8 in all: enough for pictures of 64 pixels."""

    out_channels = 64

    def __init__(self) -> None:
        blocks = zip((3, 16, 16, 32, 32, 64), (16, 16, 32, 32, 64, 64), (2, 1, 2, 1, 2, 1), strict=True)
        super().__init__(*(nn.Sequential(nn.Conv2d(i, o, 3, s, 1), nn.BatchNorm2d(o), nn.ReLU()) for i, o, s in blocks))


def run(seed: int) -> dict[str, Any]:
    """The accuracies of one seed, as mean average precision by the rules of VOC 2010."""
    seed_everything(seed, verbose=False)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        voc.write(root, year=2007, lists={"train": SIZES["labeled"], "test": SIZES["test"]}, seed=seed)
        voc.write(root, year=2012, lists={"train": SIZES["pool"]}, seed=seed, first=sum(SIZES.values()))
        data = VOCDetectionDataModule(root, batch_size=4, mirror=True, seed=seed)
        data.setup()
        detector = Detector(Trunk(), lr=0.02, pseudo_confidence=0.5, **OPTIONS)
        row: dict[str, Any] = {"seed": seed, "supervised": train(detector, data, STEPS)}
        with evaluating(detector):
            outputs = [detector([image])[0] for image, _ in data.unlabeled_dataset]
        made = detector.pseudo_labels(outputs)
        true = [data.unlabeled_dataset.dataset[int(i)][1] for i in data.unlabeled_dataset.indices]
        best = top(detector, data)
        rest = [i for i in range(len(made)) if i not in best]
        for name, rows in (("top", best), ("rest", rest)):
            found = voc_average_precision([outputs[i] for i in rows], [true[i] for i in rows])
            row[f"pool, {name}"] = float(found.mean)
        drawn = torch.randperm(len(made), generator=torch.Generator().manual_seed(seed))[: len(best)].tolist()
        choices = {"further steps": ([], made), "image score": (best, made), "random": (drawn, made)}
        for name, (rows, targets) in {**choices, "true boxes": (best, true)}.items():
            kept = [i for i in rows if made[i] is not None]
            data.set_pseudo_labels(kept, [targets[i] for i in kept])
            row[name] = train(deepcopy(detector), data, FURTHER)
            row[f"{name}, pictures"] = len(kept)
        return row


def top(detector: Detector, data: VOCDetectionDataModule) -> list[int]:
    """The top of the pool by one mask of all labelled pictures."""
    options: dict[str, Any] = {"n_classes": 1, "layers": tuple(detector.backbone_layers()), "spatial": "mean"}
    one: Tensor = torch.zeros(1, dtype=torch.long)
    parts = (batch_statistics(detector, [image], one, **options) for image, _ in data.labeled_dataset)
    statistics = reduce(lambda a, b: a + b, parts)
    scores = image_scores(detector, (([image], i) for image, i in data.unlabeled_dataset), statistics).scores
    return select_top(scores, torch.zeros(len(scores), dtype=torch.long), SHARE).tolist()


def train(detector: Detector, data: VOCDetectionDataModule, steps: int) -> float:
    """Train for some steps; mean average precision on the test pictures."""
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    trainer = Trainer(max_steps=steps, max_epochs=-1, enable_model_summary=False, **quiet)  # type: ignore[arg-type]
    trainer.fit(detector.train(), datamodule=data)
    return float(trainer.test(detector, datamodule=data, verbose=False)[0]["test/voc_map"])


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    seeds = parser.parse_args(argv).seeds
    warnings.filterwarnings("ignore", category=UserWarning)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    rows = []
    for seed in seeds:
        rows.append(run(seed))
        print(rows[-1], flush=True)
    notes = (
        f"Toy scenes as VOC folders: {SIZES}. {STEPS} steps of 4 pictures, then {FURTHER} more. Mean average precision "
        "(area rule) on the test pictures; 'pool' columns: of the detector's boxes on the top 30 % and on the rest."
    )
    write_results("detection_pseudo_labels", rows, seeds=seeds, notes=notes)


if __name__ == "__main__":
    main()
