"""Unpacking what was downloaded: nothing gets out of its folder."""

import tarfile
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
            problem = _problem(member)
            if problem:
                raise ValueError(f"The archive {str(archive)!r} is not safe to unpack: {member.name!r} {problem}.")
            tar.extract(member, folder, **options)


def _problem(member: tarfile.TarInfo) -> str:
    path = PureWindowsPath(member.name)  # splits at both slashes and knows drives
    if path.anchor or ".." in path.parts:
        return "lies outside of the folder"
    return "" if member.isfile() or member.isdir() else "is neither a file nor a folder"
