import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from lightning_interp.datamodules import broden
from lightning_interp.datamodules.broden import BrodenDataModule
from lightning_interp.exceptions import DatasetNotFoundError
from tests.data import broden as fake


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("broden")
    fake.write(root, size=32)
    fake.write(root, size=48, n=12, name="broden1_384")
    return root


def ready(root, **options):
    data = BrodenDataModule(root, **options)
    data.prepare_data()
    data.setup()
    return data


def test_splits_of_the_index(root):
    data = ready(root, batch_size=3)
    images = [fake.image_name(i) for i in range(16)]
    assert {row.image for row in data.train_dataset.rows} == {each for each in images if fake.hashed(each) <= 0.7}
    assert len(data.train_dataset) + len(data.val_dataset) == 16
    assert data.test_dataset is data.val_dataset
    assert data.train_dataset.concepts == data.val_dataset.concepts == data.concepts
    batch, targets = next(iter(data.train_dataloader()))
    assert (batch.shape, len(targets)) == ((3, 3, 32, 32), 3)
    assert all("color" in target for target in targets)


def test_options_reach_the_dataset(root):
    data = ready(root, image_size=384, categories=["part", "object"], transform=lambda image: image - 1)
    assert list(data.concepts) == ["part", "object"]
    image, _ = data.train_dataset[0]
    assert (image.shape, bool(image.max() <= 0)) == ((3, 48, 48), True)
    assert len(ready(root / "broden1_384").train_dataset) == len(ready(root, image_size=384).train_dataset)


def test_strict_or_not(tmp_path):
    fake.write(tmp_path, size=32)
    (tmp_path / "broden1_224" / "images" / fake.image_name(3)).unlink()
    with pytest.raises(DatasetNotFoundError, match=r"Line \d+ of '.*index.csv': there is no file"):
        ready(tmp_path)
    with pytest.warns(UserWarning, match=r"1 rows or categories of .* are left out. Line \d+ of"):
        data = ready(tmp_path, strict=False)
    assert len(data.train_dataset.skipped) + len(data.val_dataset.skipped) == 1
    assert len(data.train_dataset) + len(data.val_dataset) == 15


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"image_size": 256}, "`image_size` parameter of `BrodenDataModule` must be 224, 227 or 384. Got 256"),
        ({"test_split": "test"}, "`split` parameter of `Broden` must be None or one of 'train', 'val'"),
        ({"categories": ["colour"]}, "`categories` .* Did you mean 'color'"),
    ],
)
def test_bad_options(root, options, match):
    with pytest.raises(ValueError, match=match):
        ready(root, **options)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def official(tmp_path, monkeypatch):
    """A small archive on a server of this machine in the place of the official one; returns where to download it to."""
    fake.write(tmp_path, size=32)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path))
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(broden, "MD5", {**broden.MD5, 224: fake.pack(tmp_path)})
    monkeypatch.setattr(broden, "URL", f"http://127.0.0.1:{server.server_port}/")
    yield tmp_path / "target"
    server.shutdown()
    server.server_close()


def test_download_unpacks_once(official):
    data = ready(official, download=True)
    assert len(data.train_dataset) + len(data.val_dataset) == 16
    assert {path.name for path in official.iterdir()} == {"broden1_224.zip", "broden1_224"}
    (official / "broden1_224.zip").unlink()
    (official.parent / "broden1_224.zip").unlink()
    assert len(ready(official, download=True).train_dataset) == len(data.train_dataset)


def test_nothing_is_downloaded_unasked(official):
    with pytest.raises(DatasetNotFoundError, match=r"no file '.*index.csv'. Pass the right `root`, or download=True"):
        ready(official)
    assert not official.exists()


@pytest.mark.parametrize("what", ["checksum", "missing", "no archive", "other archive"])
def test_failed_download_is_explained_and_leaves_no_trace(official, monkeypatch, what):
    archive = official.parent / "broden1_224.zip"
    if what == "checksum":
        archive.write_bytes(archive.read_bytes()[:-10])
    elif what == "missing":
        archive.unlink()
    else:
        monkeypatch.setattr(broden, "MD5", {224: None})
        archive.write_bytes(b"<html>")
        if what == "other archive":
            with zipfile.ZipFile(archive, "w") as packed:
                packed.writestr("../evil", "x")
    with pytest.raises(
        DatasetNotFoundError, match=r"could not be downloaded to '.*target' \(.+\). Try again, or fetch"
    ):
        ready(official, download=True)
    assert not [path for path in official.iterdir() if path.is_dir()]
    assert not (official.parent / "evil").exists()
