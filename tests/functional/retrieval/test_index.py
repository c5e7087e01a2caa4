import contextlib
import itertools
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_interp.functional.retrieval._engines import IvfPqEngine
from lightning_interp.functional.retrieval._shards import writing
from lightning_interp.functional.retrieval.index import ImageIndex
from lightning_interp.functional.retrieval.query_expansion import expand_query
from lightning_interp.functional.retrieval.search import search
from tests.functional.retrieval.crashes import CHANGES, dying_calls, example


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def named(n, first=0):
    return [f"{i}.jpg" for i in range(first, first + n)]


@pytest.fixture
def index(tmp_path):
    """Three shards of 20 pictures."""
    index = ImageIndex.create(tmp_path / "index", dim=8, fingerprint="f", about={"network": "vgg16", "k": 4})
    for i in range(3):
        index.add(named(20, 20 * i), normal(20, 8, seed=i))
    return index


def ranking(index, queries, k=None, **options):
    hits = index.search(queries, len(index) if k is None else k, **options)
    return hits.names, hits.scores.tolist()


def model_ranking(model, queries, k=None):
    """What a dict of vectors in the order of the names would find."""
    names = list(model)
    found = search(queries, torch.stack(list(model.values())), k)
    return tuple(tuple(names[i] for i in row) for row in found.indices.tolist()), found.scores.tolist()


def test_a_search_equals_brute_force(tmp_path):
    index = ImageIndex.create(tmp_path, dim=64, fingerprint="f")
    vectors, queries = 7 * normal(10_000, 64), normal(5, 64, seed=1)
    index.add(named(6000), vectors[:6000])
    index.add(named(4000, 6000), vectors[6000:])
    unit = [(rows / rows.norm(dim=1, keepdim=True)).double().numpy() for rows in (vectors, queries)]
    similarities = unit[1] @ unit[0].T
    order = np.argsort(-similarities, axis=1, kind="stable")[:, :20]
    hits = index.search(queries, 20)
    assert hits.names == tuple(tuple(f"{i}.jpg" for i in row) for row in order)
    assert np.allclose(hits.scores, np.take_along_axis(similarities, order, 1), atol=1e-6)
    assert not index.approximate
    assert index.recall(queries, 20) == 1


def test_of_equals_the_first_added_comes_first(tmp_path):
    index = ImageIndex.create(tmp_path, dim=3, fingerprint="f")
    same, other = torch.tensor([[0.3, 0.2, 0.7]]), torch.tensor([[0.31, 0.2, 0.7]])
    for first in range(0, 400, 80):  # far more equals than are asked for
        index.add(named(80, first), torch.cat([other, same.expand(79, 3)]))
    expected = [f"{i}.jpg" for i in range(400) if i % 80]
    assert index.search(same[0], 7).names == (tuple(expected[:7]),)
    index.remove(expected[2:5])
    del expected[2:5]
    assert index.search(same[0], 200).names == (tuple(expected[:200]),)


def test_where_single_precision_cannot_tell_the_ranking_is_that_of_search(tmp_path):
    index = ImageIndex.create(tmp_path, dim=64, fingerprint="f")
    index.add(named(500), normal(1, 64) + 1e-7 * normal(500, 64, seed=1))
    queries = normal(30, 64, seed=2)
    expected = search(queries, index.vectors, 7).indices.tolist()
    assert index.search(queries, 7).names == tuple(tuple(f"{i}.jpg" for i in row) for row in expected)


def test_a_reopened_index_finds_the_same_and_goes_on(index):
    queries = normal(4, 8, seed=9)
    before = ranking(index, queries)
    again = ImageIndex.open(index.folder, fingerprint="f")
    assert ranking(again, queries) == before
    assert (again.dim, again.fingerprint, again.about) == (8, "f", {"network": "vgg16", "k": 4})
    again.add(["new"], queries[:1])
    assert again.search(queries[0], 1).names == (("new",),)
    assert ranking(ImageIndex.open(index.folder), queries) == ranking(again, queries) != before
    assert len(again) == 61


def test_however_it_changes_it_is_what_a_dict_would_be(tmp_path):
    chance, queries, model = random.Random(0), normal(3, 6, seed=99), {}
    index = ImageIndex.create(tmp_path, dim=6, fingerprint="f")
    for step in range(60):
        names = chance.sample(named(40), chance.randint(1, 6))
        if step % 3 < 2:
            vectors = normal(len(names), 6, seed=step)
            index.add(names, vectors, replace=True)
            for name, vector in zip(names, vectors, strict=True):
                model.pop(name, None)
                model[name] = vector
        else:
            names = [name for name in names if name in model]
            index.remove(names)
            model = {name: vector for name, vector in model.items() if name not in names}
        if step % 7 == 3:
            index.compact()
        if step % 5 == 0:
            index = ImageIndex.open(tmp_path)
        assert index.names == list(model)
        assert len(index) == len(model)
        found, expected = index.search(queries, 9), model_ranking(model, queries, 9)
        assert found.names == expected[0]
        assert torch.allclose(found.scores, torch.tensor(expected[1]), atol=1e-6)


def test_compacting_keeps_the_ranking_and_leaves_one_file(index):
    queries = normal(4, 8, seed=9)
    index.remove(named(30, 5))
    index.add(["1.jpg"], queries[:1], replace=True)
    before = ranking(index, queries)
    for _ in range(2):
        index.compact()
        assert ranking(index, queries) == ranking(ImageIndex.open(index.folder), queries) == before
        assert [file.name for file in index.folder.glob("*.safetensors")] == ["shard-00005.safetensors"]
    assert index.names[-1] == "1.jpg"
    index.remove(index.names)
    index.compact()
    assert not list(index.folder.glob("*.safetensors"))
    index.add(["again"], queries[:1])
    assert index.search(queries[0]).names == (("again",),)


def check_crashes(root):
    """Folders of changes that died at each of their steps, the last of each at none, against the example."""
    queries = normal(3, 4, seed=2)
    old = ranking(example(root / "old"), queries)
    for change, n_steps in {"add": 6, "replace": 6, "remove": 3, "compact": 8}.items():
        folders = sorted(root.glob(f"{change}-*"))
        assert len(folders) == n_steps + 1  # flush, rename and flush the folder, for each file; two are deleted
        new = ranking(ImageIndex.open(folders[-1]), queries)
        found = [ranking(ImageIndex.open(folder), queries) for folder in folders]
        assert all(one in (old, new) for one in found)
        assert (change == "compact") == (old == new)
        for folder in folders:
            index = ImageIndex.open(folder)
            index.add(["after"], queries[:1])
            assert ImageIndex.open(folder).search(queries[0], 1).names == (("after",),)
            known = {"index.json", "index.lock", *(shard.file for shard in index._store.manifest.shards)}
            assert {file.name for file in folder.iterdir()} == known


class Death(BaseException):
    """What nobody catches."""


def die():
    raise Death


def test_death_leaves_what_was_before_or_what_is_after(tmp_path, monkeypatch):
    for change, act in CHANGES.items():
        for step in itertools.count():
            index = example(tmp_path / f"{change}-{step:02d}")
            with monkeypatch.context() as patch, contextlib.suppress(Death):
                for name, call in dying_calls(step, die).items():
                    patch.setattr(os, name, call)
                act(index)
                break
    check_crashes(tmp_path)


@pytest.mark.slow
def test_kill_9_leaves_what_was_before_or_what_is_after(tmp_path):
    command = [sys.executable, "-W", "ignore", "-m", "tests.functional.retrieval.crashes", tmp_path]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[3])
    check_crashes(tmp_path)


def test_names_are_no_paths(tmp_path):
    names = ["../up.jpg", "/etc/passwd", "a\nb", "żółw 🐢", "", "\udcff.jpg", "x" * 5000]
    index = ImageIndex.create(tmp_path / "index", dim=7, fingerprint="f")
    index.add(names, torch.eye(7))
    assert [file.name for file in tmp_path.iterdir()] == ["index"]
    again = ImageIndex.open(tmp_path / "index")
    assert again.names == names
    assert [found for (found,) in again.search(torch.eye(7), 1).names] == names
    assert "żółw 🐢" in again
    assert "zolw" not in again


def test_hits_are_a_table(index):
    table = index.search(normal(2, 8), 3).to_dataframe()
    assert list(table.columns) == ["query", "rank", "name", "score"]
    assert table["rank"].tolist() == [1, 2, 3] * 2
    assert tuple(table["name"][3:]) == index.search(normal(2, 8), 3).names[1]


def test_vectors_serve_search_and_expansion(index):
    queries = normal(2, 8, seed=5)
    whole = index.vectors[:]
    assert index.vectors.shape == whole.shape == (60, 8)
    assert torch.allclose(whole.norm(dim=1), torch.ones(60))
    assert torch.equal(search(queries, index.vectors, 5, batch_size=7).indices, search(queries, whole, 5).indices)
    assert torch.equal(expand_query(queries, index.vectors), expand_query(queries, whole))
    assert index.search(queries, 5).scores.equal(search(queries, whole, 5).scores)


def test_nothing_to_add_or_ask_is_nothing(index):
    files = sorted(index.folder.iterdir())
    index.add([], torch.empty(0, 8))
    index.remove([])
    assert sorted(index.folder.iterdir()) == files
    hits = index.search(torch.empty(0, 8), 3)
    assert (hits.names, hits.scores.shape) == ((), (0, 3))


def test_zero_vectors_may_be_added(tmp_path):
    index = ImageIndex.create(tmp_path, dim=2, fingerprint="f")
    index.add(["black", "white"], torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
    assert ranking(index, torch.tensor([-1.0, 0.0])) == ((("black", "white"),), [[0, -1]])


def test_two_handles_take_turns(index):
    other = ImageIndex.open(index.folder)
    other.add(["other"], normal(1, 8, seed=20))
    other.compact()
    index.add(["own"], normal(1, 8, seed=21))
    assert index.names == [*named(60), "other", "own"]
    assert ranking(index, normal(1, 8)) == ranking(ImageIndex.open(index.folder), normal(1, 8))
    with pytest.raises(ValueError, match="'other' first, are in the index"):
        index.add(["other"], normal(1, 8))


def test_a_second_writer_waits_its_turn(index):
    with writing(index.folder):
        with pytest.raises(BlockingIOError, match="try again when it is done"):
            index.add(["new"], normal(1, 8))
        assert len(index.search(normal(8)).names[0]) == 10
    assert "new" not in index


def test_an_index_of_another_network_is_refused(index):
    with pytest.raises(ValueError, match=r"made with another network or descriptor. Open it with the one"):
        ImageIndex.open(index.folder, fingerprint="g")
    about = {"network": "resnet50", "k": 4, "layer": "layer4"}
    with pytest.raises(
        ValueError, match="network is 'vgg16' there and 'resnet50' here, layer is None there and 'layer4'"
    ):
        ImageIndex.open(index.folder, fingerprint="g", about=about)


@pytest.mark.parametrize("damage", ["cut", "missing", "one bit"])
def test_a_damaged_shard_is_named(index, damage):
    file = index.folder / "shard-00002.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content[:-1] if damage == "cut" else content)
    if damage == "missing":
        file.unlink()
    with pytest.raises(RuntimeError, match=r"'shard-00002\.safetensors'.*make the index anew"):
        ImageIndex.open(index.folder).search(normal(8))


def test_there_is_one_index_in_a_folder_or_none(index, tmp_path):
    with pytest.raises(FileExistsError, match=r"`ImageIndex.open` opens this one"):
        ImageIndex.create(index.folder, dim=8, fingerprint="f")
    with pytest.raises(FileNotFoundError, match=r"make an index with `ImageIndex.create`"):
        ImageIndex.open(tmp_path)
    with pytest.raises(ValueError, match="Did you mean 'exact'"):
        ImageIndex.create(tmp_path / "new", dim=8, fingerprint="f", kind="exakt")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("ask", "error", "what"),
    [
        (lambda index: index.add(["0.jpg", "x"], normal(2, 8)), ValueError, r"'0\.jpg' first, are in.*replace=True"),
        (lambda index: index.add(["x", "y", "x"], normal(3, 8)), ValueError, "none is there twice; 'x' is"),
        (lambda index: index.add("xy", normal(2, 8)), TypeError, "a list of texts"),
        (lambda index: index.add([3], normal(1, 8)), TypeError, "a list of texts"),
        (lambda index: index.add(["x"], normal(1, 9)), ValueError, r"\(1, 8\), one for each name"),
        (lambda index: index.add(["x"], normal(1, 8) * torch.nan), ValueError, "`vectors`.*finite"),
        (lambda index: index.remove(["0.jpeg"]), ValueError, r"'0\.jpeg' is not.* Did you mean.*'0\.jpg'"),
        (lambda index: index.search(normal(2, 7)), ValueError, r"\(Q, 8\) or one of them \(8,\)"),
        (lambda index: index.search(normal(8), 0), ValueError, "`k`"),
        (lambda index: index.search(normal(8), n_probe=0), ValueError, "`n_probe`"),
        (lambda index: index.search(normal(8) / 0), ValueError, "`queries`.*finite"),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(index, ask, error, what):
    with pytest.raises(error, match=what):
        ask(index)
    assert ImageIndex.open(index.folder).names == index.names == named(60)


def test_an_empty_index_says_so(tmp_path):
    with pytest.raises(ValueError, match="is empty: `add` pictures"):
        ImageIndex.create(tmp_path, dim=2, fingerprint="f").search(torch.ones(2))


def test_about_must_be_json(tmp_path):
    with pytest.raises(TypeError, match=r"`about`.*anything JSON"):
        ImageIndex.create(tmp_path / "index", dim=2, fingerprint="f", about={"network": torch.nn.ReLU()})


def test_without_faiss_only_searching_fails(index, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    again = ImageIndex.open(index.folder)
    again.add(["x"], normal(1, 8))
    with pytest.raises(ImportError, match=r"pip install lightning-interp\[retrieval\]"):
        again.search(normal(8))


def clustered(n, seed):
    kinds = normal(150, 16, seed=1000)
    which = torch.randint(150, (n,), generator=torch.Generator().manual_seed(seed))
    return kinds[which] + 0.4 * normal(n, 16, seed=seed + 1)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory):
    """An index of 10 000 pictures with an approximation kept in its folder."""
    index = ImageIndex.create(tmp_path_factory.mktemp("learnt"), dim=16, fingerprint="f", max_bytes=2**19)
    for i in range(4):
        index.add(named(2500, 2500 * i), clustered(2500, 10 * i))
    assert index.approximate
    index.search(torch.ones(16))
    return index


@pytest.fixture
def copy(learnt, tmp_path, monkeypatch):
    """The same opened anew in another folder; learning is forbidden."""
    shutil.copytree(learnt.folder, tmp_path / "copy")
    monkeypatch.setattr(IvfPqEngine, "trained", forbidden)
    return ImageIndex.open(tmp_path / "copy", max_bytes=2**19)


def forbidden(*_, **__):
    raise AssertionError("learnt again")


def test_an_approximation_finds_nearly_all_in_little_memory(learnt):
    queries = clustered(50, 500)
    assert learnt.recall(queries, 10) > 0.9
    assert learnt.recall(queries, 10, n_probe=1) < learnt.recall(queries, 10, n_probe=10_000) + 1e-9
    assert learnt.recall(queries, 10, n_probe=10_000) > 0.98
    (kept,) = learnt.folder.glob("ivf_pq-*")
    assert kept.stat().st_size < 0.4 * 10_000 * 16 * 4  # 4 bytes of codes and 8 of number for 64 of vector


def test_what_an_approximation_finds_is_scored_exactly(learnt):
    queries = clustered(5, 500)
    exact = dict(zip(learnt.names, (learnt.vectors[:] @ (queries / queries.norm(dim=1, keepdim=True)).T), strict=True))
    hits = learnt.search(queries, 10)
    for number, (names, scores) in enumerate(zip(hits.names, hits.scores, strict=True)):
        assert torch.allclose(scores, torch.stack([exact[name][number] for name in names]), atol=1e-6)
        assert scores.tolist() == sorted(scores.tolist(), reverse=True)


def test_a_kept_approximation_is_used_and_added_to(copy, learnt):
    queries = clustered(20, 500)
    assert ranking(copy, queries, 10) == ranking(learnt, queries, 10)
    copy.add(["new"], queries[:1])
    copy.remove([learnt.search(queries[1], 1).names[0][0]])
    found = copy.search(queries, 10)
    assert found.names[0][0] == "new"
    assert found.names[1][:9] == learnt.search(queries[1], 10).names[0][1:]
    assert [file.name for file in copy.folder.glob("ivf_pq-*")] == ["ivf_pq-00002.safetensors"]
    assert ranking(ImageIndex.open(copy.folder, max_bytes=2**19), queries, 10) == (found.names, found.scores.tolist())


def test_an_approximation_finds_all_when_asked_for_all(copy):
    assert sorted(copy.search(clustered(1, 500), 10_000).names[0]) == sorted(copy.names)


def test_an_approximation_is_learnt_again_when_pictures_have_doubled(copy):
    copy.add(named(9999, 20_000), clustered(9999, 700))
    copy.search(torch.ones(16))
    copy.add(["one more"], clustered(1, 800))
    with pytest.raises(AssertionError, match="learnt again"):
        copy.search(torch.ones(16))


def test_a_damaged_approximation_is_learnt_again_with_a_warning(copy):
    (kept,) = copy.folder.glob("ivf_pq-*")
    kept.write_bytes(kept.read_bytes()[:-1])
    with pytest.warns(UserWarning, match=r"learnt again.*ivf_pq-00001"), pytest.raises(AssertionError):
        copy.search(torch.ones(16))


def test_an_approximation_that_cannot_be_kept_is_used_with_a_warning(copy):
    copy.add(["new"], torch.ones(1, 16))
    with writing(copy.folder), pytest.warns(UserWarning, match="when the index is next opened.*written by process"):
        assert copy.search(torch.ones(16), 1).names == (("new",),)


def test_an_approximation_is_not_kept_over_the_work_of_another(copy, learnt):
    queries = clustered(5, 500)
    copy.search(queries)
    copy.add(["new"], queries[:1])
    assert "new" in copy  # all is read: the files may go
    other = ImageIndex.open(copy.folder)
    other.remove(named(50))
    other.compact()
    found = copy.search(queries, 10)  # of what was there when it wrote last
    assert found.names[0] == ("new", *learnt.search(queries[0], 9).names[0])
    assert not list(copy.folder.glob("ivf_pq-*"))
    assert ImageIndex.open(copy.folder).names == other.names


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("rows", lambda rows: rows + 1),
        ("rows", lambda rows: rows[:-1]),
        ("lengths", lambda lengths: lengths[:-1]),
        ("codes", lambda codes: codes[:, :-1].contiguous()),
        ("codes", lambda codes: codes.int()),
        ("codebooks", lambda books: books[:, :16]),
        ("centers", lambda centers: centers[:, :-1]),
    ],
)
def test_an_approximation_whose_parts_do_not_fit_is_refused(learnt, name, change):
    state = learnt._store.kept()
    with pytest.raises(ValueError, match="do not fit together"):
        IvfPqEngine.from_state({**state, name: change(state[name])}, 16)


def test_few_enough_pictures_are_searched_exactly_again(copy):
    queries = clustered(20, 500)
    copy.search(queries)
    copy.remove(named(5000))
    assert not copy.approximate
    assert copy.recall(queries) == 1
    assert not ImageIndex.open(copy.folder, kind="ivf_pq").approximate  # too few to learn from
