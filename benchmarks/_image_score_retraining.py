"""Training that goes on with pseudo-labels chosen anew every epoch: tables 1 to 3 and figure 5 of the paper."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from benchmarks._image_score_runs import Part, Setting, accuracies, tested, weights
from benchmarks._results import markdown, write_results
from benchmarks.memorization._networks import stack
from benchmarks.memorization._study import without_nan
from lightning_interp._lightning import Callback, LightningModule, Trainer, seed_everything
from lightning_interp.callbacks import PseudoLabelSelection
from lightning_interp.functional.selection import Ranking, bootstrap_table, class_statistics
from lightning_interp.modules import AssembledClassifier, Classifier
from lightning_interp.plots import plot_selection_history

SCORES: tuple[Ranking, ...] = ("image_score", "softmax")
RESNET = (0.2, 0.3, 0.2, 0.1, 0.2, 0.2, 0.3, 0.2, 0.4, 0.2)
VGG = (0.3, 0.5, *[0.3] * 8)
N_ASSEMBLIES = 10  # evenly over the epochs; the paper shows the first half of them


class Recorder(Callback):
    """After every epoch a line of test accuracies per class; now and then the weights."""

    def __init__(self, test: Part, n_classes: int, folder: Path, every: int) -> None:
        self.test, self.n_classes, self.folder, self.every = test, n_classes, folder, every

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        row = {"epoch": epoch, "accuracy": accuracies(pl_module.net, self.test, self.n_classes)}
        with (self.folder / "epochs.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        if epoch % self.every == 0:
            save_file(weights(pl_module.net), self.folder / f"{epoch}.safetensors")


class Trainings:
    """The trainings of one setting, each done once: ``"teacher"``, then ``"baseline"`` and ``"<score> <class>"``."""

    def __init__(self, setting: Setting, root: Path, cache: Path) -> None:
        self.setting, self.folder = setting, cache / f"retraining,{setting.name}"
        self.data = setting.datamodule(root, in_memory=True)
        self.test = tested(self.data, setting.test)
        self.every = max(1, setting.epochs // N_ASSEMBLIES)
        self.alphas = (RESNET if setting.network == "resnet18" else VGG)[: self.data.n_classes]

    def run(self, name: str, callbacks: Sequence[Callback] = ()) -> None:
        """Train for all epochs, from the teacher's weights where this is not the teacher."""
        target, n_classes = self.folder / name, self.data.n_classes
        if (target / "done").exists():
            return
        target.mkdir(parents=True, exist_ok=True)
        for old in target.iterdir():
            old.unlink()
        module = Classifier(self.network(None if name == "teacher" else "teacher"), lr=self.setting.lr)
        self.data.set_pseudo_labels([], [])
        seed_everything(self.setting.seed, verbose=False)
        options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "devices": 1}
        Trainer(
            max_epochs=self.setting.epochs,
            reload_dataloaders_every_n_epochs=1,
            callbacks=[*callbacks, Recorder(self.test, n_classes, target, self.every)],
            enable_model_summary=False,
            **options,
        ).fit(module, datamodule=self.data)
        save_file(weights(module.net), target / "last.safetensors")
        (target / "done").touch()
        print(name, self.history(name)[-1], flush=True)

    def boost(self, score: Ranking, c: int) -> None:
        """Go on with what a ranking chooses of the images predicted as one class."""
        options: dict[str, Any] = {"classes": (c,), "start_epoch": 0, "log_figures": False}
        self.run(f"{score} {c}", [PseudoLabelSelection(self.alphas, score, **options)])

    def network(self, name: str | None, epoch: int | str = "last") -> nn.Module:
        """The network of a training after an epoch, or an untrained one."""
        net = self.setting.build(self.data.n_classes)
        if name is not None:
            net.load_state_dict(load_file(self.folder / name / f"{epoch}.safetensors"))
        return net

    def history(self, name: str) -> list[list[float]]:
        """Test accuracies per class after every epoch."""
        lines = (self.folder / name / "epochs.jsonl").read_text().splitlines()
        return [json.loads(line)["accuracy"] for line in lines]


def retraining(setting: Setting, boosted: Sequence[int], root: Path, cache: Path, out: Path) -> None:
    """All trainings of a setting, their tables and their figure."""
    runs = Trainings(setting, root, cache)
    runs.run("teacher")
    runs.run("baseline")
    for score in SCORES:
        for c in boosted:
            runs.boost(score, c)
    notes = (
        f"{setting}, its epochs once without and once with pseudo-labels; Adam, constant rate. Each run adds images of"
        f" one class, chosen anew after every epoch: of those predicted as it the share alpha = {runs.alphas}. Accuracy"
        " on the test images of the class, mean over the epochs; p-values are over the epochs of one run, which depend"
        " on each other: they speak of this run, not of the method."
    )
    facts: dict[str, Any] = {"seeds": [setting.seed], "notes": notes, "folder": out}
    table = class_table(runs, boosted)
    write_results(f"image_score_retraining_{setting.network}", table, **facts)
    write_results(f"image_score_assembly_{setting.network}", assembly_table(runs, boosted), **facts)
    figure = plot_selection_history(history(runs, boosted), retraining=setting.epochs)
    figure.savefig(out / f"image_score_retraining_{setting.network}.png", dpi=80)
    print("\n".join(markdown(table)))


def class_table(runs: Trainings, boosted: Sequence[int]) -> list[dict[str, Any]]:
    """Tables 1 and 2: every class in the run that boosted it."""
    columns = {score: _own_classes(runs, score, boosted) for score in SCORES}
    baseline = torch.tensor(runs.history("baseline"))[:, list(boosted)]
    names = [runs.data.classes[c] for c in boosted]
    table = bootstrap_table(baseline, columns["image_score"], columns["softmax"], classes=names)
    return without_nan(table.to_dict("records"))


def assembly_table(runs: Trainings, boosted: Sequence[int]) -> list[dict[str, Any]]:
    """Table 3: the boosted networks together, epoch by epoch."""
    images, labels = stack(runs.data.labeled_dataset, torch.device("cpu"))
    rows = []
    for epoch in range(runs.every, runs.setting.epochs + 1, runs.every):
        nets = [runs.network(f"image_score {c}", epoch) for c in boosted]
        statistics = [class_statistics(net, images, labels=labels, n_classes=runs.data.n_classes) for net in nets]
        baseline = runs.network("baseline", epoch)
        device = next(baseline.parameters()).device
        together = AssembledClassifier(nets, statistics, baseline, classes=boosted).to(device)
        found = torch.cat([together.assemble(batch.to(device)).labels.cpu() for batch in runs.test.images.split(200)])
        alone = accuracies(baseline, runs.test, runs.data.n_classes)
        right = float((found == runs.test.labels).float().mean())
        rows.append({"epoch": epoch, "baseline": sum(alone) / len(alone), "assembled": right})
    return rows


def history(runs: Trainings, boosted: Sequence[int]) -> pd.DataFrame:
    """Accuracy of every boosted class over the epochs, the teacher's before those of the baseline."""
    names, n = [runs.data.classes[c] for c in boosted], runs.setting.epochs
    rows = torch.tensor(runs.history("teacher") + runs.history("baseline"))[:, list(boosted)]
    tables = [pd.DataFrame(rows, columns=names).assign(epoch=range(1, 2 * n + 1), training="baseline")]
    for score in SCORES:
        own = pd.DataFrame(_own_classes(runs, score, boosted), columns=names)
        tables.append(own.assign(epoch=range(n + 1, 2 * n + 1), training=score.replace("_", " ")))
    return pd.concat(tables)


def _own_classes(runs: Trainings, score: Ranking, boosted: Sequence[int]) -> torch.Tensor:
    """Accuracy of each class in the run that boosted it, ``(epochs, classes)``."""
    return torch.stack([torch.tensor(runs.history(f"{score} {c}"))[:, c] for c in boosted], dim=1)
