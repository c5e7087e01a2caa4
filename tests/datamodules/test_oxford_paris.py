import pickle
import shutil

import pytest

from lightning_interp.datamodules import oxford_paris as module
from lightning_interp.datamodules.oxford_paris import OxfordParisDataModule
from lightning_interp.datasets.oxford_paris_files import LANDMARKS, ORIGINALS
from lightning_interp.exceptions import DatasetNotFoundError
from tests.data import oxford_paris

SIZES = {"oxford5k": 60, "paris6k": 80}  # pictures in the archives
PARIS = ("paris_1-v1.tgz", "paris_2-v1.tgz")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """What would be downloaded, in one folder; the unpacked originals are beside it."""
    plain, files = tmp_path_factory.mktemp("plain"), tmp_path_factory.mktemp("server")
    for name in ORIGINALS:
        oxford_paris.write(plain, name)
    oxford_paris.pack(plain / "oxbuild_images", files / "oxbuild_images-v1.tgz")
    oxford_paris.pack(plain / "gt_files_170407", files / "gt_files_170407.tgz")
    oxford_paris.pack(plain / "paris_120310", files / "paris_120310.tgz")
    for i, archive in enumerate(PARIS):  # one half of the landmarks in each
        half = plain / f"half{i}"
        half.mkdir()
        for landmark in (*LANDMARKS["paris6k"], "general")[i::2]:
            shutil.copytree(plain / "paris" / landmark, half / landmark)
        oxford_paris.pack(half, files / archive, inside="paris/")
    for name in ("roxford5k", "rparis6k"):
        shutil.copy(plain / name / f"gnd_{name}.pkl", files)
    return files


@pytest.fixture
def fetched(server, monkeypatch):
    """Names of what was downloaded, with the real sizes and checksums replaced by those of the fixtures."""
    calls = []

    def download_url(url, root, filename, md5=None):
        calls.append((url, md5))
        shutil.copy(server / filename, root)

    monkeypatch.setattr("torchvision.datasets.utils.download_url", download_url)
    for name, n in SIZES.items():
        monkeypatch.setitem(module.PICTURES, name, module.PICTURES[name]._replace(n_files=n))
    monkeypatch.setattr(module, "REVISITED", {"roxford5k": 44, "rparis6k": 44})
    monkeypatch.setattr(module, "N_QUERIES", 11)
    return calls


def ready(root, **options):
    data = OxfordParisDataModule(root, **{"image_size": 20, **options})
    data.prepare_data()
    data.setup()
    return data


@pytest.mark.parametrize("name", ORIGINALS)
def test_download_unpack_and_read(fetched, tmp_path, name):
    data = pickle.loads(pickle.dumps(ready(tmp_path / "new", name=name, download=True)))
    assert (len(data.database_dataset), len(data.queries)) == ((60, 55) if name in LANDMARKS else (44, 11))
    images, boxes, _ = next(iter(data.query_dataloader()))
    assert [tuple(image.shape) for image in images] == [(3, 20, 24)] * 8
    assert boxes.shape == (8, 4)
    files = [url.rpartition("/")[2] for url, _ in fetched]
    pictures = ["oxbuild_images-v1.tgz"] if ORIGINALS[name] == "oxford5k" else [*PARIS]
    texts = {"oxford5k": "gt_files_170407.tgz", "paris6k": "paris_120310.tgz"}.get(name, f"gnd_{name}.pkl")
    assert files == [*pictures, texts]
    folders = {"oxford5k": {"oxbuild_images", "gt_files_170407"}, "paris6k": {"paris", "paris_120310"}}
    kept = (
        folders[ORIGINALS[name]] if name in LANDMARKS else {sorted(folders[ORIGINALS[name]])[-1 if "ox" in name else 0]}
    )
    assert {path.name for path in (tmp_path / "new").iterdir()} == {*files, *kept}
    ready(tmp_path / "new", name=name, download=True)
    assert len(fetched) == len(files)  # nothing is fetched twice


def test_addresses_and_checksums(fetched, tmp_path):
    ready(tmp_path, download=True)
    sums = {
        "oxbuild_images-v1.tgz": "8f0017cc5d671f35011d6968269fbf47",
        "gt_files_170407.tgz": "06c4dee0ad954f6ee122c82390548537",
    }
    folder = "https://www.robots.ox.ac.uk/~vgg/data/oxbuildings"
    assert fetched == [(f"{folder}/{name}", md5) for name, md5 in sums.items()]
    ready(tmp_path, name="roxford5k", download=True)
    assert fetched[2:] == [("http://cmp.felk.cvut.cz/revisitop/data/datasets/roxford5k/gnd_roxford5k.pkl", None)]


def test_sizes_of_the_published_sets():
    assert {name: part.n_files for name, part in module.PICTURES.items()} == {"oxford5k": 5063, "paris6k": 6412}
    assert (module.REVISITED, module.N_QUERIES) == ({"roxford5k": 4993, "rparis6k": 6322}, 70)


def test_archives_that_lie_there_are_unpacked(fetched, server, tmp_path):
    shutil.copy(server / "oxbuild_images-v1.tgz", tmp_path / "oxbuild_images.tgz")  # the older issue
    shutil.copy(server / "gt_files_170407.tgz", tmp_path)
    assert len(ready(tmp_path).database_dataset) == 60
    assert fetched == []


def test_one_root_for_all_four(fetched, tmp_path):
    for name in ORIGINALS:
        ready(tmp_path, name=name, download=True)
    assert len(fetched) == 7
    assert [len(ready(tmp_path, name=name).queries) for name in ORIGINALS] == [55, 55, 11, 11]


@pytest.mark.parametrize("damage", ["cut", "page", "few"])
def test_archives_cut_short_do_not_look_complete(fetched, server, tmp_path, damage):
    archive = tmp_path / PARIS[0]
    shutil.copy(server / PARIS[1], tmp_path)
    content = (server / PARIS[0]).read_bytes()
    archive.write_bytes({"cut": content[: len(content) // 2], "page": b"<html>302 Found</html>"}.get(damage, content))
    if damage == "few":
        shutil.copy(server / PARIS[0], tmp_path / PARIS[1])
    problem = r"40 instead of 80 files \*\.jpg|paris" if damage == "few" else ""
    with pytest.raises(DatasetNotFoundError, match=rf"paris_1-v1.tgz and paris_2-v1.tgz could not be .*\(.*{problem}"):
        ready(tmp_path, name="paris6k")
    assert {path.name for path in tmp_path.iterdir()} == {*PARIS}


def test_evil_archives_and_pickles(fetched, server, tmp_path, monkeypatch):
    oxford_paris.pack(server, tmp_path / "oxbuild_images.tgz", inside="../")
    with pytest.raises(DatasetNotFoundError, match="is not safe to unpack"):
        ready(tmp_path)
    oxford_paris.write_pictures(tmp_path / "jpg", "oxford5k")

    def evil(url, root, filename, md5=None):
        (tmp_path / root / filename).write_bytes(b"cos\nsystem\n(S'id'\ntR.")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", evil)
    with pytest.raises(DatasetNotFoundError, match=r"gnd_roxford5k.pkl could not be .*it wants to build os\.system"):
        ready(tmp_path, name="roxford5k", download=True)
    assert not (tmp_path / "gnd_roxford5k.pkl").exists()


def test_a_pickle_of_another_size(fetched, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "REVISITED", {"rparis6k": 6322})
    oxford_paris.write_pictures(tmp_path / "jpg", "paris6k")
    with pytest.raises(DatasetNotFoundError, match="it has 44 pictures and 11 queries instead of 6322 and 11"):
        ready(tmp_path, name="rparis6k", download=True)
    assert [path.name for path in tmp_path.iterdir()] == ["jpg"]


def test_a_download_that_fails(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", fail)
    with pytest.raises(
        DatasetNotFoundError, match=r"oxbuild_images-v1.tgz could not be .*no route to host.* or put https"
    ):
        ready(tmp_path, download=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ORIGINALS)
def test_nothing_there(tmp_path, name):
    with pytest.raises(DatasetNotFoundError, match=f"There are no pictures .* of {name} in .*`download=True`"):
        ready(tmp_path, name=name)
    oxford_paris.write_pictures(tmp_path / "jpg", ORIGINALS[name])
    with pytest.raises(DatasetNotFoundError, match=f"There is no ground truth of {name} in .*`download=True`"):
        ready(tmp_path, name=name)


def test_bad_options_are_named(tmp_path):
    with pytest.raises(
        ValueError, match=r"The `name` parameter of `OxfordParisDataModule` must be .*Did you mean 'paris6k'"
    ):
        OxfordParisDataModule(tmp_path, name="paris5k")
    with pytest.raises(ValueError, match="The `box` parameter of `OxfordParisDataModule` must be"):
        OxfordParisDataModule(tmp_path, box="none")
