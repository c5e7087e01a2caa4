"""Measure every signal on the weights of every epoch of a trained run."""

import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks._trajectories import Pictures, Setting, trajectory
from lightning_interp.functional import compression_curve
from lightning_interp.functional.generalization import SIGNALS, Snapshot, measure_signals
from lightning_interp.hooks import select_layers

PER_CLASS, BATCHES = 50, 2  # the same images of each given class for all signals
NAMES = tuple(name for name in SIGNALS if not name.startswith("held_out"))


def measure(setting: Setting, root: Path, folder: Path) -> Path:
    """Write ``signals.jsonl`` beside the weights, one line per epoch, unless it is there; returns its path."""
    path = folder / setting.name / "signals.jsonl"
    if path.exists():
        return path
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images, given, true = sample(setting.data(root))
    images, given = images.to(device), given.to(device)
    memory: dict[str, Tensor] = {}
    rows = []
    for scores, net in trajectory(setting, folder):
        net = net.to(device).eval()
        snapshot = Snapshot(net, images, given, memory=memory, per_class=PER_CLASS)
        values, seconds = measure_signals(snapshot, NAMES)
        right = (snapshot.predictions == given).cpu()
        values |= {
            "clean_accuracy": mean(right[given.cpu() == true]),
            "flipped_accuracy": mean(right[given.cpu() != true]),
        }
        last, seconds["last_layer"] = last_layer(net, images, given)
        row: dict[str, Any] = {**scores, **values, **last}
        row |= {f"{m}_accuracies": snapshot.compression(m).accuracy.tolist() for m in ("nmf", "pca", "random_ablation")}
        row |= {"zero_accuracy": snapshot.compression("nmf").zero_accuracy}
        rows.append(row | {f"{name}_seconds": value for name, value in seconds.items()})
        print(setting.name, row["epoch"], f"{sum(seconds.values()):.1f} s", flush=True)
    partial = path.with_suffix(".part")
    partial.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return partial.rename(path)


def sample(data: Pictures) -> tuple[Tensor, Tensor, Tensor]:
    """Training images, as many of each given class; their given labels and the true ones."""
    dataset = data.train_dataset
    order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))
    given, true = dataset.targets[order], dataset.true_targets[order]
    rows = torch.cat([(given == c).nonzero().flatten()[: PER_CLASS * BATCHES] for c in range(data.n_classes)])
    images = torch.stack([dataset[i][0] for i in order[rows].tolist()])
    return images, given[rows], true[rows]


def last_layer(net: nn.Module, images: Tensor, labels: Tensor) -> tuple[dict[str, float], float]:
    """AuC and relative AuC of the last layer of the block compressed alone, and the seconds it took."""
    began = time.perf_counter()
    layer = select_layers(net, "last_block", example_input=images[:2])[-1]
    curve = compression_curve(net, images, labels, layers=layer, batch_size=PER_CLASS)
    values = {"last_layer_auc": curve.auc, "relative_last_layer_auc": curve.relative_auc}
    return values, time.perf_counter() - began


def mean(right: Tensor) -> float:
    """Share of true values; NaN of none."""
    return float(right.double().mean())
