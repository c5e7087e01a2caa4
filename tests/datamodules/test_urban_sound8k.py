import hashlib
import io
import tarfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
import torch

from lightning_interp.datamodules import UrbanSound8KDataModule, urban_sound8k
from lightning_interp.datasets import LogMel
from lightning_interp.exceptions import DatasetNotFoundError
from lightning_interp.models import UrbanSoundsCNN
from tests.data import urban_sound8k as fake

SMALL = LogMel(sample_rate=8000, seconds=0.5, n_mels=16, n_fft=512, hop=250)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    root = tmp_path_factory.mktemp("sound")
    fake.write(root, seconds=0.3)
    return root


def ready(root, **options):
    data = UrbanSound8KDataModule(root, spectrogram=SMALL, **options)
    data.prepare_data()
    data.setup()
    return data


def folds(subset):
    return sorted(set(subset.dataset.folds[subset.indices].tolist()))


@pytest.mark.parametrize(
    ("options", "train", "val", "test"),
    [
        ({}, [*range(1, 10)], None, [10]),
        ({"test_folds": [3]}, [1, 2, *range(4, 11)], None, [3]),
        ({"test_folds": (9, 10)}, [*range(1, 9)], None, [9, 10]),
        ({"test_folds": (1,), "val_folds": (10, 2)}, [*range(3, 10)], [2, 10], [1]),
    ],
)
def test_folds_are_kept_together(home, options, train, val, test):
    data = ready(home, **options)
    assert folds(data.train_dataset) == train
    assert folds(data.test_dataset) == test
    assert (data.val_dataset and folds(data.val_dataset)) == val
    parts = [part for part in (data.train_dataset, data.val_dataset, data.test_dataset) if part is not None]
    files = [part.dataset.files[i] for part in parts for i in part.indices.tolist()]
    assert len(set(files)) == len(files) == 100


def test_spectrograms_are_normalised_and_names_known(home):
    data = ready(home, val_folds=(9,))
    images = torch.stack([image for image, _ in data.train_dataset])
    assert images.shape == (80, 1, *SMALL.shape)
    assert abs(float(images.mean())) < 1e-3
    assert float(images.std()) == pytest.approx(1, abs=1e-3)
    assert data.classes[data.train_dataset[3][1]] == "dog_bark"
    plain = data.val_dataset.dataset
    assert torch.allclose(data.val_dataset[4][0], data.normalize(plain._spectrograms[4, None].float()))


def test_validation_folds_carry_the_noise_and_are_loaded(home):
    noisy = {"label_noise": 0.6, "batch_size": 20}
    first, again, other = (ready(home, val_folds=(8, 9), **noisy, seed=seed) for seed in (0, 0, 1))
    val = first.val_dataset
    assert 0.3 < (val.targets != val.true_targets).float().mean() < 0.8
    assert torch.equal(val.targets, again.val_dataset.targets)
    assert not torch.equal(val.targets, other.val_dataset.targets)
    assert torch.equal(torch.cat([y for _, y in first.val_dataloader()]), val.targets)
    first.setup("validate")
    assert first.val_dataset is val
    assert len(next(iter(ready(home, val_size=30, batch_size=100).val_dataloader()))[1]) == 30


def test_the_options_of_the_base(home):
    data = ready(home, train_size=40, labeled_size=20, label_noise=0.4, seed=2)
    assert data.labeled_dataset.true_targets.bincount().tolist() == [2] * 10
    assert len(data.unlabeled_dataset) == 20
    image, index = data.unlabeled_dataset[5]
    assert (image.shape, index) == ((1, *SMALL.shape), 5)


def test_the_default_fits_the_network_of_the_thesis(home):
    data = UrbanSound8KDataModule(home, test_folds=[10], train_size=4, batch_size=4)
    data.setup()
    assert data.spectrogram.shape == (64, 128)
    images, _ = next(iter(data.train_dataloader()))
    assert UrbanSoundsCNN(width=2, image_size=data.spectrogram.shape)(images).shape == (4, 10)


def test_skip_and_cache_reach_the_dataset(tmp_path):
    clips = fake.write(tmp_path, seconds=0.1)
    clips[5][0].unlink()
    with pytest.warns(UserWarning, match="1 of 90 clips are missing or damaged"):
        data = ready(tmp_path, damaged="skip", cache_dir=tmp_path / "cache")
    assert len(data.train_dataset) == 89
    assert len(list((tmp_path / "cache").iterdir())) == 9


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"test_folds": ()}, "`test_folds` .* must be at least one fold"),
        ({"test_folds": (0,)}, r"`test_folds` .* must be an int in \[1, 10\]"),
        ({"test_folds": range(1, 11)}, "`test_folds` .* must be fewer"),
        ({"test_folds": (1, 1)}, "`test_folds` .* must be different folds"),
        ({"val_folds": (3, 10)}, r"`val_folds` .* must be other folds than `test_folds` \(10,\)"),
        ({"val_folds": (3,), "val_size": 0.1}, "`val_size` .* must be 0 when `val_folds` are given"),
        ({"augment": True}, "`augment` .* must be False: a mirrored sound runs backwards"),
    ],
)
def test_bad_options(tmp_path, options, match):
    with pytest.raises(ValueError, match=match):
        UrbanSound8KDataModule(tmp_path, **options)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def official(tmp_path, monkeypatch):
    """A small archive on a server of this machine in the place of the official one; returns where to download it to."""
    fake.write(tmp_path / "source", seconds=0.1)
    archive = tmp_path / "UrbanSound8K.tar.gz"
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path))
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(urban_sound8k, "MD5", fake.pack(tmp_path / "source", archive))
    monkeypatch.setattr(urban_sound8k, "URL", f"http://127.0.0.1:{server.server_port}/{archive.name}")
    yield tmp_path / "target"
    server.shutdown()
    server.server_close()


@pytest.mark.filterwarnings("ignore:Python 3.14 will:DeprecationWarning")
def test_download_unpacks_once(official):
    data = ready(official, download=True)
    assert len(data.train_dataset) == 90
    assert {path.name for path in official.iterdir()} == {"UrbanSound8K.tar.gz", "UrbanSound8K"}
    (official / "UrbanSound8K.tar.gz").unlink()
    assert len(ready(official, download=True).test_dataset) == 10


def test_nothing_is_downloaded_unasked(official):
    with pytest.raises(DatasetNotFoundError, match="Pass the right `root`, or download=True"):
        ready(official)
    assert not official.exists()


@pytest.mark.parametrize("what", ["checksum", "unsafe", "missing"])
def test_failed_download_is_explained_and_leaves_no_trace(official, monkeypatch, what):
    archive = official.parent / "UrbanSound8K.tar.gz"
    if what == "checksum":
        archive.write_bytes(archive.read_bytes()[:-10])
    elif what == "missing":
        archive.unlink()
    else:
        with tarfile.open(archive, "w:gz") as tar:
            tar.addfile(tarfile.TarInfo("../evil"), io.BytesIO())
        monkeypatch.setattr(urban_sound8k, "MD5", hashlib.md5(archive.read_bytes()).hexdigest())
    with pytest.raises(
        DatasetNotFoundError, match=r"could not be downloaded to '.*target' \(.+\). Try again, or fetch"
    ):
        ready(official, download=True)
    assert not [path for path in official.iterdir() if path.is_dir()]
    assert not (official.parent / "evil").exists()
