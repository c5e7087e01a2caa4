"""Which images excite a neuron to a level? All kinds of them, for a unit and a class of a network for toy scenes.

python examples/inverse_set.py

The unit is the one of the last block that goes along with the class most. What to look for: at the lowest level things
stand on wheels and hulls, at the highest there are caps on stems; round tops excite the unit, with a stem or without.

Writes to ``inverse_set_example``:
``unit.png`` and ``class.png`` (four levels each), ``both.png`` (both at once; and the unit without the class),
``nearest.png`` (no copies of training images), ``trace.png``, ``class.gif`` (all samples) and ``table.csv``.
"""

import argparse
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import pandas as pd
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_interp.datamodules import ToyScenesDataModule
from lightning_interp.functional import pca
from lightning_interp.functional.inverse_set import (
    InverseSet,
    activation_quantiles,
    nearest_images,
    sample_inverse_set,
)
from lightning_interp.functional.synthesis import Objective, PixelSpace, logit, unit
from lightning_interp.hooks import collect, forward_to
from lightning_interp.modules import Classifier, Inverter
from lightning_interp.plots.inverse_set import (
    plot_inverse_nearest,
    plot_inverse_set,
    plot_inverse_trace,
    save_inverse_animation,
)

Wanted: TypeAlias = tuple[list[Objective], list[tuple[float, float]]]
LEVELS = ((0.02, 0.2), (0.4, 0.6), (0.8, 0.9), (0.92, 0.97))  # quantiles over the training images; a class has 1 in 12


def network(n_classes: int, width: int) -> nn.Sequential:
    """Three convolutions and two linear layers."""
    blocks: OrderedDict[str, nn.Module] = OrderedDict()
    for i, (before, after) in enumerate([(3, width), (width, 2 * width), (2 * width, 2 * width)], 1):
        conv = nn.Conv2d(before, after, 3, padding=1)
        blocks[f"block{i}"] = nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2))
    blocks["scores"] = nn.Sequential(
        nn.Flatten(), nn.Linear(32 * width, 3 * width), nn.ReLU(), nn.Linear(3 * width, n_classes)
    )
    return nn.Sequential(blocks)


class OnSphere(nn.Module):
    """Codes of one length: however far the walk goes, images stay as lively as real ones are."""

    def forward(self, codes: Tensor) -> Tensor:
        """Codes ``(N, D)`` of length ``sqrt(D)``."""
        return nn.functional.normalize(codes) * codes.shape[1] ** 0.5


def train(module: pl.LightningModule, data: ToyScenesDataModule, epochs: int) -> None:
    """Train and test, and bring back to the CPU."""
    trainer = pl.Trainer(max_epochs=epochs, logger=False, enable_checkpointing=False, enable_model_summary=False)
    trainer.fit(module, datamodule=data)
    trainer.test(module, datamodule=data)
    module.cpu()


def train_generator(data: ToyScenesDataModule, images: Tensor, n_codes: int, epochs: int) -> nn.Sequential:
    """A decoder of principal components, which are nearly normal: random codes are images, too."""
    found = pca(images.flatten(1), n_codes)
    components = nn.Linear(found.v.shape[1], n_codes)
    components.weight.data = found.v / found.u.std(0)[:, None]
    components.bias.data = -components.weight.data @ found.offset
    inverter = Inverter(nn.Sequential(nn.Flatten(), components, OnSphere()), "2", width=8)
    train(inverter, data, epochs)
    assert inverter.decoder is not None
    return nn.Sequential(OnSphere(), inverter.decoder)


def find_unit(net: nn.Module, loader: DataLoader, layer: str, class_index: int) -> Objective:
    """The unit whose strongest response goes along with the score of a class most."""
    seen = collect(net, loader, [layer, "scores"])
    units, score = seen[layer].amax((2, 3)), seen["scores"][:, class_index]
    together = torch.corrcoef(torch.cat([score[None], units.T]))[0, 1:]
    return unit(layer, int(together.nan_to_num(-1).argmax()), position="max")


def levels_to_sample(
    net: nn.Module, part: Objective, score: Objective, loader: DataLoader, levels: Sequence[tuple[float, float]]
) -> dict[str, Wanted]:
    """Neurons and their intervals: each at all levels, both at the highest, and the one without the other."""
    ends = activation_quantiles(net, [part, score], loader, [end for level in levels for end in level])
    of_part, of_score = ([tuple(pair) for pair in row.view(-1, 2).tolist()] for row in ends)
    wanted = {f"{part.name}, level {i}": ([part], [level]) for i, level in enumerate(of_part, 1)}
    wanted |= {f"{score.name}, level {i}": ([score], [level]) for i, level in enumerate(of_score, 1)}
    wanted[f"{part.name} and {score.name}"] = ([part, score], [of_part[-1], of_score[-1]])
    wanted[f"{part.name} without {score.name}"] = ([part, score], [of_part[-1], of_score[0]])
    return wanted


def measure(net: nn.Module, neurons: Sequence[Objective], found: InverseSet, distances: Tensor) -> dict[str, object]:
    """One row of the table; activations are measured anew, in one batch."""
    with forward_to(net, sorted({layer for neuron in neurons for layer in neuron.layers})) as run, torch.no_grad():
        seen = run(found.images)
    said = torch.stack([neuron(seen) for neuron in neurons], 1)
    inside = ((said >= found.intervals[:, 0]) & (said <= found.intervals[:, 1])).all(1)
    return {
        "interval": " and ".join(f"{low:.2f} to {high:.2f}" for low, high in found.intervals.tolist()),
        "n": len(found),
        "in_range": float(inside.float().mean()),
        "steps_seeds": found.n_steps[0],
        "steps_walk": found.n_steps[1],
        "diversity": found.diversity,
        "to_nearest": float(distances.median()),
    }


def main(
    max_epochs: int = 8,
    n_train: int = 2400,
    n_test: int = 240,
    width: int = 16,
    n_codes: int = 48,
    n: int = 500,
    rounds: int = 3,
    class_name: str = "mushroom",
    levels: Sequence[tuple[float, float]] = LEVELS,
    folder: str = "inverse_set_example",
) -> pd.DataFrame:
    """Train a network and a generator, sample inverse sets; returns what was measured, a row per set."""
    pl.seed_everything(0)
    data = ToyScenesDataModule(n_train=n_train, n_test=n_test, batch_size=50)
    module = Classifier(network(data.n_classes, width), "adamw", lr=3e-3, weight_decay=0.1, schedule="cosine")
    train(module, data, max_epochs)
    images = torch.stack([image for image, _ in data.train_dataset])
    net, generator = module.net, train_generator(data, images, n_codes, max_epochs)

    loader = DataLoader(data.train_dataset, batch_size=200)
    score = logit(data.classes.index(class_name), name=class_name)
    part = find_unit(net, loader, "block3", data.classes.index(class_name))
    wanted = levels_to_sample(net, part, score, loader, levels)
    options = {"generator": generator, "code_shape": n_codes, "encoder": "block2", "n": n, "rounds": rounds}
    options |= {"mean": data.mean, "std": data.std}  # the network takes normalised images
    sets = {
        name: sample_inverse_set(net, neurons, interval=intervals, **options)
        for name, (neurons, intervals) in wanted.items()
    }

    pixels = PixelSpace(tuple(data.mean), tuple(data.std)).to_pixels
    real, held_out = pixels(images), pixels(torch.stack([image for image, _ in data.test_dataset]))
    near = {name: nearest_images(found.pixels.flatten(1), [real.flatten(1)]) for name, found in sets.items()}
    typical = float(nearest_images(held_out.flatten(1), [real.flatten(1)])[1].median())
    rows = {name: measure(net, wanted[name][0], found, near[name][1]) for name, found in sets.items()}
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("set")

    k, names = len(levels), list(sets)
    of_unit, of_class, together = names[:k], names[k : 2 * k], [names[k - 1], *names[2 * k - 1 :]]
    places, distances = near[of_class[-1]]
    figures = {
        "unit": plot_inverse_set([sets[name] for name in of_unit]),
        "class": plot_inverse_set([sets[name] for name in of_class]),
        "both": plot_inverse_set([sets[name] for name in together], titles=together),
        "nearest": plot_inverse_nearest(sets[of_class[-1]], real[places], distances, typical=typical),
        "trace": plot_inverse_trace(sets[together[-2]]),
    }
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        figure.savefig(Path(folder) / f"{name}.png")
    save_inverse_animation([sets[name] for name in of_class], Path(folder) / "class.gif")
    table.to_csv(Path(folder) / "table.csv")
    print(table.round(2).to_string())
    print(f"Real images that are held out: {typical:.2f} to the nearest.")
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max_epochs", type=int, default=8)
    parser.add_argument("--n", type=int, default=500, help="samples of each set")
    parser.add_argument("--class_name", default="mushroom", choices=ToyScenesDataModule.classes)
    parser.add_argument("--folder", default="inverse_set_example", help="where figures and table go")
    main(**vars(parser.parse_args()))
