import pytest
import torch

from lightning_interp.datamodules import ImageNetDataModule
from lightning_interp.datamodules.imagenet import class_names
from lightning_interp.exceptions import DatasetNotFoundError
from tests.data import imagenet

WNIDS = list(imagenet.NAMES)


def ready(root, **options):
    data = ImageNetDataModule(root, size=options.pop("size", 16), **options)
    data.prepare_data()
    data.setup()
    return data


def red(data, image):
    return round(float(data.normalize.invert(image)[0].median()) * 255)


def test_reads_folders_names_and_constants(tmp_path):
    imagenet.write(tmp_path)
    data = ready(tmp_path, size=224)
    assert data.wnids == WNIDS
    assert data.classes == ["tench, Tinca tinca", "goldfish, Carassius auratus", "crane", "crane"]
    assert (len(data.train_dataset), len(data.test_dataset), data.n_classes) == (24, 12, 4)
    image, label = data.test_dataset[3]
    assert (image.shape, label) == ((3, 224, 224), 1)
    assert torch.allclose(image[:, 0, 0] * torch.tensor([0.229, 0.224, 0.225]) + torch.tensor([0.485, 0.456, 0.406]),
                          torch.tensor([60, 0, 128]) / 255, atol=1e-5)  # fmt: skip


def test_without_meta_the_names_are_the_wnids(tmp_path):
    imagenet.write(tmp_path, meta=False)
    assert ready(tmp_path).classes == WNIDS


@pytest.mark.parametrize("wnids", [["n03126707", "n01443537"], ("n01443537", "n03126707", "n03126707")])
def test_classes_by_wnid(tmp_path, wnids):
    imagenet.write(tmp_path)
    data = ready(tmp_path, use_classes=wnids)
    assert data.wnids == ["n01443537", "n03126707"]
    assert data.classes == ["goldfish, Carassius auratus", "crane"]
    assert [red(data, image) for image, _ in list(data.test_dataset)[::3]] == [60, 180]
    assert data.test_dataset.targets.tolist() == [0] * 3 + [1] * 3


def test_a_number_of_classes_is_drawn_by_the_seed(tmp_path):
    imagenet.write(tmp_path)
    drawn = [ready(tmp_path, use_classes=2, seed=seed).wnids for seed in range(12)]
    assert drawn[3] == ready(tmp_path, use_classes=2, seed=3).wnids
    assert all(wnids == sorted(set(wnids)) and len(wnids) == 2 for wnids in drawn)
    assert {wnid for wnids in drawn for wnid in wnids} == set(WNIDS)
    assert ready(tmp_path, use_classes=4).wnids == WNIDS


@pytest.mark.parametrize(("chosen", "error"), [(1, ValueError), (5, ValueError), (True, TypeError)])
def test_bad_number_of_classes(tmp_path, chosen, error):
    imagenet.write(tmp_path)
    with pytest.raises(error, match=r"`use_classes` parameter of `ImageNetDataModule` must be an int in \[2, 4\]"):
        ready(tmp_path, use_classes=chosen)


def test_unknown_wnid(tmp_path):
    imagenet.write(tmp_path)
    match = r"`use_classes` .* must be class folders of '.*train'. Got 'n01440765'. Did you mean 'n01440764'"
    with pytest.raises(ValueError, match=match):
        ready(tmp_path, use_classes=["n01443537", "n01440765"])


def test_classes_of_train_and_val_must_agree_unless_chosen(tmp_path):
    imagenet.write(tmp_path)
    (tmp_path / "val" / "n03126707").rename(tmp_path / "val" / "n00000001")
    with pytest.raises(DatasetNotFoundError, match=r"Only in one of them: \['n00000001', 'n03126707'\]"):
        ready(tmp_path)
    assert ready(tmp_path, use_classes=WNIDS[:2]).n_classes == 2
    with pytest.raises(DatasetNotFoundError, match=r"no pictures .*val.n03126707"):
        ready(tmp_path, use_classes=WNIDS[2:])


def test_the_options_of_the_base(tmp_path):
    imagenet.write(tmp_path)
    data = ready(tmp_path, train_size=12, val_size=4, labeled_size=4, label_noise=1.0, noise_kind="different")
    assert (len(data.val_dataset), len(data.labeled_dataset), len(data.unlabeled_dataset)) == (4, 4, 8)
    assert (data.labeled_dataset.targets != data.labeled_dataset.true_targets).all()
    assert data.unlabeled_dataset[0][0].shape == (3, 16, 16)


@pytest.mark.filterwarnings("ignore:Python 3.14 will:DeprecationWarning")  # torchvision's business
@pytest.mark.parametrize("kit", [True, False])
def test_official_archives_are_unpacked(tmp_path, monkeypatch, kit):
    imagenet.write_archives(tmp_path, monkeypatch)
    if not kit:  # meta.bin is enough
        (tmp_path / "ILSVRC2012_devkit_t12.tar.gz").unlink()
        torch.save((imagenet.NAMES, [WNIDS[3 - label] for _ in range(3) for label in range(4)]), tmp_path / "meta.bin")
    data = ready(tmp_path)
    assert data.classes[0] == "tench, Tinca tinca"
    assert (
        data.train_dataset.targets.tolist()
        == data.test_dataset.targets.tolist()
        == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    )
    for split in (data.train_dataset, data.test_dataset):
        assert all(abs(red(data, image) - 60 * label) < 4 for image, label in split)
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"train", "val"}
    ready(tmp_path)


def test_train_needs_no_kit_but_val_does(tmp_path, monkeypatch):
    match = r"no folder '.*{}' .* put {} into it: `prepare_data` unpacks them"
    train, val, kit = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"
    with pytest.raises(DatasetNotFoundError, match=match.format("train", train)):
        ready(tmp_path)
    with pytest.raises(DatasetNotFoundError, match=match.format("train", train)):
        ImageNetDataModule(tmp_path).setup()
    imagenet.write(tmp_path, meta=False)
    (tmp_path / "val").rename(tmp_path / "other")
    with pytest.raises(DatasetNotFoundError, match=match.format("val", f"{val} and {kit}")):
        ready(tmp_path)
    with pytest.raises(DatasetNotFoundError, match=match.format("val", f"{val} and {kit}")):
        ImageNetDataModule(tmp_path).setup()


@pytest.mark.filterwarnings("ignore:Python 3.14 will:DeprecationWarning")
def test_damaged_archive_leaves_no_half_folder(tmp_path, monkeypatch):
    imagenet.write_archives(tmp_path, monkeypatch)
    file = tmp_path / "ILSVRC2012_img_val.tar"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(
        DatasetNotFoundError, match=r"ILSVRC2012_img_val.tar in '.*' could not be unpacked \(.*corrupted"
    ):
        ready(tmp_path)
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"train"}


@pytest.mark.parametrize("content", [{}, ({"n01440764": 3}, []), (["n01440764"], [])])
def test_damaged_meta(tmp_path, content):
    torch.save(content, tmp_path / "meta.bin")
    with pytest.raises(DatasetNotFoundError, match=r"meta.bin' is damaged \(\w+Error\): .* Delete it"):
        class_names(tmp_path, WNIDS)


class Evil:
    def __reduce__(self):
        return print, ("evil code runs",)


def test_hostile_meta_does_not_run(tmp_path, capsys):
    torch.save(({"n01440764": Evil()}, []), tmp_path / "meta.bin")
    with pytest.raises(DatasetNotFoundError, match=r"damaged \(UnpicklingError\)"):
        class_names(tmp_path, WNIDS)
    assert "evil" not in capsys.readouterr().out


def test_unknown_wnids_keep_their_name(tmp_path):
    torch.save((imagenet.NAMES, []), tmp_path / "meta.bin")
    assert class_names(tmp_path, ["n01443537", "n5"]) == ["goldfish, Carassius auratus", "n5"]
