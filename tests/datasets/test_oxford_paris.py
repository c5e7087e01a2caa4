import pickle
import shutil
import warnings

import pytest
import torch

from lightning_interp.datasets.oxford_paris import OxfordParis
from lightning_interp.datasets.oxford_paris_files import LANDMARKS, ORIGINALS, PARIS_CORRUPT
from lightning_interp.exceptions import DatasetNotFoundError
from tests.data import oxford_paris


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    root = tmp_path_factory.mktemp("buildings")
    return root, {name: oxford_paris.write(root, name) for name in ORIGINALS}


@pytest.fixture
def oxford(tmp_path):
    """A folder to be damaged."""
    oxford_paris.write(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ORIGINALS)
def test_names_become_indices(pristine, name):
    root, truth = pristine
    data = pickle.loads(pickle.dumps(OxfordParis(root, name)))
    assert (len(data), len(data.queries)) == ((60, 55) if name in LANDMARKS else (44, 11))
    assert data.protocols == (("original",) if name in LANDMARKS else ("easy", "medium", "hard"))
    for query, (picture, box, grades) in zip(data.queries, truth[name].values(), strict=True):
        assert (query.name, query.file.stem, query.box) == (picture, picture, pytest.approx(box))
        assert {g: {data.names[i] for i in found} for g, found in query.grades.items()} == {
            g: set(members) for g, members in grades.items()
        }
        assert all(list(found) == sorted(found) for found in query.grades.values())


def test_the_query_is_found_in_the_originals_and_absent_in_the_revisited(pristine):
    for name in ORIGINALS:
        data = OxfordParis(pristine[0], name)
        for query in data.queries:
            if name in LANDMARKS:
                positives, junk = query.relevance("original")
                assert data.names[query.index] == query.name
                assert query.index in positives
                assert (len(positives), len(junk)) == (3, 1)
            else:
                assert query.index is None
                assert query.name not in data.names
    first = OxfordParis(pristine[0], "roxford5k").queries[0]
    assert first.relevance("hard")[0] == ()  # nothing to be found: no average precision
    assert len(first.relevance("easy")[0]) == 1


def test_order_of_the_database(pristine):
    root, _ = pristine
    for name in LANDMARKS:
        names = OxfordParis(root, name).names
        assert names == sorted(names)
    file = root / "roxford5k" / "gnd_roxford5k.pkl"
    data = OxfordParis(root, "roxford5k")
    assert data.names == pickle.loads(file.read_bytes())["imlist"] != sorted(data.names)
    assert [file.stem for file in data.files] == data.names


def test_corrupt_pictures_of_paris_are_left_out(pristine, tmp_path):
    root, _ = pristine
    assert not set(OxfordParis(root, "paris6k").names) & PARIS_CORRUPT
    shutil.copytree(root / "paris", tmp_path / "paris")
    shutil.copytree(root / "paris_120310", tmp_path / "lab")
    with (tmp_path / "lab" / "louvre_1_junk.txt").open("a") as file:
        file.write("paris_louvre_000136\n")
    (tmp_path / "paris" / "eiffel" / "paris_eiffel_000004.jpg").write_text("<html>302 Found</html>")
    data = OxfordParis(tmp_path, "paris6k")  # without a warning
    assert len(data) == 60
    assert [data.names[i] for image, i in data if image is None] == ["paris_eiffel_000004"]


def test_pictures_and_boxes(pristine):
    root, _ = pristine
    data = OxfordParis(root, "oxford5k", image_size=20, transform=torch.neg)
    image, box, index = data.query_images()[7]
    query = data.queries[7]
    assert (image.shape, index, query.name) == ((3, 20, 24), 7, "ashmolean_000002")
    assert torch.equal(image, data[query.index][0])
    assert float(image.max()) <= 0
    assert box.tolist() == pytest.approx([side / 2 for side in query.box])


def test_the_old_pickle_will_do_where_there_are_no_texts(oxford):
    texts = OxfordParis(oxford, "oxford5k")
    items = []
    for query in texts.queries:
        positives, junk = query.relevance("original")
        items.append({"bbx": list(query.box), "ok": list(positives), "junk": list(junk)})
    content = {"imlist": texts.names, "qimlist": [query.name for query in texts.queries], "gnd": items}
    (oxford / "gnd_oxford5k.pkl").write_bytes(pickle.dumps(content, 2))
    shutil.rmtree(oxford / "gt_files_170407")
    data = OxfordParis(oxford, "oxford5k")
    assert (data.names, data.protocols) == (texts.names, ("original",))
    for old, new in zip(texts.queries, data.queries, strict=True):
        assert (old.name, old.index, old.box) == (new.name, new.index, new.box)
        assert old.relevance("original") == new.relevance("original")
    (oxford / "gnd_oxford5k.pkl").rename(oxford / "gnd_roxford5k.pkl")
    with pytest.raises(DatasetNotFoundError, match=r"gnd_roxford5k.pkl' is not the ground truth of roxford5k"):
        OxfordParis(oxford, "roxford5k")


def test_judged_pictures_that_are_not_there_are_counted_once(oxford):
    for landmark in ("keble", "balliol"):
        (oxford / "oxbuild_images" / f"{landmark}_000003.jpg").unlink()
    with pytest.warns(
        UserWarning, match="2 judged pictures are not in the database.*among them 'balliol_000003'"
    ) as seen:
        data = OxfordParis(oxford, "oxford5k")
    assert len(seen) == 1
    assert seen[0].filename == __file__
    assert [query.relevance("original")[1] for query in data.queries if query.name.startswith("keble")] == [()] * 5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (oxford / "oxbuild_images" / "keble_000001.jpg").unlink()
        with pytest.raises(DatasetNotFoundError, match=r"pictures .* of oxford5k are not under .* 'keble_000001.jpg'"):
            OxfordParis(oxford, "oxford5k")


def test_a_database_of_the_revisited_must_be_complete(tmp_path):
    oxford_paris.write(tmp_path, "rparis6k")
    (tmp_path / "rparis6k" / "jpg" / "paris_louvre_000001.jpg").unlink()
    with pytest.raises(DatasetNotFoundError, match="1 of 55 pictures of the database and queries of rparis6k are not"):
        OxfordParis(tmp_path, "rparis6k")


@pytest.mark.parametrize(("name", "texts"), [("oxford5k", "texts like 'all_souls_1_query.txt' or "), ("roxford5k", "")])
def test_no_ground_truth(oxford, name, texts):
    shutil.rmtree(oxford / "gt_files_170407")
    with pytest.raises(
        DatasetNotFoundError, match=rf"no ground truth of {name} in '.*': {texts}'gnd_{name}.pkl' was looked"
    ):
        OxfordParis(oxford, name)


def test_bad_options_are_named(pristine, tmp_path):
    with pytest.raises(ValueError, match=r"`name` parameter of `OxfordParis` must be .*Got 'oxford6k'\. Did you mean"):
        OxfordParis(pristine[0], "oxford6k")
    with pytest.raises(ValueError, match="`image_size` parameter of `OxfordParis` must be"):
        OxfordParis(pristine[0], "oxford5k", image_size=0)
    with pytest.raises(DatasetNotFoundError, match="no pictures"):
        OxfordParis(tmp_path, "oxford5k")
