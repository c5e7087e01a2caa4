import pytest

from lightning_interp.datasets.urban_sound_index import CLASSES, checked_folds, find_root, read_index
from lightning_interp.exceptions import DatasetNotFoundError
from tests.data import urban_sound8k

ROW = "100032-3-0-0.wav,100032,0.0,0.317551,1,5,3,dog_bark"


def table(root, *lines, encoding="utf-8", newline="\n"):
    (root / "metadata").mkdir(exist_ok=True)
    text = newline.join(lines) + newline
    (root / "metadata" / "UrbanSound8K.csv").write_bytes(text.encode(encoding))
    return root


def test_the_first_row_of_the_real_table(tmp_path):
    (clip,) = read_index(table(tmp_path, urban_sound8k.HEADER, ROW))
    assert clip == (tmp_path / "audio" / "fold5" / "100032-3-0-0.wav", 5, 3)
    assert CLASSES == urban_sound8k.CLASSES


@pytest.mark.parametrize("options", [{"encoding": "utf-8-sig"}, {"newline": "\r\n"}])
def test_windows_tables(tmp_path, options):
    assert len(read_index(table(tmp_path, urban_sound8k.HEADER, ROW, **options))) == 1


def test_root_or_its_parent(tmp_path):
    clips = urban_sound8k.write(tmp_path, folds=[2, 1])
    assert read_index(tmp_path) == read_index(tmp_path / "UrbanSound8K") == clips
    assert find_root(tmp_path) == tmp_path / "UrbanSound8K"
    assert find_root(tmp_path / "UrbanSound8K" / "audio") is None


def test_no_table(tmp_path):
    match = r"no table '.*metadata.UrbanSound8K.csv' or '.*UrbanSound8K.metadata.*'. Pass the right `root`, or download"
    with pytest.raises(DatasetNotFoundError, match=match):
        read_index(tmp_path)


@pytest.mark.parametrize("header", ["", ROW, urban_sound8k.HEADER.replace("class", "class_name")])
def test_another_header(tmp_path, header):
    with pytest.raises(DatasetNotFoundError, match=r"must begin with the columns slice_file_name,.*Reposted tables"):
        read_index(table(tmp_path, header, ROW))
    (tmp_path / "metadata" / "UrbanSound8K.csv").write_bytes(b"")
    with pytest.raises(DatasetNotFoundError, match="must begin with the columns"):
        read_index(tmp_path)


@pytest.mark.parametrize(
    "row",
    [
        "../../../evil-3-0-0.wav,1,0,1,1,5,3,dog_bark",
        "/1-3-0-0.wav,1,0,1,1,5,3,dog_bark",
        "1-3-0-0.png,1,0,1,1,5,3,dog_bark",
        "1-3-0-0.wav,1,0,1,1,11,3,dog_bark",
        "1-3-0-0.wav,1,0,1,1,../5,3,dog_bark",
        "1-3-0-0.wav,1,0,1,1,5,4,dog_bark",
        "1-3-0-0.wav,1,0,1,1,5,10,cat",
        "1-3-0-0.wav,1,0,1,1,5,3",
    ],
)
def test_rows_that_make_no_sense_are_named(tmp_path, row):
    with pytest.raises(DatasetNotFoundError, match=r"The clip in line 3 of '.*UrbanSound8K.csv' must have a name like"):
        read_index(table(tmp_path, urban_sound8k.HEADER, ROW, row))


def test_a_clip_named_twice(tmp_path):
    with pytest.raises(DatasetNotFoundError, match="names a clip twice"):
        read_index(table(tmp_path, urban_sound8k.HEADER, ROW, ROW.replace(",5,3,", ",6,3,")))


@pytest.mark.parametrize(
    ("folds", "error"), [([0], ValueError), ([11], ValueError), ([1, 1], ValueError), ([1.0], TypeError)]
)
def test_folds(folds, error):
    assert checked_folds([10, 2], "folds", "f") == (2, 10)
    with pytest.raises(error, match="The `folds` parameter of `f` must be"):
        checked_folds(folds, "folds", "f")
