import json
import os
import subprocess
import sys
from dataclasses import asdict, replace

import pytest
import torch

from lightning_interp.functional.retrieval._shards import (
    Manifest,
    MappedRows,
    Shard,
    read_manifest,
    read_shard,
    write_manifest,
    write_shard,
    write_tensors,
    write_whole,
    writing,
)

NAMES = ["a/b.jpg", "../../c", "d\ne", "żółw 🐢", "", "\udcff"]


def vectors(n=6, dim=5):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(0))


def test_names_and_vectors_come_back(tmp_path):
    shard = write_shard(tmp_path, 7, NAMES, vectors())
    assert (shard.file, shard.number, shard.count) == ("shard-00007.safetensors", 7, 6)
    assert [file.name for file in tmp_path.iterdir()] == [shard.file]
    names, found = read_shard(tmp_path, shard, 5)
    assert names == NAMES
    assert torch.equal(found, vectors())


def test_the_manifest_comes_back(tmp_path):
    shard = replace(write_shard(tmp_path, 1, NAMES, vectors()), dead=(1, 4))
    manifest = Manifest("print", 5, {"network": "vgg", "k": [1, 2]}, (shard,))
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest


def test_dead_rows_are_found_in_their_shards():
    shards = tuple(Shard(f"shard-{i:05d}.safetensors", 9, "", count) for i, count in enumerate((3, 2, 4)))
    manifest = Manifest("", 1, {}, shards).without([8, 0, 4]).without([3, 0])
    assert [shard.dead for shard in manifest.shards] == [(0,), (0, 1), (3,)]
    assert manifest.n_rows == 9


def test_rows_of_parts_are_those_of_the_whole():
    whole = vectors(10)
    rows = torch.tensor([9, 0, 3, 4, 2, 7])
    parts = list(whole.split([3, 1, 6]))
    for found, expected in ((MappedRows(parts, 5), whole), (MappedRows(parts, 5, rows), whole[rows])):
        assert found.shape == expected.shape
        assert len(found) == len(expected)
        for index in (slice(None), slice(1, 5), slice(4, 99), torch.tensor([[5, 0], [3, 3]]), torch.tensor([]).long()):
            assert torch.equal(found[index], expected[index])
    assert MappedRows([], 5)[:].shape == (0, 5)


def test_writing_a_manifest_deletes_what_none_knows_and_nothing_else(tmp_path):
    for name in ("shard-00009.safetensors", "shard-00001.safetensors.unfinished", "index.json.unfinished",
                 "ivf_pq-00001.safetensors", "holiday.jpg", "model.safetensors", "shard-1.safetensors"):  # fmt: skip
        (tmp_path / name).touch()
    shard = write_shard(tmp_path, 2, NAMES, vectors())
    write_manifest(tmp_path, Manifest("", 5, {}, (shard,)))
    left = {"holiday.jpg", "model.safetensors", "shard-1.safetensors", shard.file, "index.json"}
    assert {file.name for file in tmp_path.iterdir()} == left


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    write_whole(tmp_path / "file", b"old")

    def full(_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_whole(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"


@pytest.mark.parametrize("damage", ["cut", "one bit", "missing", "another"])
def test_a_damaged_shard_is_named(damage, tmp_path):
    shard = write_shard(tmp_path, 1, NAMES, vectors())
    file = tmp_path / shard.file
    content = bytearray(file.read_bytes())
    if damage == "cut":
        file.write_bytes(content[:-3])
    elif damage == "one bit":
        content[-5] ^= 1
        file.write_bytes(content)
    elif damage == "missing":
        file.unlink()
    else:  # a manifest that speaks of a file of another kind
        shard = replace(shard, count=5)
    with pytest.raises(RuntimeError, match=r"damaged: 'shard-00001\.safetensors', .*Bring the file back.*anew"):
        read_shard(tmp_path, shard, 5)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("", "damaged: 'index.json'"),
        ("[]", "damaged"),
        ('{"dim": 3}', "damaged.*format"),
        ('{"format": 1, "dim": 3}', "damaged.*shards"),
        (
            '{"format": 2, "any": "thing"}',
            "has format 2, and this version of lightning-interp reads 1: use the version",
        ),
    ],
)
def test_a_manifest_that_cannot_be_read_is_refused(content, what, tmp_path):
    (tmp_path / "index.json").write_text(content)
    with pytest.raises(RuntimeError, match=what):
        read_manifest(tmp_path)


def test_a_shard_of_something_else_is_refused(tmp_path):
    file = write_tensors(tmp_path, "shard-00001.safetensors", {"vectors": vectors()})
    with pytest.raises(RuntimeError, match=r"damaged.*names"):
        read_shard(tmp_path, Shard(**asdict(file), count=6), 5)


@pytest.mark.parametrize("path", ["../shard-00001.safetensors", "/etc/passwd", "x.safetensors"])
def test_a_manifest_cannot_lead_out_of_its_folder(path, tmp_path):
    write_manifest(tmp_path, Manifest("", 5, {}, (write_shard(tmp_path, 1, NAMES, vectors()),)))
    manifest = json.loads((tmp_path / "index.json").read_text())
    manifest["shards"][0]["file"] = path
    (tmp_path / "index.json").write_text(json.dumps(manifest))
    with pytest.raises(RuntimeError, match="no file of an index"):
        read_manifest(tmp_path)


def test_there_is_one_writer(tmp_path):
    expected = pytest.raises(BlockingIOError, match=f"written by process {os.getpid()}: try again")
    with writing(tmp_path), expected, writing(tmp_path):
        pass
    with writing(tmp_path):
        pass


def test_the_lock_of_a_process_that_died_is_no_lock(tmp_path):
    code = (
        "import fcntl, os, sys\n"
        "lock = open(sys.argv[1], 'w')\n"
        "fcntl.flock(lock, fcntl.LOCK_EX)\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "index.lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with other:
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(BlockingIOError, match="by process unknown"), writing(tmp_path):
            pass
        other.kill()
    with writing(tmp_path):
        assert (tmp_path / "index.lock").read_text() == str(os.getpid())
