"""Compression class by class: denoising, ablation, and AuC against test accuracy (thesis, figure 3.11).

    python -m benchmarks.memorization.per_class --preset cpu|gpu
    python -m benchmarks.memorization.per_class --preset paper --data imagenet --root <folder of ImageNet>

With --data imagenet: VGG-19 with torchvision's weights and 50 random classes, as in the thesis (there Pearson's r is
0.78). Else the networks of p = 0 of the other scripts. Test images are measured too: a network that classifies all
its training images correctly leaves nothing to denoise on them.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.data import Subset

from benchmarks.memorization._figures import accuracies, lines, ranked
from benchmarks.memorization._networks import Case, Setting, measure_images, sample, stack, trained
from benchmarks.memorization._study import DATA, Study, arguments, average, curve_row, publish, without_nan
from benchmarks.memorization.hyperparameters import interval, pearson
from lightning_interp.functional.compression import CompressionCurve
from lightning_interp.hooks import LayerSpec
from lightning_interp.plots.style import COLORS, axes_grid, finish

KINDS: dict[str, dict[str, Any]] = {
    "single-class NMF": {},
    "multi-class NMF": {"single_class": False},
    "random": {"method": "random_ablation"},
}
VGG19_LAYERS = ("features.31", "features.33", "features.35")  # the three deepest convolutions, after their ReLU


def networks(study: Study) -> Iterator[tuple[Case, LayerSpec, Tensor]]:
    """Networks with the layers to compress and the classes to look at."""
    for seed in study.size.seeds:
        if study.data == "imagenet":
            case = _imagenet(study, seed)
            order = torch.randperm(case.data.n_classes, generator=torch.Generator().manual_seed(seed))
            yield case, VGG19_LAYERS, order[:50].sort().values
        else:
            case = trained(study, seed=seed, network="mlp" if study.data == "fashion_mnist" else "cnn")
            yield case, "last_block", torch.arange(case.data.n_classes)


def _imagenet(study: Study, seed: int) -> Case:
    from torchvision.models import VGG19_Weights, vgg19

    from lightning_interp.datamodules import ImageNetDataModule

    data = ImageNetDataModule(study.root, seed=seed)
    data.setup()
    net = vgg19(weights=VGG19_Weights.IMAGENET1K_V1).to(study.device)
    return Case(Setting("vgg19", 0.0, seed, 64, None, None, None, 0, 0.0), net, data, {})


def rows(study: Study) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Curves, one row per network, part, kind and way; and classes, one row per network and class."""
    curves, classes = [], []
    for case, layers, chosen in networks(study):
        parts = {name: _images(study, case, name, chosen) for name in ("training", "test")}
        for part, (images, labels) in parts.items():
            for kind, options in KINDS.items():
                for residual, way in ((False, "kept"), (True, "ablated")):
                    curve = measure_images(study, case.net, images, labels, layers=layers, residual=residual, **options)
                    curves.append(curve_row(curve, images=part, way=way, kind=kind, seed=case.setting.seed))
                    if (part, way, kind) == ("training", "kept", "single-class NMF"):
                        classes += _class_rows(study, case, curve, chosen)
    return curves, classes


def _images(study: Study, case: Case, part: str, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Images of the chosen classes, ``per_class`` of each, in random order."""
    dataset: Any = case.data.train_dataset if part == "training" else case.data.test_dataset
    among = torch.isin(torch.as_tensor(dataset.targets), chosen).nonzero().flatten()
    subset: Any = Subset(dataset, among.tolist())
    subset.targets = torch.as_tensor(dataset.targets)[among]
    return stack(subset, study.device, sample(subset, study.size.per_class, seed=case.setting.seed))


def _class_rows(study: Study, case: Case, curve: CompressionCurve, chosen: Tensor) -> list[dict[str, Any]]:
    """The AuC of every class, and its accuracy on all its test images."""
    dataset = case.data.test_dataset
    right, total = torch.zeros(case.data.n_classes), torch.zeros(case.data.n_classes)
    rows = torch.isin(torch.as_tensor(dataset.targets), chosen).nonzero().flatten()
    with torch.no_grad():
        for part in rows.split(200):
            images, labels = stack(dataset, study.device, part)
            hits = labels[case.net.eval()(images).argmax(1) == labels]
            right += torch.bincount(hits, minlength=len(right)).cpu()
            total += torch.bincount(labels, minlength=len(right)).cpu()
    full = curve.counts.correct[-1] / curve.counts.total
    return [
        {
            "class": str(case.data.classes[c]),
            "seed": case.setting.seed,
            "NMF AuC": float(curve.class_auc[c]),
            "training accuracy": float(full[c]),
            "test accuracy": float(right[c] / total[c]),
        }
        for c in chosen.tolist()
    ]


def correlations(classes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Pearson's correlation over classes for each network, and over classes with the mean of all networks."""
    table = []
    groups = {str(seed): [row for row in classes if row["seed"] == seed] for seed in {row["seed"] for row in classes}}
    means = average(classes, ["class"])
    for name, group in {**groups, "mean over networks": means}.items():
        auc, test = (np.array([row[key] for row in group]) for key in ("NMF AuC", "test accuracy"))
        low, high = interval(auc, test)
        r = {"Pearson r": float(pearson(auc, test)), "95 % from": low, "95 % to": high}
        table.append({"seed": name, "classes": len(group), **r})
    return without_nan(table)


def draw(curves: list[dict[str, Any]], classes: list[dict[str, Any]], table: list[dict[str, Any]]) -> Figure:
    """Directions kept, on training and test images; ablated; and class by class."""
    figure, axes = axes_grid(2, 2)
    panels = [
        ("training", "kept", "center left"),
        ("test", "kept", "upper right"),
        ("training", "ablated", "lower left"),
    ]
    for axis, (part, way, corner) in zip(axes, panels, strict=False):
        own = [row for row in curves if (row["images"], row["way"]) == (part, way)]
        lines(axis, ranked(own, "kind"), "kind", shaded=False)
        x = "rank K" if way == "kept" else "number of ablated directions"
        accuracies(axis, f"directions {way}, {part} images", x=x)
        full = sum(row["full-rank accuracy"] for row in own) / len(own)
        axis.axhline(full, color="black", linestyle="--", linewidth=1, label="full rank")
        axis.legend(fontsize=8, loc=corner)
    _scatter(axes[3], classes, table)
    return figure


def _scatter(axis: Axes, classes: list[dict[str, Any]], table: list[dict[str, Any]]) -> None:
    for i, line in enumerate(table[:-1]):
        own = [row for row in classes if str(row["seed"]) == line["seed"]]
        x, y = ([row[key] for row in own] for key in ("test accuracy", "NMF AuC"))
        label = f"seed {line['seed']}: r = {line.get('Pearson r', float('nan')):.2f}"
        axis.scatter(x, y, color=COLORS[i % len(COLORS)], marker="osD^v"[i % 5], label=label)
    axis.legend(fontsize=8)
    finish(axis, title="class by class", x="test accuracy of the class", y="NMF AuC of the class")


def main(argv: Sequence[str] | None = None) -> None:
    study = arguments(__doc__, argv, data=(*DATA, "imagenet"))
    curves, classes = rows(study)
    table = correlations(classes)
    notes = f"p = 0. Layers: last block (VGG-19: its three deepest convolutions). {study.size.text}"
    means = average(curves, ["images", "way", "kind"])
    publish(study, "per_class_curves", means, notes=notes)
    publish(study, "per_class_classes", classes, notes=notes)
    publish(study, "per_class", table, draw(curves, classes, table), notes=notes)


if __name__ == "__main__":
    main()
