"""Descriptors on disk: shards of names and vectors, and the manifest that says which of them count.

Files are written under another name, flushed to the disk and renamed, the manifest last. So a crash leaves what was
there before, or all that is new, and files that no manifest knows.
"""

import hashlib
import json
import os
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from lightning_interp.exceptions import DatasetNotFoundError

try:
    import fcntl
except ImportError:  # Windows: there, nothing keeps two writers apart
    fcntl = None  # type: ignore[assignment]

MANIFEST = "index.json"
FORMAT = 1
_LOCK = "index.lock"
_OURS = re.compile(r"(shard|ivf_pq)-\d{5,}\.safetensors")
_UNFINISHED = ".unfinished"


@dataclass(frozen=True)
class File:
    """A file of the index, with what it takes to notice damage."""

    file: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        if not _OURS.fullmatch(self.file):  # a manifest of a stranger must not lead out of its folder
            raise ValueError(f"no file of an index: {self.file!r}")

    @property
    def number(self) -> int:
        """Files of a kind are numbered as they are written."""
        return int(self.file.removesuffix(".safetensors").rsplit("-", 1)[1])


@dataclass(frozen=True)
class Shard(File):
    """A file of ``count`` names and vectors; the ``dead`` rows were removed or superseded."""

    count: int
    dead: tuple[int, ...] = ()


@dataclass(frozen=True)
class Trained(File):
    """A file with the approximation of the first ``n_shards`` shards, and the checksum of these."""

    n_shards: int
    shards: str


@dataclass(frozen=True)
class Manifest:
    """What an index is made of."""

    fingerprint: str
    dim: int
    about: Mapping[str, Any] = field(default_factory=dict)
    shards: tuple[Shard, ...] = ()
    trained: Trained | None = None

    @property
    def n_rows(self) -> int:
        """Rows in all shards, the dead ones too."""
        return sum(shard.count for shard in self.shards)

    def without(self, rows: Iterable[int]) -> "Manifest":
        """The same with some more rows dead, given by their number over all shards."""
        starts = list(accumulate((shard.count for shard in self.shards), initial=0))
        dead = [set(shard.dead) for shard in self.shards]
        for row in rows:
            number = bisect_right(starts, row) - 1
            dead[number].add(row - starts[number])
        shards = (replace(shard, dead=tuple(sorted(new))) for shard, new in zip(self.shards, dead, strict=True))
        return replace(self, shards=tuple(shards))


def checksum(shards: Iterable[Shard]) -> str:
    """Of the content of some shards, whichever rows are dead."""
    return hashlib.sha256("".join(shard.sha256 for shard in shards).encode()).hexdigest()


class MappedRows:
    """Rows of several matrices as those of one; those of files are read when they are asked for.

    Args:
        parts: Matrices ``(n, D)``.
        dim: Their ``D``.
        rows: Which rows of them, and in which order, ``(N,)``; all by default.
    """

    def __init__(self, parts: Sequence[Tensor], dim: int, rows: Tensor | None = None) -> None:
        ends = torch.tensor([len(part) for part in parts], dtype=torch.long).cumsum(0)
        self._parts, self._ends = parts, ends
        self._rows = torch.arange(int(ends[-1]) if len(ends) else 0) if rows is None else rows
        self.shape = torch.Size([len(self._rows), dim])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: slice | Tensor) -> Tensor:
        rows = self._rows[index]
        found = torch.empty(*rows.shape, self.shape[1])
        numbers = torch.bucketize(rows, self._ends, right=True)
        for number in numbers.unique().tolist():
            part, where = self._parts[number], numbers == number
            found[where] = part[rows[where] - (self._ends[number] - len(part))]
        return found


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder; a missing, damaged or unknown one is refused."""
    file = folder / MANIFEST
    if not file.exists():
        raise FileNotFoundError(f"There is no {MANIFEST} in {str(folder)!r}: make an index with `ImageIndex.create`.")
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        version = found.pop("format")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(file, repr(error)) from None
    if version != FORMAT:
        text = (
            f"The index in {str(folder)!r} has format {version!r}, and this version of lightning-interp reads {FORMAT}"
        )
        raise DatasetNotFoundError(f"{text}: use the version it was made with, or make it anew.")
    try:
        shards = tuple(Shard(**{**shard, "dead": tuple(shard["dead"])}) for shard in found.pop("shards"))
        trained = found.pop("trained")
        return Manifest(**found, shards=shards, trained=None if trained is None else Trained(**trained))
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(file, repr(error)) from None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Make a manifest count, and delete files that no longer do, those of a crash among them."""
    write_whole(folder / MANIFEST, json.dumps({"format": FORMAT, **asdict(manifest)}).encode())
    known = {file.file for file in (*manifest.shards, manifest.trained) if file is not None}
    for file in folder.iterdir():
        name = file.name.removesuffix(_UNFINISHED)
        if file.name not in known and (_OURS.fullmatch(name) or file.name == f"{MANIFEST}{_UNFINISHED}"):
            os.unlink(file)


def write_shard(folder: Path, number: int, names: Sequence[str], vectors: Tensor) -> Shard:
    """Write names and vectors ``(n, D)`` into a file that does not count yet."""
    text = bytearray(json.dumps(list(names)).encode())  # names are content: never a path, never too long for a header
    tensors = {"names": torch.frombuffer(text, dtype=torch.uint8), "vectors": vectors.contiguous()}
    return Shard(**asdict(write_tensors(folder, f"shard-{number:05d}.safetensors", tensors)), count=len(names))


def read_shard(folder: Path, shard: Shard, dim: int) -> tuple[list[str], Tensor]:
    """Names and vectors of a shard; the vectors stay in the file until they are used."""
    tensors = read_tensors(folder, shard)
    try:
        names, vectors = json.loads(bytes(tensors["names"].numpy())), tensors["vectors"]
    except (KeyError, ValueError) as error:
        raise _damaged(folder / shard.file, repr(error)) from None
    if vectors.shape != (shard.count, dim) or vectors.dtype != torch.float32 or len(names) != shard.count:
        raise _damaged(folder / shard.file, f"it has to hold {shard.count} names and vectors of length {dim}")
    return names, vectors


def write_tensors(folder: Path, name: str, tensors: dict[str, Tensor]) -> File:
    """Write tensors into a file of the folder."""
    content = save(tensors)
    write_whole(folder / name, content)
    return File(name, len(content), hashlib.sha256(content).hexdigest())


def read_tensors(folder: Path, file: File) -> dict[str, Tensor]:
    """Tensors of a file, mapped; a file that is missing, cut or changed is refused."""
    path = folder / file.file
    check_size(folder, file)
    digest = hashlib.sha256()
    with path.open("rb") as opened:
        for block in iter(lambda: opened.read(2**20), b""):
            digest.update(block)
    if digest.hexdigest() != file.sha256:
        raise _damaged(path, "its content is not what was written")
    with safe_open(path, framework="pt") as tensors:
        return {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118  # no mapping


def check_size(folder: Path, file: File) -> None:
    """Refuse a file that is missing or cut, without reading it."""
    path = folder / file.file
    if not path.exists():
        raise _damaged(path, "it is missing, unless another process has just changed the index: then open it again")
    if path.stat().st_size != file.size:
        raise _damaged(path, f"it has {path.stat().st_size} bytes of {file.size}")


def write_whole(file: Path, content: bytes) -> None:
    """Write a file whole or not at all, and come back when it is on the disk."""
    unfinished = file.with_name(f"{file.name}{_UNFINISHED}")
    with unfinished.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    os.replace(unfinished, file)
    if os.name == "posix":  # the new name is on the disk when the folder is
        handle = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Be the only writer of a folder; the lock of a process that died is gone with it."""
    with (folder / _LOCK).open("a+", encoding="utf-8") as lock:
        if fcntl is not None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                text = f"The index in {str(folder)!r} is being written by process {lock.read().strip() or 'unknown'}"
                raise BlockingIOError(f"{text}: try again when it is done. Searching is possible meanwhile.") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _damaged(file: Path, why: str) -> DatasetNotFoundError:
    ways = "Bring the file back from a copy, or make the index anew."
    return DatasetNotFoundError(f"The index in {str(file.parent)!r} is damaged: {file.name!r}, {why}. {ways}")
