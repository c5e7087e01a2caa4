import pickle
import shutil

import numpy as np
import pytest

from lightning_interp.datasets.oxford_paris_files import (
    LANDMARKS,
    ORIGINALS,
    PARIS_CORRUPT,
    find_pictures,
    find_revisited,
    read_original,
    read_revisited,
)
from lightning_interp.exceptions import DatasetNotFoundError
from tests.data import oxford_paris

GND = {
    "imlist": ["a", "b", "c"],
    "qimlist": ["q"],
    "gnd": [{"bbx": [0, 0, 4, 4], "easy": [2], "hard": [], "junk": [0]}],
}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    root = tmp_path_factory.mktemp("buildings")
    return root, {name: oxford_paris.write(root, name) for name in ORIGINALS}


def dumped(tmp_path, content):
    file = tmp_path / "gnd_roxford5k.pkl"
    file.write_bytes(pickle.dumps(content, 2))
    return file


def test_constants_of_the_originals():
    assert [len(names) for names in LANDMARKS.values()] == [11, 11]
    assert len(PARIS_CORRUPT) == 20
    assert {"paris_louvre_000136", "paris_museedorsay_001059", "paris_triomphe_000867"} <= PARIS_CORRUPT


@pytest.mark.parametrize("name", ["oxford5k", "paris6k"])
def test_texts_are_read_as_written(pristine, name):
    root, truth = pristine
    found = read_original(root, name)
    assert len(found) == 55
    for query, (picture, box, grades) in zip(found, truth[name].values(), strict=True):
        assert (query.name, query.box) == (picture, pytest.approx(box))
        assert query.grades == {grade: frozenset(names) for grade, names in grades.items()}


@pytest.mark.parametrize("name", ["roxford5k", "rparis6k"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_pickles_are_read_as_written(tmp_path, name, protocol):
    truth = oxford_paris.write(tmp_path, name, protocol=protocol)
    file = find_revisited(tmp_path, name)
    names, found = read_revisited(file)
    assert len(set(names)) == len(names) == 44
    for query, (picture, box, grades) in zip(found, truth.values(), strict=True):
        assert (query.name, query.box) == (picture, pytest.approx(box))
        assert picture not in names
        assert query.grades == {grade: frozenset(members) for grade, members in grades.items()}
    file.rename(tmp_path / file.name)
    assert find_revisited(tmp_path, name) == tmp_path / file.name
    assert find_revisited(tmp_path, "paris6k") is None


def test_the_old_protocol(tmp_path):
    item = {"bbx": np.array([0.5, 0, 4, 4]), "ok": np.array([2, 0, 2]), "junk": np.array([])}
    (query,) = read_revisited(dumped(tmp_path, {**GND, "gnd": [item]})).queries
    assert query == ("q", (0.5, 0, 4, 4), {"good": frozenset(), "ok": {"a", "c"}, "junk": frozenset()})


def test_one_root_may_hold_everything(pristine):
    root, _ = pristine
    counts = {name: len(find_pictures(root, name)) for name in ORIGINALS}
    assert counts == {"oxford5k": 60, "paris6k": 80, "roxford5k": 55 + 5, "rparis6k": 60}
    for name in ORIGINALS:
        assert list(find_pictures(root, name)) == sorted(find_pictures(root, name))


@pytest.mark.parametrize("place", ["oxford5k/jpg", "jpg", "oxbuild_images", "oxford5k/oxbuild_images", "oxford5k", "."])
def test_places_of_oxford(pristine, tmp_path, place):
    source, _ = pristine
    shutil.copytree(source / "oxbuild_images", tmp_path / place, dirs_exist_ok=True)
    (tmp_path / place / "._all_souls_000001.jpg").write_bytes(b"\0\5\26\7")
    for name in ("oxford5k", "roxford5k"):
        found = find_pictures(tmp_path, name)
        assert len(found) == 60
        assert found["all_souls_000003"].parent.samefile(tmp_path / place)


@pytest.mark.parametrize("place", ["paris6k/jpg", "jpg", "paris6k"])
def test_paris_may_lie_in_one_folder(pristine, tmp_path, place):
    (tmp_path / place).mkdir(parents=True)
    for file in (pristine[0] / "paris").glob("*/*.jpg"):
        shutil.copy(file, tmp_path / place / file.name.replace(".jpg", ".JPG"))
    assert len(find_pictures(tmp_path, "paris6k")) == len(find_pictures(tmp_path, "rparis6k")) == 80


@pytest.mark.parametrize(
    "place", ["gt_files_170407", "lab", "gt", ".", "oxford5k/gt", "oxford5k", "oxbuild_images", "jpg/lab"]
)
def test_places_of_texts(pristine, tmp_path, place):
    shutil.copytree(pristine[0] / "gt_files_170407", tmp_path / place, dirs_exist_ok=True)
    assert len(read_original(tmp_path, "oxford5k")) == 55
    assert read_original(tmp_path, "paris6k") is None


def test_line_ends_of_windows(pristine, tmp_path):
    shutil.copytree(pristine[0] / "gt_files_170407", tmp_path / "gt")
    for file in (tmp_path / "gt").iterdir():
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert read_original(tmp_path, "oxford5k") == read_original(pristine[0], "oxford5k")


def test_nothing_there(tmp_path):
    (tmp_path / "jpg").mkdir()
    with pytest.raises(DatasetNotFoundError, match=r"no pictures \(\*\.jpg\) of paris6k in '.*Pass the right `root`"):
        find_pictures(tmp_path, "paris6k")
    assert read_original(tmp_path, "oxford5k") is None


def test_two_pictures_of_one_name(pristine, tmp_path):
    shutil.copytree(pristine[0] / "oxbuild_images", tmp_path / "jpg")
    (tmp_path / "jpg" / "keble_000001.jpeg").touch()
    with pytest.raises(DatasetNotFoundError, match=r"Two pictures have one name: '.*keble_000001.* and .*keble_000001"):
        find_pictures(tmp_path, "oxford5k")


@pytest.mark.parametrize(
    ("file", "text", "problem"),
    [("keble_1_good", None, "cannot be read"), ("keble_5_query", None, "cannot be read"),
     ("keble_1_ok", "a\n../b\n", r"names '../b', which is no name"),
     ("keble_1_junk", "/etc/passwd", "names '/etc/passwd'"),
     ("keble_1_query", "keble_000001 1 2 3", "has 4 words instead of"), ("keble_1_query", "", "has 0 words"),
     ("keble_1_query", "k 1 2 3 x", "has a box that is not four numbers"),
     ("keble_1_query", "k 5 2 3 4", r"has the box \(5.0, 2.0, 3.0, 4.0\), which is empty"),
     ("keble_1_query", "k 1 2 nan 4", r"the box \(1.0, 2.0, nan, 4.0\), which is empty"),
     ("keble_1_query", "oxc1_../k 1 2 3 4", "names '../k'"),
     ("keble_1_good", b"\xff\xfe", "cannot be read")],
)  # fmt: skip
def test_damaged_texts_are_named(pristine, tmp_path, file, text, problem):
    shutil.copytree(pristine[0] / "gt_files_170407", tmp_path / "gt")
    path = tmp_path / "gt" / f"{file}.txt"
    path.unlink()
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DatasetNotFoundError, match=rf"The ground truth '.*keble_.*\.txt' (has |){problem}.*again\."):
        read_original(tmp_path, "oxford5k")


@pytest.mark.parametrize(
    ("change", "problem"),
    [({"imlist": ["a", "b", "../c"]}, r"names '\.\./c', which is no name"), ({"qimlist": ["/q"]}, "names '/q'"),
     ({"imlist": ["a", "b", 3]}, "names '3'"), ({"imlist": ["a", "b", "b"]}, "names come twice"),
     ({"qimlist": ["q", "r"]}, "not of one length"), ({"imlist": None}, "is no ground truth .TypeError"),
     ({"gnd": [{"bbx": [0, 0, 4, 4]}]}, "is no ground truth .KeyError"), ({"gnd": [3]}, "is no ground truth"),
     ({"gnd": [{**GND["gnd"][0], "easy": [3]}]}, "3 is no index of 3 pictures"),
     ({"gnd": [{**GND["gnd"][0], "junk": [-1]}]}, "-1 is no index"),
     ({"gnd": [{**GND["gnd"][0], "hard": [0.5]}]}, "0.5 is no"),
     ({"gnd": [{**GND["gnd"][0], "bbx": [0, 0, 4]}]}, "not four numbers"),
     ({"gnd": [{**GND["gnd"][0], "bbx": [0, 4, 4, 4]}]}, "which is empty")],
)  # fmt: skip
def test_damaged_pickles_are_named(tmp_path, change, problem):
    assert len(read_revisited(dumped(tmp_path, GND)).queries) == 1
    with pytest.raises(DatasetNotFoundError, match=rf"The ground truth '.*gnd_roxford5k.pkl' .*{problem}"):
        read_revisited(dumped(tmp_path, {**GND, **change}))


@pytest.mark.parametrize("content", [[1], {"imlist": []}, "text"])
def test_pickles_of_something_else(tmp_path, content):
    with pytest.raises(DatasetNotFoundError, match="is no ground truth"):
        read_revisited(dumped(tmp_path, content))
    with pytest.raises(DatasetNotFoundError, match=r"it wants to build pathlib\.?\w*\.\w*Path"):
        read_revisited(dumped(tmp_path, {**GND, "imlist": [tmp_path]}))
