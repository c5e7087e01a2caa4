import itertools
import tarfile
from pathlib import Path

import pytest
import torch

from lightning_interp.datamodules import ImageFolderDataModule
from lightning_interp.exceptions import DatasetNotFoundError
from tests.data import image_folder
from tests.data.shared import shared


def ready(root, **options):
    data = ImageFolderDataModule(root, **options)
    data.setup()
    return data


@pytest.mark.parametrize("in_memory", [False, True])
def test_reads_both_folders(tmp_path, in_memory):
    image_folder.write(tmp_path)
    data = ready(tmp_path, in_memory=in_memory, mean=[0, 0, 0], std=[1, 1, 1])
    assert data.classes == ["ant", "bee", "cow"]
    images, labels = next(iter(data.test_dataloader()))
    assert images.shape == (18, 3, 20, 20)
    assert torch.equal((images[:, 0, 0, 0] * 255).round().long(), 40 * labels)
    assert ready(tmp_path, size=8, labeled_size=6).unlabeled_dataset[0][0].shape == (3, 8, 8)


def test_memory_and_workers_change_nothing(tmp_path):
    image_folder.write(tmp_path)
    loaders = [
        ready(tmp_path, in_memory=in_memory, num_workers=workers, label_noise=0.5, batch_size=5).train_dataloader()
        for in_memory, workers in ((False, 0), (True, 0), (False, 2))
    ]
    first, *others = [[torch.cat(parts) for parts in zip(*loader, strict=True)] for loader in loaders]
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_classes_must_agree(tmp_path):
    image_folder.write(tmp_path)
    (tmp_path / "test" / "cow").rename(tmp_path / "test" / "cows")
    match = r"Only in train: \['cow'\]; only in test: \['cows'\]. Did you mean 'cow'\?"
    with pytest.raises(DatasetNotFoundError, match=match):
        ready(tmp_path)


def test_missing_split(tmp_path):
    with pytest.raises(DatasetNotFoundError, match=r"There is no folder .*train"):
        ready(tmp_path)


def test_real_pictures(tmp_path):
    # a compressed archive is read in order: its first pictures are cheap
    with tarfile.open(shared("cifar10_images.tar.gz")) as archive:
        members = [m for m in itertools.islice(archive, 60) if m.isfile()]
        for member in members:
            for folder in ("train/airplane", "test/airplane", "train/other", "test/other"):
                target = tmp_path / folder / Path(member.name).name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.extractfile(member).read())
    data = ready(tmp_path, in_memory=True)
    images, labels = next(iter(data.train_dataloader()))
    assert len(members) > 50
    assert images.shape[1:] == (3, 32, 32)
    assert abs(images.mean()) < 0.2
    assert 0.8 < images.std() < 1.2
    assert labels.unique().tolist() == [0, 1]
