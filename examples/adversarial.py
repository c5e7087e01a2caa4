"""What do adversarial images do inside a network, and can they be noticed? A small network on toy scenes.

python examples/adversarial.py

Makes noise that the network is sure of, perturbs pictures (FGSM, PGD), compares activations layer by layer with random
noise of equal length, and scores pictures by how differently the network sees them once they are smoothed. Writes
figures and tables to ``adversarial_example``.
"""

import argparse
import warnings
from pathlib import Path

import pandas as pd
import pytorch_lightning as pl
import torch
from torch import Generator, Tensor, nn

from lightning_interp.datamodules import ToyScenesDataModule
from lightning_interp.functional.adversarial import (
    compare_activations,
    detection_auc,
    detection_scores,
    equal_noise,
    fgsm,
    fooling_images,
    pgd,
)
from lightning_interp.functional.synthesis import GaussianBlur, Jitter
from lightning_interp.models import SVHNCNN
from lightning_interp.modules import Classifier
from lightning_interp.plots.adversarial import (
    plot_activation_change,
    plot_adversarial,
    plot_changed_maps,
    plot_fooling,
    plot_roc,
)

LEVELS = (1, 2, 4, 8)  # how much a pixel may change, of 255 levels of grey


def main(
    max_epochs: int = 7,
    n_train: int = 2400,
    n_images: int = 180,
    width: int = 10,
    steps: int = 400,
    folder: str | Path = "adversarial_example",
) -> dict[str, pd.DataFrame]:
    """Train a network, attack it, print and write the tables; returns them by name."""
    warnings.filterwarnings("ignore", category=UserWarning, module="(pytorch_lightning|lightning)")  # advice on workers
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    pl.seed_everything(0, verbose=False)
    data = ToyScenesDataModule(n_train=n_train, n_test=n_images, batch_size=50)
    module = Classifier(SVHNCNN(data.n_classes, width, image_size=32, batch_norm=True), lr=3e-3, schedule="cosine")
    trainer = pl.Trainer(max_epochs=max_epochs, logger=False, enable_checkpointing=False, enable_model_summary=False)
    trainer.fit(module, datamodule=data)
    net = module.net.cpu().eval()
    images, labels = (torch.cat(parts) for parts in zip(*data.test_dataloader(), strict=True))
    perturbed = perturb(net, images, labels, data)
    tables = {
        "fooling": fool(net, data, steps, folder),
        "detection": detect(net, images, labels, perturbed, folder),
        "layers": compare(net, images, perturbed["PGD 4/255"], data, folder),
    }
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
        print(f"\n{name}\n{table.to_string(index=False, float_format='{:.5f}'.format)}")
    print(f"\nFigures and tables are in {folder}.")
    return tables


def fool(net: nn.Module, data: ToyScenesDataModule, steps: int, folder: Path) -> pd.DataFrame:
    """Images of noise, one for each class, without regularisers and with."""
    ways = {"no regulariser": [], "blur and jitter": [GaussianBlur(1.0, every=4), Jitter(2)]}
    options = {"image_shape": (3, 32, 32), "mean": data.mean, "std": data.std, "steps": steps, "lr": 0.1}
    found = {name: fooling_images(net, range(data.n_classes), regularizers=r, **options) for name, r in ways.items()}
    plot_fooling(found, classes=data.classes).savefig(folder / "fooling.png")
    table = pd.concat({name: each.to_dataframe() for name, each in found.items()}, names=["way"]).reset_index(0)
    return table.assign(**{"class": [data.classes[c] for c in table["class"]]})


def perturb(net: nn.Module, images: Tensor, labels: Tensor, data: ToyScenesDataModule) -> dict[str, Tensor]:
    """Perturbed images by name of the attack; random noise is as long as the perturbation by PGD."""
    found, space = {}, {"mean": data.mean, "std": data.std}
    for level in LEVELS:
        found[f"FGSM {level}/255"] = fgsm(net, images, labels, epsilon=level / 255, **space)
        found[f"PGD {level}/255"] = pgd(net, images, labels, epsilon=level / 255, **space)
        added = found[f"PGD {level}/255"] - images
        found[f"noise {level}/255"] = images + equal_noise(added, Generator().manual_seed(level))
    return found


def detect(net: nn.Module, images: Tensor, labels: Tensor, perturbed: dict[str, Tensor], folder: Path) -> pd.DataFrame:
    """Accuracy under each attack, and how well a score of one image alone tells its images from clean ones."""
    clean, rows, found = detection_scores(net, images), [], {}
    for name, attacked in {"none": images, **perturbed}.items():
        found[name] = detection_auc(clean, detection_scores(net, attacked))
        rows.append((name, accuracy(net, attacked, labels), found[name].auc, found[name].found_at(0.05)))
    drawn = {name: each for name, each in found.items() if "PGD" in name or name == "noise 8/255"}
    plot_roc(drawn).savefig(folder / "roc.png")
    return pd.DataFrame(rows, columns=["attack", "accuracy", "auc", "found_at_5_percent"])


def compare(net: nn.Module, images: Tensor, perturbed: Tensor, data: ToyScenesDataModule, folder: Path) -> pd.DataFrame:
    """Change of activations by layer."""
    change = compare_activations(net, images, perturbed)
    pixels = [data.normalize.invert(each[:4]) for each in (images, perturbed)]
    titles = list(zip(*(captions(net, each[:4], data.classes) for each in (images, perturbed)), strict=True))
    plot_adversarial(*pixels, titles=titles).savefig(folder / "perturbed.png")
    plot_activation_change(change).savefig(folder / "layers.png")
    plot_changed_maps(change).savefig(folder / "maps.png")
    return change.by_layer().reset_index()


def accuracy(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of images classified correctly."""
    with torch.no_grad():
        return float((net(images).argmax(1) == labels).float().mean())


def captions(net: nn.Module, images: Tensor, classes: tuple[str, ...]) -> list[str]:
    """What the network says of each image, and how sure it is."""
    with torch.no_grad():
        sure, said = net(images).softmax(1).max(1)
    return [f"{classes[c]}\n{p:.1%}" for c, p in zip(said.tolist(), sure.tolist(), strict=True)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max_epochs", type=int, default=7)
    parser.add_argument("--n_images", type=int, default=180, help="test images that are attacked")
    parser.add_argument("--steps", type=int, default=400, help="of gradient ascent at most, to make fooling images")
    parser.add_argument("--folder", default="adversarial_example", help="where figures and tables go")
    main(**vars(parser.parse_args()))
