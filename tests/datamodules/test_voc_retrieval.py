import pytest

from lightning_interp.datamodules.voc_retrieval import VOCRetrievalDataModule
from lightning_interp.exceptions import DatasetNotFoundError
from tests.data import voc

pytestmark = pytest.mark.filterwarnings("ignore:.*classes have fewer than:UserWarning")


@pytest.fixture
def root(tmp_path):
    voc.write(tmp_path, year=2010, lists={"trainval": 12, "val": 6})
    return tmp_path


def ready(root, **options):
    data = VOCRetrievalDataModule(root, **{"image_size": 32, **options})
    data.prepare_data()
    data.setup()
    return data


def test_database_and_queries(root):
    data = ready(root, batch_size=4)
    assert (len(data.database_dataset), data.protocols) == (11, ("semantic",))  # one of them is difficult in the main
    images, boxes, indices = next(iter(data.query_dataloader()))
    assert (len(images), boxes.shape, indices.tolist()) == (4, (4, 4), [0, 1, 2, 3])
    assert all(image.shape[1] == 32 for image in images)
    assert len(ready(root, image_set="val").database_dataset) == 6
    crop, box, _ = ready(root, box="crop").query_dataset[0]
    assert box.tolist() == [0, 0, crop.shape[2], crop.shape[1]]


def test_the_seed_draws_the_queries(root):
    names = [tuple(query.name for query in ready(root, n_queries=1, seed=seed).queries) for seed in (0, 0, 1, 2, 3, 4)]
    assert names[0] == names[1]
    assert len(set(names)) > 1


def test_a_download_where_there_is_nothing(tmp_path, monkeypatch):
    calls = []

    class Downloader:
        def __init__(self, root, **options):
            calls.append(options)
            voc.write(root, year=2010, lists={"trainval": 3})

    monkeypatch.setattr("torchvision.datasets.VOCDetection", Downloader)
    for _ in range(2):
        assert len(ready(tmp_path, download=True).database_dataset) == 3
    assert calls == [{"year": "2010", "image_set": "trainval", "download": True}]


def test_a_download_that_fails(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.datasets.VOCDetection", fail)
    with pytest.raises(
        DatasetNotFoundError, match=r"VOC2010 could not be downloaded to '.*no route to host\)\. Try again"
    ):
        ready(tmp_path, download=True)
    with pytest.raises(DatasetNotFoundError, match=r"There is no folder .*`download=True`"):
        ready(tmp_path)


def test_bad_options_are_named(root):
    with pytest.raises(ValueError, match="The `n_queries` parameter of `VOCRetrieval` must be"):
        ready(root, n_queries=0)
    with pytest.raises(ValueError, match="The `box` parameter of `VOCRetrievalDataModule` must be"):
        ready(root, box="whole")
