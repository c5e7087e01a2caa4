"""One battery over every callback, metric and datamodule: a new class joins by one line in its settings."""

import inspect
import pickle

import pytest
import torch
from torch.utils.data import DataLoader

from lightning_interp import callbacks, datamodules, metrics
from lightning_interp.datasets import ToyConcepts, ToyScenes
from lightning_interp.functional import ImageScores
from lightning_interp.models import SVHNCNN
from tests.callbacks.conftest import SMALL, Net, PoolData, quiet_trainer
from tests.data import cifar10, fashion_mnist, image_folder, imagenet, svhn, urban_sound8k
from tests.functional.test_voc_average_precision import random_images

CALLBACKS = {
    "ActivationMaximizationMonitor": lambda: callbacks.ActivationMaximizationMonitor(every_n_epochs=1, steps=2),
    "CompressionMonitor": lambda: callbacks.CompressionMonitor(**SMALL),
    "DeconvNetMonitor": lambda: callbacks.DeconvNetMonitor(every_n_epochs=1, n_images=2, n_units=2),
    "FilterHealthMonitor": lambda: callbacks.FilterHealthMonitor(per_class=5),
    "GeneralizationMonitor": lambda: callbacks.GeneralizationMonitor(per_class=5, batches_per_class=2),
    "HeatmapMonitor": lambda: callbacks.HeatmapMonitor(every_n_epochs=1, n_images=2, k=2),
    "NetworkDissectionMonitor": lambda: callbacks.NetworkDissectionMonitor(
        ToyConcepts(ToyScenes(10, size=16)), every_n_epochs=1, batch_size=4
    ),
    "NMFEarlyStopping": lambda: callbacks.NMFEarlyStopping(patience=9, **SMALL),
    "PseudoLabelSelection": lambda: callbacks.PseudoLabelSelection(0.5),
}
METRICS = {
    "BoxIoU": lambda: metrics.BoxIoU(),
    "ClassActivations": lambda: metrics.ClassActivations(["features.15"], [32], n_classes=3, spatial="mean"),
    "CompressionAUC": lambda: metrics.CompressionAUC(["features.15"], [1, 2], width=32, n_classes=10),
    "CorLoc": lambda: metrics.CorLoc(3),
    "FilterActivity": lambda: metrics.FilterActivity(["features.15"], [32]),
    "ImageDescriptors": lambda: metrics.ImageDescriptors(),
    "ObjectIoU": lambda: metrics.ObjectIoU(),
    "PairwiseDiversity": lambda: metrics.PairwiseDiversity(),
    "PartIoU": lambda: metrics.PartIoU(2, 3),
    "PoolScores": lambda: metrics.PoolScores(),
    "RetrievalAP": lambda: metrics.RetrievalAP(),
    "RevisitedAP": lambda: metrics.RevisitedAP(),
    "SelectionBalance": lambda: metrics.SelectionBalance(3),
    "SelectionPurity": lambda: metrics.SelectionPurity(3),
    "VOCAveragePrecision": lambda: metrics.VOCAveragePrecision(n_classes=3),
}
UPDATES = {  # of metrics that do not take (model, images, labels)
    "BoxIoU": lambda: (torch.rand(12, 4).sort(1).values, torch.rand(12, 4).sort(1).values),
    "CorLoc": lambda: (
        torch.rand(12, 4).sort(1).values,
        list(torch.rand(12, 2, 4).sort(2).values),
        torch.arange(12) % 3,
    ),
    "ImageDescriptors": lambda: (torch.arange(12), torch.rand(12, 5)),
    "ObjectIoU": lambda: (torch.rand(12, 6, 7) > 0.5, torch.rand(12, 6, 7) > 0.5),
    "PairwiseDiversity": lambda: (torch.rand(12, 5),),
    "PartIoU": lambda: (torch.rand(12, 2, 6, 7) > 0.5, torch.rand(12, 3, 6, 7) > 0.5),
    "PoolScores": lambda: (torch.arange(12), ImageScores(torch.rand(12), torch.arange(12) % 3, torch.rand(12, 3))),
    "RetrievalAP": lambda: (torch.rand(12, 20).argsort(1), torch.arange(36).view(12, 3) % 20),
    "RevisitedAP": lambda: (torch.rand(12, 20).argsort(1), *[[range(i, i + 3)] * 12 for i in (0, 3, 6)]),
    "SelectionBalance": lambda: (torch.arange(12) % 3,),
    "SelectionPurity": lambda: (torch.arange(12) % 3, torch.arange(12) % 2),
    "VOCAveragePrecision": random_images,
}
DATAMODULES = {
    "CIFAR10DataModule": lambda root, patch: cifar10.write(root, patch),
    "FashionMNISTDataModule": lambda root, patch: fashion_mnist.write(root),
    "ImageFolderDataModule": lambda root, patch: image_folder.write(root),
    "ImageNetDataModule": lambda root, patch: imagenet.write(root),
    "SVHNDataModule": lambda root, patch: svhn.write(root, patch),
    "ToyScenesDataModule": None,
    "UrbanSound8KDataModule": lambda root, patch: urban_sound8k.write(root),
}


def public(module, base=object):
    return {name for name in module.__all__ if inspect.isclass(getattr(module, name))}


def test_nothing_public_is_left_out():
    assert public(callbacks) == set(CALLBACKS)
    assert public(metrics) - {"ConceptIoU", "UnitActivations"} == set(METRICS)  # larger states: see their own tests
    others = {"BrodenDataModule", "ICosegDataModule", "PascalPartDataModule", "VOCDetectionDataModule"}
    others |= {"OxfordParisDataModule", "VOCRetrievalDataModule", "VOCSegmentationDataModule"}
    bases = {"ClassificationDataModule", "ConceptDataModule", "RetrievalDataModule"}
    assert public(datamodules) - bases - others == set(DATAMODULES)  # others have own tests


@pytest.mark.parametrize("module", [callbacks, metrics, datamodules])
def test_everything_public_is_documented(module):
    for name in public(module):
        cls = getattr(module, name)
        assert "Args:" in cls.__doc__ or "arguments as in" in cls.__doc__, name
        for method, function in inspect.getmembers(cls, inspect.isfunction):
            if not method.startswith("_") and function.__module__.startswith("lightning_interp"):
                assert function.__doc__, f"{name}.{method}"


class TestCallbacks:
    @pytest.fixture(params=CALLBACKS)
    def callback(self, request):
        return CALLBACKS[request.param]()

    def test_pickles_before_and_after_a_run(self, callback):
        pickle.loads(pickle.dumps(callback))
        quiet_trainer(callbacks=[callback]).fit(Net(), datamodule=PoolData())
        again = pickle.loads(pickle.dumps(callback))
        assert str(again.state_dict()) == str(callback.state_dict())

    def test_state_is_plain_enough_for_a_safe_checkpoint(self, callback, tmp_path):
        quiet_trainer(callbacks=[callback]).fit(Net(), datamodule=PoolData())
        torch.save(callback.state_dict(), tmp_path / "state.pt")
        state = torch.load(tmp_path / "state.pt", weights_only=True)
        fresh = CALLBACKS[type(callback).__name__]()
        fresh.load_state_dict(state)
        assert fresh.state_dict().keys() == callback.state_dict().keys()
        assert fresh.history.equals(callback.history)

    def test_options_are_keyword_only_but_for_the_first(self, callback):
        parameters = list(inspect.signature(type(callback)).parameters.values())
        n_first = 2 if isinstance(callback, callbacks.PseudoLabelSelection) else 1  # how many, and by which score
        assert all(p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD) for p in parameters[n_first:])

    def test_only_named_values_are_logged(self, callback):
        trainer = quiet_trainer(callbacks=[callback])
        trainer.fit(Net(), datamodule=PoolData())
        own = {name for name in trainer.callback_metrics if name != "loss"}
        assert own
        assert all(name.startswith(f"{callback.name}/") for name in own)
        assert all(
            name.rsplit("/", 1)[1] in type(callback).__mro__[0].__doc__ + type(callback).__mro__[1].__doc__
            for name in own
        )

    def test_state_keys_tell_two_of_a_kind_apart(self, callback):
        other = CALLBACKS[type(callback).__name__]()
        other.name = "other"
        assert other.state_key != callback.state_key


class TestMetrics:
    @pytest.fixture(params=METRICS)
    def metric(self, request):
        return METRICS[request.param]()

    def update(self, metric):
        torch.manual_seed(0)
        usual = (SVHNCNN(width=4), torch.rand(12, 3, 32, 32), torch.arange(12) % 3)
        metric.update(*UPDATES.get(type(metric).__name__, lambda: usual)())

    def values(self, metric):
        found = metric.compute()
        found = found if isinstance(found, dict) else {"value": found}
        return {name: torch.as_tensor(value).tolist() for name, value in found.items()}

    def test_update_compute_reset_pickle(self, metric):
        self.update(metric)
        first = self.values(metric)
        again = pickle.loads(pickle.dumps(metric))
        assert self.values(again) == first
        metric.reset()
        self.update(metric)
        assert self.values(metric) == first

    def test_every_state_says_how_it_is_reduced(self, metric):
        assert metric._reductions
        assert all(reduction is not None for reduction in metric._reductions.values())

    def test_the_model_is_not_part_of_the_metric(self, metric):
        self.update(metric)
        assert not list(metric.parameters())
        assert len(pickle.dumps(metric)) < 20_000


class TestDataModules:
    @pytest.fixture(params=DATAMODULES)
    def make(self, request, tmp_path, monkeypatch):
        write = DATAMODULES[request.param]
        if write is None:
            return lambda **options: getattr(datamodules, request.param)(n_train=60, n_test=24, **options)
        root = tmp_path / "data"
        root.mkdir()
        write(root, monkeypatch)
        return lambda **options: getattr(datamodules, request.param)(root, **options)

    def test_loaders_give_images_and_labels(self, make):
        data = make(batch_size=4)
        data.prepare_data()
        data.setup("fit")
        for loader in (data.train_dataloader(), data.test_dataloader()):
            assert isinstance(loader, DataLoader)
            images, labels = next(iter(loader))
            assert images.dtype == torch.float32
            assert images.shape[0] == len(labels) == 4
            assert images.ndim == 4
            assert 0 <= int(labels.min()) <= int(labels.max()) < data.n_classes == len(data.classes)

    def test_the_same_seed_gives_the_same_data_and_noise(self, make):
        first, again, other = (make(seed=seed, label_noise=0.5, train_size=12) for seed in (3, 3, 4))
        for data in (first, again, other):
            data.setup("fit")
        assert torch.equal(first.train_dataset.targets, again.train_dataset.targets)
        assert torch.equal(first.train_dataset[0][0], again.train_dataset[0][0])
        assert len(first.train_dataset) == 12
        assert not torch.equal(first.train_dataset.targets, first.train_dataset.true_targets)
        assert not torch.equal(first.train_dataset.targets, other.train_dataset.targets)

    def test_setup_twice_changes_nothing(self, make):
        data = make(label_noise=0.5)
        data.setup("fit")
        targets = data.train_dataset.targets.clone()
        data.setup("test")
        assert torch.equal(data.train_dataset.targets, targets)

    def test_the_pool_protocol(self, make):
        data = make(labeled_size=0.5)
        data.setup("fit")
        image, index = data.unlabeled_dataset[0]
        assert (image.ndim, int(index)) == (3, 0)
        before = len(data.train_dataset)
        data.set_pseudo_labels([0, 1], [0, 0])
        assert len(data.train_dataset) == before + 2 == len(data.labeled_dataset) + 2

    def test_pickles(self, make):
        data = make()
        data.setup("fit")
        again = pickle.loads(pickle.dumps(data))
        assert torch.equal(again.train_dataset[0][0], data.train_dataset[0][0])

    @pytest.mark.parametrize("options", [{"label_noise": 1.5}, {"batch_size": 0}, {"noise_kind": "odd"}, {"seed": -1}])
    def test_bad_options_are_named(self, make, options):
        (name,) = options
        with pytest.raises(ValueError, match=f"The `{name}` parameter of `\\w+DataModule` must be"):
            make(**options)

    def test_a_run_with_the_callback(self, make):
        data = make(batch_size=8)
        data.setup("fit")
        image, _ = data.train_dataset[0]
        net = Net()
        channels = image.shape[0]
        net.features[0] = torch.nn.Conv2d(channels, 6, 3, padding=1)
        net.head[1] = torch.nn.Linear(8, data.n_classes)
        stopper = callbacks.NMFEarlyStopping(per_class=2, batches_per_class=1, ks=[1], log_figures=False)
        trainer = quiet_trainer(callbacks=[stopper], max_epochs=1)
        trainer.fit(net, datamodule=data)
        assert len(stopper.history) == 1
