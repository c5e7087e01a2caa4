"""Unpacking what was downloaded: nothing gets out of its folder."""

import stat
import tarfile
import zipfile
from pathlib import Path, PureWindowsPath


def extract_tar(archive: str | Path, folder: str | Path) -> None:
    """Unpack a tar archive, compressed or not, of files and folders.

    Args:
        archive: its path.
        folder: where to.

    Raises:
        ValueError: a member is a link or a device, or lies outside of ``folder``; those before it have been unpacked.
        tarfile.TarError: no tar archive.
    """
    # Python 3.10.12, 3.11.4 and 3.12 bring a filter of their own, which also cleans modes and owners
    options = {"filter": "data"} if hasattr(tarfile, "data_filter") else {"set_attrs": False}
    with tarfile.open(archive) as tar:
        for member in tar:
            _check(archive, member.name, is_plain=member.isfile() or member.isdir())
            tar.extract(member, folder, **options)


def extract_zip(archive: str | Path, folder: str | Path) -> None:
    """Unpack a zip archive of files and folders.

    Args:
        archive: its path.
        folder: where to.

    Raises:
        ValueError: a member is a link or a device, or lies outside of ``folder``; nothing has been unpacked.
        zipfile.BadZipFile: no zip archive, or it is damaged.
    """
    with zipfile.ZipFile(archive) as packed:
        for member in packed.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where it was packed without modes, as on Windows
            _check(archive, member.filename, is_plain=kind in (0, stat.S_IFREG, stat.S_IFDIR))
        packed.extractall(folder)


def _check(archive: str | Path, name: str, *, is_plain: bool) -> None:
    path = PureWindowsPath(name)  # splits at both slashes and knows drives
    outside = path.anchor or ".." in path.parts
    if outside or not is_plain:
        problem = "lies outside of the folder" if outside else "is neither a file nor a folder"
        raise ValueError(f"The archive {str(archive)!r} is not safe to unpack: {name!r} {problem}.")
