import pickle
import zipfile

import pytest
import torch

from lightning_interp._lightning import LightningModule, Trainer
from lightning_interp.datamodules.icoseg import ICosegDataModule, collate_group
from lightning_interp.exceptions import DatasetNotFoundError
from tests.data import icoseg

BEAR, TAJ, TAJ_2004, ELEPHANTS, GYMNASTICS, BROWN = icoseg.GROUPS


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("icoseg")
    icoseg.write(root)
    return root


def ready(root, **options):
    data = ICosegDataModule(root, **options)
    data.prepare_data()
    data.setup()
    return data


def test_all_groups_each_with_its_own_loader(root):
    data = pickle.loads(pickle.dumps(ready(root, image_size=24, batch_size=4)))
    assert data.group_names == list(icoseg.GROUPS)
    loaders = data.test_dataloader()
    assert [[len(images) for images, _ in loader] for loader in loaders] == [[3], [2], [4], [4, 2], [2], [2]]
    assert len(data.predict_dataloader()) == 6
    for name, loader in zip(data.group_names, loaders, strict=True):
        dataset = data.group_dataset(name)
        for i, (image, mask) in enumerate(pair for batch in loader for pair in zip(*batch, strict=True)):
            assert image.shape == (3, 24, 24)
            assert torch.equal(image, dataset[i][0])
            assert torch.equal(mask, dataset[i][1])


def test_groups_in_the_order_they_are_named(root):
    data = ready(root, groups=["gymnastics", "021", "Elephants"])
    assert data.group_names == [GYMNASTICS, ELEPHANTS]
    assert data.group_dataset("36") is data.group_dataset("gym")
    assert ready(root, groups="elephants").group_names == [ELEPHANTS]
    assert ready(root, groups=["017"]).group_dataset("taj mahal").group == TAJ
    images, _ = next(iter(data.test_dataloader()[1]))
    assert images.shape == (6, 3, 224, 224)


def test_normalised_and_back(root):
    data = ready(root, groups="elephants", image_size=16)
    plain = ready(root, groups="elephants", image_size=16, mean=(0, 0, 0), std=(1, 1, 1)).group_dataset("021")
    images, _ = next(iter(data.predict_dataloader()[0]))
    pixels = torch.stack([image for image, _ in plain])
    assert torch.allclose(data.normalize.invert(images), pixels, atol=1e-6)
    red = (pixels[:, 0] - 0.485) / 0.229
    assert torch.allclose(images[:, 0], red, atol=1e-5)


def test_pictures_as_they_are_come_in_lists(root):
    images, masks = next(iter(ready(root, groups="021", image_size=None).test_dataloader()[0]))
    assert [tuple(image.shape[1:]) for image in images[:3]] == [(48, 48), (48, 44), (40, 48)]
    assert [mask.shape for mask in masks] == [image.shape[1:] for image in images]
    assert isinstance(collate_group([(torch.zeros(3, 4, 4), torch.zeros(4, 4))] * 2)[1], torch.Tensor)


def test_a_trainer_says_which_group_it_is(root):
    class Recorder(LightningModule):
        def predict_step(self, batch, batch_idx, dataloader_idx=0):
            return dataloader_idx, len(batch[0])

        test_step = predict_step

    off = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "enable_model_summary": False}
    trainer = Trainer(accelerator="cpu", **off)
    both = trainer.predict(Recorder(), datamodule=ICosegDataModule(root, groups=["002", "021"], image_size=16))
    assert both == [[(0, 3)], [(1, 6)]]
    assert trainer.predict(Recorder(), datamodule=ICosegDataModule(root, groups="002", image_size=16)) == [(0, 3)]


def test_there_is_nothing_to_train_on(root):
    with pytest.raises(RuntimeError, match=r"has nothing to train on\. Use it with `Trainer.test`"):
        ready(root, groups="021").train_dataloader()


def test_the_archive_is_unpacked(root, tmp_path):
    icoseg.pack(root, tmp_path / "CMU_Cornell_iCoseg_dataset.zip")
    data = ready(tmp_path, image_size=16)
    assert data.group_names == list(icoseg.GROUPS)
    assert {path.name for path in tmp_path.iterdir()} == {"CMU_Cornell_iCoseg_dataset.zip", "dataset_public"}
    (tmp_path / "CMU_Cornell_iCoseg_dataset.zip").write_bytes(b"")  # not looked at again
    assert len(ready(tmp_path, image_size=16).group_names) == 6


@pytest.mark.parametrize("content", [b"<html>302 Found</html>", None, "../evil.txt", "dataset/readme.txt"])
def test_archives_that_cannot_be_unpacked(root, tmp_path, content):
    archive = tmp_path / "CMU_Cornell_iCoseg_dataset.zip"
    if isinstance(content, bytes):
        archive.write_bytes(content)
    elif content is None:  # a download cut short
        icoseg.pack(root, archive)
        archive.write_bytes(archive.read_bytes()[:2000])
    else:
        with zipfile.ZipFile(archive, "w") as packed:
            packed.writestr(content, "x")
    with pytest.raises(DatasetNotFoundError, match=r"iCoseg_dataset.zip' could not be unpacked \(.*\). Fetch it again"):
        ready(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


def test_nothing_there(tmp_path):
    with pytest.raises(DatasetNotFoundError, match=r"There is no folder .* put CMU_Cornell_iCoseg_dataset.zip"):
        ready(tmp_path)


def test_order_of_calls(root):
    data = ICosegDataModule(root)
    for call in (data.test_dataloader, lambda: data.group_names, lambda: data.group_dataset("021")):
        with pytest.raises(RuntimeError, match=r"has read no groups yet\. Call `setup` first"):
            call()


@pytest.mark.parametrize(
    ("options", "error"),
    [({"groups": []}, ValueError), ({"groups": ""}, ValueError), ({"groups": ["elefants"]}, ValueError),
     ({"groups": [21]}, TypeError), ({"batch_size": 0}, ValueError), ({"num_workers": 1.0}, TypeError)],
)  # fmt: skip
def test_bad_options_are_named(root, options, error):
    (name,) = options
    with pytest.raises(error, match=f"The `{name}` parameter of `ICosegDataModule` must be"):
        ready(root, **options)
    with pytest.raises(
        ValueError, match=r"The `name` parameter of `ICosegDataModule.group_dataset` must be .*Elephants"
    ):
        ready(root, groups="021").group_dataset("Taj Mahal")
