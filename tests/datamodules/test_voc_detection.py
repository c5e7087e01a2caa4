import pickle
import warnings

import pytest
import torch
from torch import nn
from torchvision.datasets import voc as torchvision_voc

from lightning_interp._lightning import LightningModule, Trainer
from lightning_interp.datamodules.voc_detection import VOCDetectionDataModule, collate_detection
from lightning_interp.exceptions import DatasetNotFoundError
from tests.data import voc
from tests.datasets.test_detection_pool import boxes


@pytest.fixture
def root(tmp_path):
    voc.write(tmp_path, year=2007, lists={"train": 6, "val": 3, "test": 4})
    voc.write(tmp_path, year=2012, lists={"train": 5, "val": 2}, seed=1)
    return tmp_path


def ready(root, **options):
    data = VOCDetectionDataModule(root, **options)
    data.prepare_data()
    data.setup()
    return data


def ids(batches):
    return [target["image_id"] for _, targets in batches for target in targets]


def test_parts_of_the_paper(root):
    data = pickle.loads(pickle.dumps(ready(root, batch_size=2)))
    assert (len(data.labeled_dataset), len(data.unlabeled_dataset), len(data.test_dataset)) == (6, 5, 4)
    assert (data.n_classes, data.val_dataset) == (20, None)
    images, targets = next(iter(data.test_dataloader()))
    assert [tuple(image.shape) for image in images] == [(3, 64, 128), (3, 64, 64)]
    assert [len(target["labels"]) for target in targets] == [2, 1]
    assert ids(data.test_dataloader()) == [voc.name(i, 2007) for i in range(9, 13)]
    assert sorted(ids(data.train_dataloader())) == [voc.name(i, 2007) for i in range(6)]
    image, index = data.unlabeled_dataset[3]
    assert (image.shape, index) == ((3, 64, 128), 3)
    images, indices = next(iter(data.predict_dataloader()))
    assert (len(images), indices.tolist()) == (2, [0, 1])


def test_parts_can_be_joined_and_left_out(root):
    data = ready(root, labeled="2007/train + 2012/train", unlabeled=None, val="2007/val+2012/val")
    assert (len(data.train_dataset), len(data.val_dataset), data.unlabeled_dataset) == (11, 5, None)
    assert ids(data.val_dataloader())[2:4] == ["000008", "2012_000005"]
    assert ids(data.predict_dataloader()) == ids(data.test_dataloader())
    with pytest.raises(RuntimeError, match="has no pool to take pictures from"):
        data.set_pseudo_labels([0], [boxes(1)])
    with pytest.raises(RuntimeError, match="call `setup` before"):
        VOCDetectionDataModule(root).set_pseudo_labels([0], [boxes(1)])


def test_difficult_objects_are_for_the_test_only(root):
    def difficult(dataset):
        return sum(int(dataset[i][1]["difficult"].sum()) for i in range(len(dataset)))

    data = ready(root, test="2007/train")
    assert (difficult(data.labeled_dataset), difficult(data.test_dataset)) == (0, 1)
    assert difficult(ready(root, keep_difficult=True).labeled_dataset) == 1


def test_images_of_a_class_lie_in_the_labelled_dataset(root):
    data = ready(root, labeled="2007/train+2007/val+2012/train", unlabeled=None)
    total = 0
    for label, name in enumerate(data.classes, start=1):
        found = data.class_images(name)
        shown = [i for i in range(14) if (data.labeled_dataset[i][1]["labels"] == label).any()]
        assert list(found) == shown
        for i, own in found.items():
            target = data.labeled_dataset[i][1]
            assert torch.equal(own, target["boxes"][target["labels"] == label])
        total += len(found)
    assert total > 14
    with_difficult = ready(root, labeled="2007/train", unlabeled=None, keep_difficult=True)
    (name,) = {data.classes[k - 1] for k in with_difficult.labeled_dataset[3][1]["labels"][1:]}
    assert [3 in with_difficult.class_images(name, ignore=ignore) for ignore in ((), ("difficult",))] == [True, False]


def test_the_pool_protocol(root):
    data = ready(root)
    data.set_pseudo_labels(torch.tensor([4, 1]), [boxes(2, 3), boxes(5)])
    assert (len(data.train_dataset), len(data.labeled_dataset)) == (8, 6)
    image, target = data.train_dataset[7]
    assert torch.equal(image, data.unlabeled_dataset[1][0])
    assert target["labels"].tolist() == [5]
    with pytest.raises(ValueError, match=r"labels in \[1, 20\]"):
        data.set_pseudo_labels([1], [boxes(21)])


def test_labelled_pictures_leave_the_pool(root):
    with pytest.warns(UserWarning, match="5 of 7 pictures of the pool are labelled too and are left out of it"):
        data = ready(root, labeled="2012/train", unlabeled="2012/train+2012/val")
    pool = data.unlabeled_dataset
    assert (len(pool), pool.indices.tolist(), pool[0][1]) == (2, [5, 6], 0)
    file = root / "VOCdevkit" / "VOC2012" / "ImageSets" / "Main" / "train.txt"
    kit = file.parents[2]
    for folder, kind in (("JPEGImages", "jpg"), ("Annotations", "xml")):
        (kit / folder / f"2012_000000.{kind}").rename(kit / folder / f"2007_000003.{kind}")
    file.write_text("2007_000003\n2012_000001\n")  # a picture of 2007 under its later name
    with pytest.warns(UserWarning, match="1 of 2 pictures"):
        assert len(ready(root).unlabeled_dataset) == 1


def test_order_is_decided_by_the_seed_and_epoch(root):
    def two_epochs(seed):
        loader = ready(root, seed=seed).train_dataloader()
        return ids(loader), ids(loader)

    first, second = two_epochs(0)
    assert (first, second) == two_epochs(0)
    assert first != second != two_epochs(1)[1]


class Recorder(LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen += list(zip(*batch, strict=True))
        return self.weight * 1.0

    def test_step(self, batch, batch_idx):
        self.seen += list(zip(*batch, strict=True))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def quiet(**options):
    off = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return Trainer(accelerator="cpu", max_epochs=1, enable_model_summary=False, **off, **options)


def test_mirrors_pictures_with_their_boxes(root):
    def epoch():
        module = Recorder()
        quiet().fit(module, datamodule=ready(root, batch_size=3, mirror=True))
        return module.seen

    seen, plain = epoch(), ready(root)
    known = {target["image_id"]: (image, target) for image, target in plain.labeled_dataset}
    mirrored = 0
    for image, target in seen:
        original, truth = known[target["image_id"]]
        if torch.equal(image, original):
            assert torch.equal(target["boxes"], truth["boxes"])
            continue
        mirrored += 1
        assert torch.equal(image, original.flip(-1))
        for box, old in zip(target["boxes"].int().tolist(), truth["boxes"].int().tolist(), strict=True):
            inside, before = (x[:, y0:y1, x0:x1] for x, (x0, y0, x1, y1) in ((image, box), (original, old)))
            assert torch.equal(inside, before.flip(-1))
    assert 0 < mirrored < len(seen) == 6
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(seen, epoch(), strict=True))
    module = Recorder()
    quiet().test(module, datamodule=ready(root, mirror=True), verbose=False)
    assert all(torch.equal(x, plain.test_dataset[i][0]) for i, (x, _) in enumerate(module.seen))


def test_a_trainer_runs_on_the_grown_set(root):
    class Grower(Recorder):
        def on_train_epoch_end(self):
            self.trainer.datamodule.set_pseudo_labels([2, 3], [boxes(1), boxes(2)])

    module, trainer = Grower(), quiet(reload_dataloaders_every_n_epochs=1)
    trainer.fit_loop.max_epochs = 2
    trainer.fit(module, datamodule=ready(root, num_workers=1))
    assert len(module.seen) == 6 + 8
    assert sum("image_id" not in target for _, target in module.seen) == 2


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"labeled": "2007"}, ValueError),
        ({"unlabeled": "2012/train+2013/train"}, ValueError),
        ({"test": "test/2007"}, ValueError),
        ({"val": ""}, ValueError),
        ({"batch_size": 0}, ValueError),
        ({"max_boxes": 1.5}, TypeError),
        ({"seed": -1}, ValueError),
    ],
)
def test_bad_options_are_named(tmp_path, options, error):
    (name,) = options
    with pytest.raises(error, match=f"The `{name}` parameter of `VOCDetectionDataModule` must be"):
        VOCDetectionDataModule(tmp_path, **options)


def test_collate():
    images, targets = collate_detection([(torch.zeros(3, 2, 2), {"boxes": 1}), (torch.ones(3, 4, 4), {"boxes": 2})])
    assert [image.shape[1] for image in images] == [2, 4]
    assert targets == [{"boxes": 1}, {"boxes": 2}]
    assert collate_detection([(torch.zeros(1), 4), (torch.zeros(1), 7)])[1].tolist() == [4, 7]


def archives(tmp_path, monkeypatch, *, test_lists=("test",)):
    """Puts the archives of 2007 and 2012 into ``root`` and teaches torchvision their checksums."""
    root, known = tmp_path / "root", {}
    root.mkdir()
    for key, lists in (("2007", {"train": 3}), ("2007-test", {"test": 2}), ("2012", {"train": 3})):
        folder, entry = tmp_path / key, torchvision_voc.DATASET_YEAR_DICT[key]
        folder.mkdir()
        voc.write(folder, year=int(key[:4]), lists=lists, first=5 * ("test" in lists))
        known[key] = {**entry, "md5": voc.pack(folder, root / entry["filename"])}
    monkeypatch.setattr(torchvision_voc, "DATASET_YEAR_DICT", known)
    return root


@pytest.mark.filterwarnings("ignore:Python 3.14 will:DeprecationWarning")  # torchvision's business
def test_download_unpacks_what_is_missing(tmp_path, monkeypatch):
    root = archives(tmp_path, monkeypatch)
    with pytest.raises(DatasetNotFoundError, match="download=True"):
        ready(root)
    data = ready(root, download=True)
    assert (len(data.labeled_dataset), len(data.unlabeled_dataset), len(data.test_dataset)) == (3, 3, 2)
    (root / "VOCdevkit" / "VOC2012" / "JPEGImages" / "2012_000001.jpg").unlink()  # as after an interruption
    assert len(ready(root, download=True).unlabeled_dataset) == 3
    for archive in root.glob("*.tar"):
        archive.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ready(root, download=True)  # complete: nothing is fetched


def test_failed_download_is_explained(tmp_path, monkeypatch):
    def download(*args, **options):
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision_voc, "download_and_extract_archive", download)
    VOCDetectionDataModule(tmp_path).prepare_data()
    with pytest.raises(DatasetNotFoundError, match=r"VOC2007 train could not be downloaded to .* \(no route to host\)"):
        VOCDetectionDataModule(tmp_path, download=True).prepare_data()
