import pickle

import pytest
import torch
from PIL import Image

from lightning_interp._lightning import LightningModule, Trainer
from lightning_interp.datamodules.retrieval import RetrievalDataModule, collate_retrieval
from lightning_interp.datasets.retrieval_images import RetrievalImages, RetrievalQuery

SIZES = [(48, 32), (32, 48), (40, 40), (32, 32), (64, 32)]  # width and height
QUIET = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "enable_model_summary": False}


class Own(RetrievalDataModule):
    def __init__(self, root, **options):
        super().__init__(**options)
        self.root = root

    def read(self):
        files = sorted(self.root.iterdir())
        grades = {"good": (1,), "ok": (), "junk": ()}
        queries = [RetrievalQuery(files[i].stem, files[i], (4, 8, 20, 24), i, grades) for i in (0, 1, 3)]
        options = {"image_size": self.image_size, "transform": self.normalize}
        return RetrievalImages(files, queries=queries, protocols=["original"], **options)


@pytest.fixture
def root(tmp_path):
    for i, size in enumerate(SIZES):
        Image.new("RGB", size, (200, 50 * i, 0)).save(tmp_path / f"{i}.png")
    (tmp_path / "2.png").write_bytes(b"x")
    return tmp_path


def ready(root, **options):
    data = Own(root, **{"image_size": 16, "batch_size": 2, **options})
    data.setup()
    return data


@pytest.mark.parametrize("num_workers", [0, 2])
def test_two_loaders(root, num_workers):
    data = pickle.loads(pickle.dumps(ready(root, num_workers=num_workers)))
    database, queries = data.test_dataloader()
    batches = list(database)
    assert [indices.tolist() for _, indices in batches] == [[0, 1], [2, 3], [4]]
    shapes = [None if image is None else tuple(image.shape[1:]) for images, _ in batches for image in images]
    assert shapes == [(16, 24), (24, 16), None, (16, 16), (16, 32)]
    (images, boxes, indices), (last, _, _) = queries
    assert [tuple(image.shape[1:]) for image in (*images, *last)] == [(16, 24), (24, 16), (16, 16)]
    assert (boxes.tolist(), indices.tolist()) == ([[2, 4, 10, 12]] * 2, [0, 1])
    assert torch.equal(images[1], batches[0][0][1])
    assert len(data.predict_dataloader()) == 2


def test_crops_and_pictures_as_they_are(root):
    images, boxes, _ = next(iter(ready(root, box="crop", image_size=None).query_dataloader()))
    assert [tuple(image.shape) for image in images] == [(3, 16, 16)] * 2
    assert boxes.tolist() == [[0, 0, 16, 16]] * 2


def test_normalised_and_back(root):
    image = ready(root).database_dataset[1][0]
    wanted = torch.tensor([200 / 255, 50 / 255, 0])
    red = (wanted[0] - 0.485) / 0.229
    assert torch.allclose(image[0], red.expand_as(image[0]), atol=1e-5)
    data = ready(root, mean=(0.5, 0.5, 0.5), std=(2, 2, 2))
    pixels = data.normalize.invert(data.database_dataset[1][0])
    assert torch.allclose(pixels, wanted[:, None, None].expand_as(pixels), atol=1e-6)


def test_what_is_known_of_the_queries(root):
    data = ready(root)
    assert [query.name for query in data.queries] == ["0", "1", "3"]
    assert data.protocols == ("original",)
    database = data.database_dataset
    data.setup("test")
    assert data.database_dataset is database
    assert len(data.query_dataset) == 3


def test_a_trainer_says_which_loader_it_is(root):
    class Recorder(LightningModule):
        def predict_step(self, batch, batch_idx, dataloader_idx=0):
            return dataloader_idx, len(batch), sum(image is not None for image in batch[0])

    found = Trainer(accelerator="cpu", **QUIET).predict(Recorder(), datamodule=Own(root, image_size=16, batch_size=1))
    assert found == [[(0, 2, n) for n in (1, 1, 0, 1, 1)], [(1, 3, 1)] * 3]


def test_loaders_leave_the_global_state_alone(root):
    before = torch.get_rng_state()
    for loader in ready(root).test_dataloader():
        collate_retrieval([loader.dataset[0]])
        list(loader)
    assert torch.equal(torch.get_rng_state(), before)


def test_order_of_calls(root):
    data = Own(root)
    for name in ("database_dataset", "query_dataset", "queries", "protocols"):
        with pytest.raises(RuntimeError, match=r"`Own` has read no pictures yet\. Call `setup` first"):
            getattr(data, name)
    with pytest.raises(RuntimeError, match=r"`Own` has nothing to train on\. Use it with `Trainer.test`"):
        data.train_dataloader()


@pytest.mark.parametrize(
    ("options", "error"),
    [({"box": "crops"}, ValueError), ({"batch_size": 0}, ValueError), ({"num_workers": -1}, ValueError),
     ({"seed": 0.5}, TypeError)],
)  # fmt: skip
def test_bad_options_are_named(root, options, error):
    with pytest.raises(error, match=f"The `{next(iter(options))}` parameter of `Own` must be"):
        Own(root, **options)
