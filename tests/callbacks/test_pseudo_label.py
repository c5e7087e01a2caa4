import math
import pickle
import signal

import pandas as pd
import pytest
import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.data import TensorDataset

from lightning_interp.callbacks import PseudoLabelSelection
from lightning_interp.datamodules import (
    CIFAR10DataModule,
    FashionMNISTDataModule,
    ImageFolderDataModule,
    SVHNDataModule,
    ToyScenesDataModule,
)
from lightning_interp.datasets import UnlabeledPool
from lightning_interp.exceptions import MeasurementWarning
from lightning_interp.functional.selection import RANKINGS, class_statistics, image_scores, select_top
from tests.callbacks.conftest import ColourData, Net, PoolData, quiet_trainer, toy_loader
from tests.callbacks.processes import reports, run_code, run_script
from tests.data import cifar10, fashion_mnist, image_folder, svhn


def fit(selection, data=None, net=None, ckpt_path=None, **options):
    trainer = quiet_trainer(**{"callbacks": [selection], "max_epochs": 3, **options})
    torch.manual_seed(0)
    trainer.fit(net or Net(), datamodule=data or ColourData(), ckpt_path=ckpt_path)
    return trainer


class Chain(LightningModule):
    """A network that is known: 8 units that are the pixels; two classes that add up four units each. Never learns."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Flatten(), nn.Linear(8, 8, bias=False), nn.ReLU(inplace=True))
        self.head = nn.Linear(8, 2, bias=False)
        with torch.no_grad():
            self.features[1].weight.copy_(torch.eye(8))
            self.head.weight.copy_(torch.eye(2).repeat_interleave(4, 1))

    def forward(self, x):
        return self.head(self.features(x))

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


ACTIVE = 4 - torch.arange(24).div(2, rounding_mode="floor") % 4  # units of its class that pool image i activates


def chain_data(labels=None, **options):
    """8 labelled images that activate all four units of their class, 24 of the pool that activate some of them.

    Who activates a single one is in truth of the other class.
    """
    labels = torch.arange(24) % 2 if labels is None else labels
    active = torch.cat([torch.full((8,), 4), ACTIVE])
    classes = torch.cat([torch.arange(8) % 2, labels])
    pixels = torch.zeros(32, 8)
    for i, (c, a) in enumerate(zip(classes.tolist(), active.tolist(), strict=True)):
        pixels[i, 4 * c : 4 * c + a] = 1
    truth = torch.where(active == 1, 1 - classes, classes)
    return PoolData(TensorDataset(pixels.view(32, 1, 2, 4), truth), n_labeled=8, **options)


def chain_run(data=None, n_epochs=1, **options):
    selection = PseudoLabelSelection(**{"fraction": 0.25, "layers": "features.2", **options})
    trainer = fit(selection, data or chain_data(), Chain(), max_epochs=n_epochs)
    return selection, {name: float(value) for name, value in trainer.callback_metrics.items()}


class TestPlantedTruth:
    def test_the_images_with_the_whole_chain_are_chosen(self):
        selection, logged = chain_run()
        chosen = selection.selection_
        assert chosen.indices.tolist() == (ACTIVE == 4).nonzero().flatten().tolist()
        assert chosen.labels.tolist() == [0, 1] * 3
        assert chosen.scores.tolist() == [0.0] * 6
        assert logged["pseudo_labels/purity"] == 1
        assert logged["pseudo_labels/pool_accuracy"] == 0.75
        assert logged["pseudo_labels/balance"] == 1
        assert logged["pseudo_labels/overlap_softmax"] == 1  # more units are more confidence here
        assert (logged["pseudo_labels/n_chosen"], logged["pseudo_labels/n_chosen/0"]) == (6, 3)
        assert logged["pseudo_labels/dead_layers"] == logged["pseudo_labels/n_skipped"] == 0

    def test_every_score_is_known(self):
        selection, logged = chain_run(fraction=1.0)
        assert selection.selection_.indices.tolist() == list(range(24))
        assert torch.allclose(selection.selection_.scores, ((ACTIVE + 1) / 5).log())
        assert logged["pseudo_labels/purity"] == 0.75

    def test_of_equal_scores_the_first_image_wins(self):
        selection, _ = chain_run(fraction=1 / 12)
        assert selection.selection_.indices.tolist() == [0, 1]

    def test_a_fraction_per_class(self):
        _, logged = chain_run(fraction=[0.5, 0.25])
        assert [logged[f"pseudo_labels/n_chosen/{c}"] for c in (0, 1)] == [6, 3]
        assert logged["pseudo_labels/balance"] == pytest.approx(
            (2 / 3 * math.log(3 / 2) + 1 / 3 * math.log(3)) / math.log(2)
        )

    def test_one_boosted_class(self):
        selection, logged = chain_run(classes=[1])
        assert selection.selection_.labels.tolist() == [1, 1, 1]
        assert logged["pseudo_labels/n_chosen/0"] == logged["pseudo_labels/balance"] == 0

    def test_a_share_of_the_pool(self):
        selection, _ = chain_run(share_of="pool")
        assert selection.selection_.labels.tolist() == [0, 1] * 6  # a quarter of 24 of each

    def test_the_best_of_the_whole_pool_against_one_mask(self):
        labels = torch.arange(24) % 3 % 2  # twice as many of class 0
        selection, _ = chain_run(chain_data(labels), mode="dataset", fraction=0.25)
        # both classes' units are half on in the mean, so that an image overlaps with as many as it activates
        assert selection.selection_.indices.tolist() == (ACTIVE == 4).nonzero().flatten().tolist()
        assert selection.selection_.labels.tolist() == labels[ACTIVE == 4].tolist()
        assert torch.allclose(selection.selection_.scores, torch.tensor(5 / 9).log())

    def test_a_class_that_nothing_is_predicted_as_gives_none(self):
        selection, logged = chain_run(chain_data(torch.zeros(24, dtype=torch.long)))
        assert selection.selection_.labels.tolist() == [0] * 6
        assert logged["pseudo_labels/n_chosen/1"] == 0

    def test_a_class_without_labelled_images_is_never_chosen(self):
        data = chain_data()
        images, labels = data.labeled_dataset.tensors
        data.train_dataset = data.labeled_dataset = TensorDataset(images[labels == 0], labels[labels == 0])
        selection, logged = chain_run(data, fraction=1.0)
        assert selection.selection_.labels.tolist() == [0] * 12
        assert logged["pseudo_labels/n_skipped"] == 12

    def test_a_dead_layer_is_counted_and_skipped(self):
        class Dying(Chain):
            def __init__(self):
                super().__init__()
                self.dead = nn.Sequential(nn.Flatten(), nn.Linear(8, 5), nn.ReLU())
                nn.init.constant_(self.dead[1].bias, -100.0)

            def forward(self, x):
                return super().forward(x) + self.dead(x).sum(1, keepdim=True)

        selection = PseudoLabelSelection(0.25, layers=["features.2", "dead.2"])
        trainer = fit(selection, chain_data(), Dying(), max_epochs=1)
        assert trainer.callback_metrics["pseudo_labels/dead_layers"] == 1
        assert selection.selection_.indices.tolist() == (ACTIVE == 4).nonzero().flatten().tolist()


def test_it_chooses_what_the_functions_choose():
    data, net, selection = ColourData(), Net(), PseudoLabelSelection(0.4)
    fit(selection, data, net)
    labeled, pool = ([item[0] for item in part] for part in (data.labeled_dataset, data.unlabeled_dataset))
    statistics = class_statistics(net, torch.stack(labeled), labels=data.labeled_dataset.targets, n_classes=3)
    found = image_scores(net, torch.stack(pool), statistics)
    rows = select_top(found.scores, found.labels, 0.4, n_classes=3)
    assert torch.equal(selection.selection_.indices, rows)
    assert torch.equal(selection.selection_.labels, found.labels[rows])
    assert torch.equal(selection.selection_.scores, found.scores[rows])


class Recording(Net):
    """Notes epoch and labels of every batch."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_start(self, batch, batch_idx):
        self.seen.append((self.current_epoch, batch[1].clone()))

    def epoch(self, n):
        return torch.cat([labels for epoch, labels in self.seen if epoch == n])


class TestTraining:
    def test_what_is_chosen_is_trained_on_from_the_next_epoch_on(self):
        data, net, selection = ColourData(), Recording(), PseudoLabelSelection(0.5, start_epoch=2)
        fit(selection, data, net, max_epochs=4, reload_dataloaders_every_n_epochs=1)
        history = selection.history
        assert history["epoch"].tolist() == [2, 3, 4]
        sizes = [len(net.epoch(n)) for n in range(4)]
        assert sizes == [30, 30, 30 + history["n_chosen"][0], 30 + history["n_chosen"][1]]
        counts = [torch.bincount(net.epoch(n), minlength=3) for n in (2, 3)]
        for row, count in zip(history.iloc, counts, strict=False):
            assert [10 + row[f"n_chosen/{c}"] for c in range(3)] == count.tolist()

    def test_epochs_keep_their_length_where_loaders_are_made_once(self):
        net = Recording()
        fit(PseudoLabelSelection(0.5), ColourData(), net)
        assert [len(net.epoch(n)) for n in range(3)] == [30, 30, 30]

    def test_a_plain_datamodule_with_new_loaders(self):
        data, net, selection = PoolData(), Recording(), PseudoLabelSelection(0.5)
        fit(selection, data, net, reload_dataloaders_every_n_epochs=1)
        assert [len(net.epoch(n)) for n in range(3)] == [60, *(60 + selection.history["n_chosen"][:2])]

    def test_the_labelled_part_is_never_lost(self):
        labeled = []

        class Watching(Recording):
            def on_train_batch_start(self, batch, batch_idx):
                super().on_train_batch_start(batch, batch_idx)
                labeled.append(data.train_dataset.targets[:30].clone())

        data = ColourData()
        data.setup("fit")
        given = data.labeled_dataset.targets.clone()
        fit(PseudoLabelSelection(1.0), data, Watching(), reload_dataloaders_every_n_epochs=1)
        assert all(torch.equal(targets, given) for targets in labeled)
        assert torch.equal(data.labeled_dataset.targets, given)

    def test_intervals_and_start(self):
        selection = PseudoLabelSelection(start_epoch=3, every_n_epochs=2)
        fit(selection, max_epochs=7)
        assert selection.history["epoch"].tolist() == [4, 6]

    def test_the_figures_change_nothing(self, tensorboard):
        class Augmented(ColourData):
            def read(self, split):
                images = super().read(split)
                images.__class__ = Noisy
                return images

        nets = []
        for options in ({"log_figures": False}, {"log_figures": True}):
            nets.append(Net())
            fit(PseudoLabelSelection(**options), Augmented(), nets[-1], logger=tensorboard)
        states = [net.state_dict().values() for net in nets]
        assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))

    def test_a_second_fit_starts_without_pseudo_labels(self):
        data, selection, net = ColourData(), PseudoLabelSelection(0.5), Recording()
        fit(selection, data)
        assert len(data.train_dataset) > 30
        fit(selection, data, net, max_epochs=1, reload_dataloaders_every_n_epochs=1)
        assert len(net.epoch(0)) == 30
        assert len(selection.history) == 1

    def test_workers_that_keep_running_see_the_selection(self):
        with_workers, without = Recording(), Recording()
        fit(PseudoLabelSelection(0.5), ColourData(num_workers=2), with_workers)
        fit(PseudoLabelSelection(0.5), ColourData(), without)
        assert all(torch.equal(a, b) for (_, a), (_, b) in zip(with_workers.seen, without.seen, strict=True))
        assert all(
            torch.equal(a, b)
            for a, b in zip(with_workers.state_dict().values(), without.state_dict().values(), strict=True)
        )


class Noisy(type(ColourData().read("train"))):
    """Images that are random on every access."""

    def __getitems__(self, indices):
        return [(image + 0.01 * torch.randn(3, 8, 8), label) for image, label in super().__getitems__(indices)]


class Seeded(Net):
    """Dropout must draw the same in both halves of a run; that is not the callback's business."""

    def on_train_batch_start(self, batch, batch_idx):
        torch.manual_seed(self.global_step)


class TestResume:
    @pytest.mark.parametrize("reload", [0, 1])
    @pytest.mark.parametrize(
        "workers",
        [0, pytest.param(2, marks=pytest.mark.slow)],
    )
    @pytest.mark.parametrize("stop_after", [1, 3])  # before the first selection, and in the middle
    def test_the_run_that_was_never_interrupted(self, tmp_path, reload, workers, stop_after):
        def run(folder, n_epochs, ckpt_path=None):
            saver = ModelCheckpoint(tmp_path / folder, filename="last", enable_version_counter=False)
            selection = PseudoLabelSelection(0.5, start_epoch=2, csv_path=tmp_path / folder / "chosen.csv")
            options = {"enable_checkpointing": True, "reload_dataloaders_every_n_epochs": reload}
            net, data = Seeded(), ColourData(num_workers=workers, augment=True)
            fit(selection, data, net, ckpt_path, callbacks=[selection, saver], max_epochs=n_epochs, **options)
            return selection, net, data

        whole, net, data = run("whole", 5)
        run("half", stop_after)
        again, resumed, data_too = run("half", 5, tmp_path / "half/last.ckpt")
        assert whole.history.drop(columns="seconds").equals(again.history.drop(columns="seconds"))
        assert all(torch.equal(a, b) for a, b in zip(whole.selection_[:3], again.selection_[:3], strict=True))
        assert torch.equal(data.train_dataset.targets, data_too.train_dataset.targets)
        for (name, a), b in zip(net.state_dict().items(), resumed.state_dict().values(), strict=True):
            assert torch.equal(a, b), name
        tables = [(tmp_path / folder / "chosen.csv").read_text() for folder in ("whole", "half")]
        assert tables[0] == tables[1]

    @pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`:UserWarning")
    def test_the_limit_of_the_trainer_is_put_back(self, tmp_path):
        saver = ModelCheckpoint(tmp_path, filename="last")
        selection = PseudoLabelSelection(0.5)
        fit(selection, callbacks=[selection, saver], enable_checkpointing=True, limit_train_batches=2)
        again, net = PseudoLabelSelection(0.5), Recording()
        trainer = fit(again, None, net, tmp_path / "last.ckpt", max_epochs=4, limit_train_batches=1.0)
        assert trainer.limit_train_batches == 1.0
        assert len(net.epoch(3)) == 20  # the length of the epochs is that of the run

    @pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`:UserWarning")
    def test_a_checkpoint_from_before_the_table_was_begun(self, tmp_path):
        """The run was killed after its first selection, its last checkpoint is from before that."""
        table = tmp_path / "chosen.csv"
        saver = ModelCheckpoint(tmp_path, filename="early", every_n_epochs=2)
        selection = PseudoLabelSelection(0.5, start_epoch=3, csv_path=table)
        fit(selection, None, Seeded(), callbacks=[selection, saver], enable_checkpointing=True)
        first = table.read_text()
        fit(PseudoLabelSelection(0.5, start_epoch=3, csv_path=table), None, Seeded(), tmp_path / "early.ckpt")
        assert table.read_text() == first


class TestTable:
    def test_all_that_was_ever_chosen(self, tmp_path):
        selection = PseudoLabelSelection(0.5, csv_path=tmp_path / "new" / "chosen.csv")
        fit(selection)
        table = pd.read_csv(tmp_path / "new" / "chosen.csv")
        assert table.columns.tolist() == ["index", "label", "score", "epoch"]
        assert table.groupby("epoch").size().tolist() == selection.history["n_chosen"].tolist()
        last = table[table["epoch"] == 3]
        assert last["index"].tolist() == selection.selection_.indices.tolist()
        assert last["label"].tolist() == selection.selection_.labels.tolist()

    def test_of_another_run_is_not_written_over(self, tmp_path):
        (tmp_path / "chosen.csv").write_text("precious")
        with pytest.raises(ValueError, match=r"The `csv_path` parameter .* must be a new file. Got '.*chosen.csv'"):
            fit(PseudoLabelSelection(csv_path=tmp_path / "chosen.csv"))
        assert (tmp_path / "chosen.csv").read_text() == "precious"

    def test_a_trial_run_writes_none(self, tmp_path):
        fit(PseudoLabelSelection(csv_path=tmp_path / "chosen.csv"), fast_dev_run=True)
        assert not list(tmp_path.iterdir())


def small_net(data):
    net = Net()
    image, _ = data.train_dataset[0]
    net.features[0] = nn.Conv2d(image.shape[0], 6, 3, padding=1)
    net.head[1] = nn.Linear(8, data.n_classes)
    return net


@pytest.mark.parametrize(
    ("kind", "write"),
    [
        (ToyScenesDataModule, None),
        (ImageFolderDataModule, lambda root, patch: image_folder.write(root)),
        (CIFAR10DataModule, cifar10.write),
        (FashionMNISTDataModule, lambda root, patch: fashion_mnist.write(root)),
        (SVHNDataModule, svhn.write),
    ],
)
def test_every_datamodule_with_a_pool(kind, write, tmp_path, monkeypatch, tensorboard):
    if write is None:
        data = kind(n_train=48, n_test=12, labeled_size=0.5, batch_size=8)
    else:
        write(tmp_path, monkeypatch)
        data = kind(tmp_path, labeled_size=0.5, batch_size=8)
    data.prepare_data()
    data.setup("fit")
    selection = PseudoLabelSelection(1.0, spatial="mean")
    fit(selection, data, small_net(data), max_epochs=2, reload_dataloaders_every_n_epochs=1, logger=tensorboard)
    assert selection.history["n_chosen"].tolist() == [len(data.unlabeled_dataset)] * 2
    assert len(data.train_dataset) == len(data.labeled_dataset) + len(data.unlabeled_dataset)
    assert selection.history["purity"].between(0, 1).all()
    images = EventAccumulator(tensorboard.log_dir).Reload().Tags()["images"]
    assert set(images) == {f"pseudo_labels/{name}" for name in ("histogram", "intervals", "best_and_worst")}


@pytest.mark.parametrize("score", RANKINGS)
@pytest.mark.parametrize("mode", ["per_class", "dataset"])
def test_every_ranking_in_every_mode(score, mode):
    selection = PseudoLabelSelection(0.4, score, mode=mode)
    trainer = fit(selection, max_epochs=2)
    assert abs(selection.history["n_chosen"] - 0.4 * 60).max() <= (1.5 if mode == "per_class" else 0)
    if score == "softmax":
        assert trainer.callback_metrics["pseudo_labels/overlap_softmax"] == 1


def test_random_draws_anew_every_epoch_and_the_same_for_a_seed():
    class Still(Net):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.0)

    def chosen(seed):
        selection, rows = PseudoLabelSelection(0.3, "random", seed=seed), []
        keep = type("Keep", (Callback,), {"on_train_epoch_end": lambda *_: rows.append(selection.selection_.indices)})
        fit(selection, net=Still(), callbacks=[selection, keep()])
        return rows

    first, again, other = chosen(0), chosen(0), chosen(9)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], other[0])


class TestBadInput:
    def test_no_datamodule(self):
        with pytest.raises(TypeError, match=r"PseudoLabelSelection needs a datamodule .* Got none"):
            quiet_trainer(callbacks=[PseudoLabelSelection()]).fit(Net(), toy_loader())

    def test_a_datamodule_without_a_pool(self):
        with pytest.raises(ValueError, match=r"must hold images\. Got none. Pass `labeled_size`"):
            fit(PseudoLabelSelection(), ColourData(labeled_size=None))

    def test_a_pool_without_index(self):
        data = PoolData()
        data.unlabeled_dataset = TensorDataset(data.unlabeled_dataset.tensors[0])
        with pytest.raises(ValueError, match=r"must be \(x, index, \.\.\.\).*Got \(Tensor\) first"):
            fit(PseudoLabelSelection(), data)

    def test_an_empty_pool(self):
        with pytest.raises(ValueError, match=r"must hold images\. Got none"):
            fit(PseudoLabelSelection(), ColourData(labeled_size=90))

    def test_two_selections(self):
        both = [PseudoLabelSelection(classes=[c], name=f"class_{c}") for c in (0, 1)]
        with pytest.raises(ValueError, match=r"A Trainer takes one PseudoLabelSelection.*`classes=\[\.\.\.\]` of one"):
            fit(None, callbacks=both)

    def test_a_class_the_network_does_not_have(self):
        with pytest.raises(ValueError, match=r"The `classes` parameter .* must be an int in \[0, 2\]. Got 3"):
            fit(PseudoLabelSelection(classes=[3]))

    def test_a_wrong_number_of_fractions(self):
        with pytest.raises(ValueError, match="one for each of 3 classes"):
            fit(PseudoLabelSelection([0.1, 0.2]))

    @pytest.mark.parametrize(
        ("options", "must"),
        [
            ({"fraction": 1.1}, r"a number in \[0, 1\]. Got 1.1"),
            ({"fraction": [0.1, -0.1]}, r"a number in \[0, 1\]. Got -0.1"),
            ({"score": "soft_max"}, r"Got 'soft_max'. Did you mean 'softmax'"),
            ({"mode": "class"}, "one of 'per_class', 'dataset'"),
            ({"mode": "dataset", "classes": [1]}, "'per_class' where classes differ"),
            ({"mode": "dataset", "fraction": [0.1, 0.1]}, "'per_class' where classes differ"),
            ({"share_of": "class"}, "one of 'predicted', 'pool'"),
            ({"spatial": "sum"}, "one of 'none', 'mean', 'max'"),
            ({"norm": "l3"}, "one of 'linf', 'l1', 'l2'"),
            ({"threshold": "mean"}, "one of 'class_mean', 'per_image'"),
            ({"start_epoch": -1}, r"an int in \[0, inf\)"),
            ({"every_n_epochs": 0}, r"an int in \[1, inf\)"),
            ({"classes": [-1]}, r"an int in \[0, inf\)"),
            ({"seed": -1}, r"an int in \[0, inf\)"),
        ],
    )
    def test_options(self, options, must):
        with pytest.raises(ValueError, match=f"must be {must}|{must}"):
            PseudoLabelSelection(**options)


class TestOddRuns:
    def test_images_that_are_labelled_too_are_dropped(self):
        data = ColourData()
        data.setup("fit")
        source = data.labeled_dataset
        data.unlabeled_dataset.indices[:25] = source.indices[:25]
        selection = PseudoLabelSelection(1.0)
        with pytest.warns(MeasurementWarning, match="25 images of the pool are in the labelled part too"):
            trainer = fit(selection, data)
        assert selection.selection_.indices.tolist() == list(range(25, 60))
        assert trainer.callback_metrics["pseudo_labels/n_skipped"] == 25
        assert trainer.callback_metrics["pseudo_labels/overlap_softmax"] == 1  # it may not choose them either

    def test_a_fraction_of_zero_is_told(self):
        selection = PseudoLabelSelection(0.0)
        with pytest.warns(MeasurementWarning, match="PseudoLabelSelection chose no image after epoch [123]"):
            trainer = fit(selection)
        assert trainer.callback_metrics["pseudo_labels/n_chosen"] == 0
        assert "pseudo_labels/purity" not in trainer.callback_metrics
        assert trainer.callback_metrics["pseudo_labels/pool_accuracy"] > 0
        assert selection.history["n_chosen"].tolist() == [0, 0, 0]

    @pytest.mark.parametrize("score", RANKINGS)
    def test_weights_that_became_nan_cost_a_check_and_former_pseudo_labels_stay(self, score):
        class Broken(Net):
            def on_train_epoch_start(self):
                if self.current_epoch == 1:
                    self.features[4].weight.data.fill_(float("nan"))

        data, selection = ColourData(), PseudoLabelSelection(0.5, score)
        with pytest.warns(MeasurementWarning, match=r"could not measure at step [69], .* no image of the pool got"):
            trainer = fit(selection, data, Broken())
        assert trainer.current_epoch == 3
        assert selection.history["epoch"].tolist() == [1]
        assert selection.selection_.epoch == 1
        assert len(data.train_dataset) == 30 + len(selection.selection_.indices) > 30

    def test_an_error_while_scoring_costs_a_check(self):
        class Fails(Net):
            def forward(self, x):
                if not self.training and self.current_epoch == 1:
                    raise RuntimeError("out of memory")
                return super().forward(x)

        selection = PseudoLabelSelection(0.5)
        with pytest.warns(MeasurementWarning, match="could not measure at step 6, training goes on: out of memory"):
            fit(selection, net=Fails())
        assert selection.history["epoch"].tolist() == [1, 3]

    def test_one_image_that_is_nan_is_skipped(self):
        data = PoolData()
        data.unlabeled_dataset.tensors[0][4] = float("nan")
        selection = PseudoLabelSelection(1.0)
        trainer = fit(selection, data)
        assert 4 not in selection.selection_.indices
        assert trainer.callback_metrics["pseudo_labels/n_chosen"] == 59
        assert trainer.callback_metrics["pseudo_labels/n_skipped"] == 1

    @pytest.mark.parametrize("options", [{"precision": "bf16-mixed"}, {"precision": "bf16-true"}, {"barebones": True}])
    def test_unusual_trainers(self, options):
        quiet = dict.fromkeys(["enable_checkpointing", "logger", "enable_progress_bar", "enable_model_summary"])
        options |= quiet if "barebones" in options else {}
        selection = PseudoLabelSelection(0.5)
        if "barebones" in options:
            with pytest.warns(UserWarning, match="barebones"):
                fit(selection, **options)
        else:
            fit(selection, **options)
        assert selection.history["n_chosen"].between(29, 31).all()

    def test_what_is_chosen_has_a_cost(self):
        selection = PseudoLabelSelection(0.5)
        logged = fit(selection).callback_metrics
        assert logged["pseudo_labels/bytes"] == (8 + 8 + 4) * selection.history["n_chosen"].iloc[-1]
        assert logged["pseudo_labels/seconds"] == pytest.approx(selection.history["seconds"].iloc[-1])
        assert 0 < selection.history["seconds"].sum() < 1.01 * selection.schedule.measuring_seconds

    def test_a_picture_that_fails_costs_a_warning(self, tensorboard, monkeypatch):
        monkeypatch.setattr("lightning_interp.callbacks.selection_log.plot_score_histogram", lambda *_: 1 / 0)
        selection = PseudoLabelSelection()
        with pytest.warns(MeasurementWarning, match="'pseudo_labels/histogram' was left out: division by zero"):
            fit(selection, logger=tensorboard)
        assert len(selection.history) == 3
        tags = EventAccumulator(tensorboard.log_dir).Reload().Tags()["images"]
        assert set(tags) == {"pseudo_labels/intervals", "pseudo_labels/best_and_worst"}

    def test_several_loggers(self, tmp_path, tensorboard):
        fit(PseudoLabelSelection(name="ssl"), logger=[CSVLogger(tmp_path / "csv"), tensorboard])
        assert "ssl/purity" in (tmp_path / "csv/lightning_logs/version_0/metrics.csv").read_text()
        events = EventAccumulator(tensorboard.log_dir).Reload()
        assert [event.step for event in events.Scalars("ssl/n_chosen/1")] == [3, 6, 9]

    def test_a_checkpoint_may_follow_the_purity(self, tmp_path):
        best = ModelCheckpoint(tmp_path, monitor="pseudo_labels/purity", mode="max", filename="best")
        selection = PseudoLabelSelection()
        fit(selection, callbacks=[best, selection], enable_checkpointing=True)
        assert float(best.best_model_score) == pytest.approx(selection.history["purity"].max())

    def test_a_state_is_plain_enough_for_a_safe_checkpoint(self, tmp_path):
        selection, fresh = PseudoLabelSelection(), PseudoLabelSelection()
        fit(selection)
        torch.save(selection.state_dict(), tmp_path / "state.pt")
        fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        assert all(torch.equal(a, b) for a, b in zip(fresh.selection_[:3], selection.selection_[:3], strict=True))
        assert len(pickle.dumps(selection)) < 20_000  # neither datamodule nor images go with it


class TestDetectors:
    """Modules that make their own labels: here a list of dicts for each batch, None where they see nothing."""

    class Sees(Chain):
        def pseudo_labels(self, outputs):
            assert not self.training
            labels = outputs.argmax(1).tolist()
            return [None if c else {"labels": torch.tensor([1]), "boxes": torch.zeros(1, 4)} for c in labels]

    class Boxes(PoolData):
        given = None

        def set_pseudo_labels(self, indices, labels):
            self.given = indices, labels

    def test_the_module_labels_and_what_it_does_not_see_is_skipped(self, tmp_path):
        data = chain_data()
        data.__class__ = self.Boxes
        selection = PseudoLabelSelection(0.25, mode="dataset", layers="features.2", csv_path=tmp_path / "boxes.csv")
        trainer = fit(selection, data, self.Sees(), max_epochs=1)
        indices, labels = data.given
        assert indices.tolist() == [0, 8, 16]  # activate all four units, and are no 1
        assert [label["labels"].tolist() for label in labels] == [[1]] * 3
        assert trainer.callback_metrics["pseudo_labels/n_chosen"] == 3
        assert trainer.callback_metrics["pseudo_labels/n_skipped"] == 3
        assert pd.read_csv(tmp_path / "boxes.csv")["label"].tolist() == [1, 1, 1]

    def test_per_class_the_network_labels(self):
        data = chain_data()
        data.__class__ = self.Boxes
        fit(PseudoLabelSelection(0.25, layers="features.2"), data, self.Sees(), max_epochs=1)
        assert data.given[1].tolist() == [0, 1] * 3


RESUMABLE = """
import sys, os, signal, torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from lightning_interp.callbacks import PseudoLabelSelection
from tests.callbacks.conftest import ColourData, quiet_trainer
from tests.callbacks.test_pseudo_label import Seeded

class Kill(Callback):
    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.global_step == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)

folder = sys.argv[1]
selection = PseudoLabelSelection(0.5, csv_path=os.path.join(folder, "chosen.csv"))
saver = ModelCheckpoint(folder, filename="last", enable_version_counter=False)
last = os.path.join(folder, "last.ckpt")
options = dict(max_epochs=5, enable_checkpointing=True, reload_dataloaders_every_n_epochs=1)
net = Seeded()
trainer = quiet_trainer(callbacks=[selection, saver, Kill()], **options)
trainer.fit(net, datamodule=ColourData(), ckpt_path=last if os.path.exists(last) else None)
print(selection.selection_, float(net.head[1].weight.sum()), open(os.path.join(folder, "chosen.csv")).read().split())
"""


@pytest.mark.slow
def test_kill_and_resume_gives_the_run_that_was_never_killed(tmp_path):
    def run(folder, kill_at):
        return run_code(RESUMABLE, tmp_path / folder, kill_at)

    whole = run("whole", -1)
    killed = run("killed", 12)  # in the middle of the third epoch
    assert killed.returncode == -signal.SIGKILL
    resumed = run("killed", -1)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout == whole.stdout


DISTRIBUTED = """
import sys, torch
from lightning_interp.callbacks import PseudoLabelSelection
from tests.callbacks.conftest import ColourData, quiet_trainer
from tests.callbacks.processes import report
from tests.callbacks.test_pseudo_label import Recording

class Frozen(Recording):  # equal weights on any number of processes, so that only the selection can differ
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)

    def on_train_epoch_start(self):
        self.features[1].eval()

if __name__ == "__main__":
    devices, reload, score = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    strategy = "ddp_find_unused_parameters_true" if devices > 1 else "auto"
    options = {"devices": devices, "strategy": strategy, "reload_dataloaders_every_n_epochs": reload}
    selection, net = PseudoLabelSelection(0.5, score, csv_path=sys.argv[4]), Frozen()
    trainer = quiet_trainer(callbacks=[selection], max_epochs=3, **options)
    trainer.fit(net, datamodule=ColourData())
    history = selection.history.drop(columns=["seconds", "step"]).round(5).to_numpy().tolist()
    chosen = [selection.selection_.indices.tolist(), selection.selection_.labels.tolist()]
    total = int(trainer.strategy.reduce(torch.tensor(float(len(net.epoch(2)))), reduce_op="sum"))
    report(chosen, history, "trained on", total + total % 2)  # samplers pad to equal shares
"""


class TestDistributed:
    def run(self, tmp_path, devices, reload=1, score="image_score"):
        table = tmp_path / f"{devices}_{score}.csv"
        done = run_script(DISTRIBUTED, tmp_path, devices, reload, score, table, timeout=300)
        return done, reports(done), table

    @pytest.mark.slow
    @pytest.mark.parametrize("score", ["image_score", "flexmatch"])
    def test_two_processes_choose_what_one_chooses_and_train_on_it(self, tmp_path, score):
        alone, (one,), table = self.run(tmp_path, 1, score=score)
        assert alone.returncode == 0, alone.stderr
        together, both, table_too = self.run(tmp_path, 2, score=score)
        assert together.returncode == 0, together.stderr
        assert both == [one, one]
        assert table.read_text() == table_too.read_text()

    @pytest.mark.slow
    def test_two_processes_need_new_loaders(self, tmp_path):
        done, _, _ = self.run(tmp_path, 2, reload=0)
        assert done.returncode != 0
        assert "Set `Trainer(reload_dataloaders_every_n_epochs=1)`" in done.stderr


def test_the_pool_may_be_wrapped_by_hand():
    """As the error message for a pool without index says."""
    data = PoolData()
    images = data.unlabeled_dataset.tensors[0]
    data.unlabeled_dataset = UnlabeledPool(TensorDataset(images))
    data.set_pseudo_labels = lambda indices, labels: None
    selection = PseudoLabelSelection(0.5)
    fit(selection, data)
    assert "purity" not in selection.history
    assert selection.history["n_chosen"].between(29, 31).all()
