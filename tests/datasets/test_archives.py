import io
import stat
import tarfile
import zipfile

import pytest

from lightning_interp.datasets.archives import extract_tar, extract_zip


def pack(file, members):
    with tarfile.open(file, "w:gz") as tar:
        for name, kind in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "../outside"
            info.size = 3 * (kind == tarfile.REGTYPE)
            tar.addfile(info, io.BytesIO(b"abc"))


@pytest.fixture(params=[True, False], ids=["filter", "old python"])
def python(request, monkeypatch):
    if not request.param:
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    elif not hasattr(tarfile, "data_filter"):
        pytest.skip("this Python has no filters")


@pytest.mark.filterwarnings("ignore:Python 3.14 will:DeprecationWarning")
def test_files_and_folders(tmp_path, python):
    pack(tmp_path / "x.tgz", [("./", tarfile.DIRTYPE), ("a", tarfile.DIRTYPE), ("a/..b.txt", tarfile.REGTYPE)])
    extract_tar(tmp_path / "x.tgz", tmp_path / "out")
    assert (tmp_path / "out" / "a" / "..b.txt").read_bytes() == b"abc"


@pytest.mark.filterwarnings("ignore:Python 3.14 will:DeprecationWarning")
@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "C:evil", "C:\\evil", "a\\..\\..\\evil"])
def test_nothing_gets_out(tmp_path, python, name):
    pack(tmp_path / "x.tgz", [("good", tarfile.REGTYPE), (name, tarfile.REGTYPE)])
    with pytest.raises(ValueError, match=r"is not safe to unpack: .*evil' lies outside of the folder"):
        extract_tar(tmp_path / "x.tgz", tmp_path / "out")
    assert {path.name for path in tmp_path.rglob("*")} == {"x.tgz", "out", "good"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path, python, kind):
    pack(tmp_path / "x.tgz", [("link", kind)])
    with pytest.raises(ValueError, match="'link' is neither a file nor a folder"):
        extract_tar(tmp_path / "x.tgz", tmp_path / "out")


def zipped(file, members):
    with zipfile.ZipFile(file, "w") as packed:
        for name, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            packed.writestr(info, "" if name.endswith("/") else "abc")


def test_files_and_folders_of_a_zip(tmp_path):
    zipped(tmp_path / "x.zip", [("a b!/", stat.S_IFDIR | 0o755), ("a b!/..b.txt", stat.S_IFREG | 0o644), ("c.txt", 0)])
    extract_zip(tmp_path / "x.zip", tmp_path / "out")
    assert (tmp_path / "out" / "a b!" / "..b.txt").read_bytes() == b"abc"
    assert (tmp_path / "out" / "c.txt").read_bytes() == b"abc"


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "C:evil", "C:\\evil", "a\\..\\..\\evil"])
def test_nothing_gets_out_of_a_zip(tmp_path, name):
    zipped(tmp_path / "x.zip", [("good", 0), (name, 0)])
    with pytest.raises(ValueError, match=r"is not safe to unpack: .*evil' lies outside of the folder"):
        extract_zip(tmp_path / "x.zip", tmp_path / "out")
    assert [path.name for path in tmp_path.rglob("*")] == ["x.zip"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_in_a_zip_are_refused(tmp_path, kind):
    zipped(tmp_path / "x.zip", [("link", kind | 0o777)])
    with pytest.raises(ValueError, match="'link' is neither a file nor a folder"):
        extract_zip(tmp_path / "x.zip", tmp_path / "out")


def test_no_archive(tmp_path):
    (tmp_path / "x.tgz").write_bytes(b"<html>")
    with pytest.raises(tarfile.TarError):
        extract_tar(tmp_path / "x.tgz", tmp_path)
    with pytest.raises(zipfile.BadZipFile):
        extract_zip(tmp_path / "x.tgz", tmp_path)
