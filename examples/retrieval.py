"""Find images: everything that shows the same kind of thing, and the very same thing, from a box in a query.

python examples/retrieval.py

A network is trained on toy scenes; then other scenes, of objects it has never seen, are described by their NMF factors
and by pooled activations, and ranked. Writes to ``retrieval_example``: ``ranking.png``, ``factors.png`` (where the
factors of query and results are), ``directions.png`` (what the factors look like, as images) and ``measures.csv``.
"""

import argparse
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lightning_interp.datamodules import ToyScenesDataModule
from lightning_interp.datasets import ToyScenes
from lightning_interp.functional import (
    average_precision,
    describe_images,
    expand_query,
    learn_whitening,
    localize,
    maximize_activation,
    nmf_heatmaps,
    search,
)
from lightning_interp.functional.synthesis import direction
from lightning_interp.modules import Classifier
from lightning_interp.plots import plot_maximization, plot_ranking, plot_ranking_factors

METHODS = ("nmf_v", "nmf_vtu", "rmac", "crow", "gem", "mac")


def network(n_classes: int, width: int) -> nn.Sequential:
    """Four convolutions; the last maps are a quarter of the image wide."""
    layers: list[nn.Module] = []
    for i, (before, after) in enumerate([(3, width), (width, width), (width, 2 * width), (2 * width, 2 * width)]):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if i in (0, 1) else []
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(2 * width, n_classes))


def measure(net: nn.Module, other: Tensor, images: Tensor, boxes: Tensor, wanted: dict[str, Tensor]) -> pd.DataFrame:
    """Mean average precision of all methods: of images of the query's class, and of the query's own object."""
    rows = []
    for method in METHODS:
        whitening = learn_whitening(net, [other], method)
        database = describe_images(net, [images], method, whitening=whitening).vectors
        use = {"boxes": boxes, "box": "factors" if method.startswith("nmf") else "crop"}
        queries = describe_images(net, [images[: len(boxes)]], method, whitening=whitening, **use).vectors
        for searched, vectors in (("once", queries), ("expanded", expand_query(queries, database))):
            rankings = search(vectors, database).indices
            row: dict[str, object] = {"method": method, "search": searched}
            for kind, labels in wanted.items():
                alike = [(labels == labels[i]).nonzero().flatten().tolist() for i in range(len(boxes))]
                # the query is in the collection and would be found first: it counts neither way
                found = [average_precision(rankings[i], set(alike[i]) - {i}, junk=[i]) for i in range(len(boxes))]
                row[f"mAP, same {kind}"] = sum(found) / len(found)
            rows.append(row)
    return pd.DataFrame(rows)


def draw(net: nn.Module, other: Tensor, images: Tensor, boxes: Tensor, labels: Tensor, data: Any, folder: Path) -> None:
    """The query of median precision: what was found, where in it, by which factors, and what these look like."""
    whitening = learn_whitening(net, [other])
    database = describe_images(net, [images], whitening=whitening).vectors
    queries = describe_images(net, [images[: len(boxes)]], whitening=whitening, boxes=boxes).vectors
    ranking = search(queries, database)
    relevant = labels[ranking.indices] == labels[: len(boxes), None]
    q = int(relevant[:, 1:11].float().mean(1).sort().indices[len(boxes) // 2])
    others = ranking.indices[q] != q
    order = ranking.indices[q][others][:10]
    marks = {"relevant": relevant[q][others].tolist(), "scores": ranking.scores[q][others].tolist()}
    best, six = ({name: values[:n] for name, values in marks.items()} for n in (10, 6))
    pictures = [data.normalize.invert(image) for image in images[[q, *order.tolist()]]]
    box = boxes[q].tolist()
    found = localize(net, images[q], box, list(images[order]), image_size=images.shape[-1], k=8)
    figure = plot_ranking(pictures[0], pictures[1:], query_box=box, boxes=found.boxes.tolist(), **best)
    figure.savefig(folder / "ranking.png")
    shown = nmf_heatmaps(net, images[[q, *order[:6].tolist()]], k=4)
    plot_ranking_factors(pictures[0], pictures[1:7], shown, **six).savefig(folder / "factors.png")
    objectives = [direction(shown.layer, row, name=f"factor {k}") for k, row in enumerate(shown.v)]
    size = {"image_shape": images.shape[1:], "mean": data.mean, "std": data.std, "steps": 128}
    plot_maximization(maximize_activation(net, objectives, **size)).savefig(folder / "directions.png")


def main(
    max_epochs: int = 8,
    n_train: int = 2400,
    n_images: int = 480,
    n_queries: int = 48,
    width: int = 24,
    folder: str = "retrieval_example",
) -> pd.DataFrame:
    """Train a network, search with it; returns the measures of all methods."""
    pl.seed_everything(0)
    data = ToyScenesDataModule(n_train=n_train, n_test=240, batch_size=50)
    module = Classifier(network(data.n_classes, width), lr=2e-3)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    pl.Trainer(max_epochs=max_epochs, **quiet).fit(module, datamodule=data)
    scenes = ToyScenes(n_images, size=32, seed=1, split="test", views=5, transform=data.normalize)
    images = torch.stack([scenes[i][0] for i in range(n_images)])
    truth = [scenes.truth(i) for i in range(n_images)]
    wanted = {"class": [each.label for each in truth], "object": [each.instance for each in truth]}
    boxes = torch.tensor([each.object_box for each in truth[:n_queries]]).float()
    other = torch.stack([image for image, _ in data.test_dataset])
    labels = {kind: torch.tensor(numbers) for kind, numbers in wanted.items()}
    table = measure(module.net, other, images, boxes, labels)
    Path(folder).mkdir(parents=True, exist_ok=True)
    draw(module.net, other, images, boxes, labels["class"], data, Path(folder))
    table.to_csv(Path(folder) / "measures.csv", index=False)
    print(table.round(3).to_string(index=False))
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max_epochs", type=int, default=8)
    parser.add_argument("--n_images", type=int, default=480, help="of the collection")
    parser.add_argument("--folder", default="retrieval_example", help="where figures and table go")
    main(**vars(parser.parse_args()))
