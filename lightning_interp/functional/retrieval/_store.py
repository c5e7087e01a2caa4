"""Names and vectors in a folder: what is in it, and changes to it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from lightning_interp._checks import message, suggestion
from lightning_interp.functional.retrieval._shards import (
    MANIFEST,
    Manifest,
    MappedRows,
    Trained,
    check_size,
    checksum,
    read_manifest,
    read_shard,
    read_tensors,
    write_manifest,
    write_shard,
    write_tensors,
    writing,
)

_SHARD_BYTES = 2**28


class Store:
    """The content of a folder, read when it is needed.

    Rows are numbered over all shards in the order in which they were added, the dead ones too. When they are numbered
    anew, ``generation`` grows.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.generation = 0
        self._take(manifest)

    def begin(self) -> None:
        """Make the folder, with nothing in it."""
        if (self.folder / MANIFEST).exists() or any(self.folder.glob("shard-*.safetensors")):
            must = "a folder without an index; `ImageIndex.open` opens this one"
            raise FileExistsError(message("folder", "ImageIndex.create", must, str(self.folder)))
        self.folder.mkdir(parents=True, exist_ok=True)
        with writing(self.folder):
            write_manifest(self.folder, self.manifest)

    @classmethod
    def open(cls, folder: Path) -> "Store":
        """Open what is there; what is in the files is read later."""
        manifest = read_manifest(folder)
        for shard in manifest.shards:
            check_size(folder, shard)
        return cls(folder, manifest)

    def _take(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.generation += 1
        self._parts: list[Tensor] = []
        self._all_names: list[str] = []
        self._rows: dict[str, int] = {}

    def __len__(self) -> int:
        return sum(shard.count - len(shard.dead) for shard in self.manifest.shards)

    def _load(self) -> None:
        """Read the shards that were not read yet."""
        for shard in self.manifest.shards[len(self._parts) :]:
            names, vectors = read_shard(self.folder, shard, self.manifest.dim)
            dead, start = set(shard.dead), len(self._all_names)
            self._rows.update((name, start + row) for row, name in enumerate(names) if row not in dead)
            self._all_names += names
            self._parts.append(vectors)

    @property
    def parts(self) -> list[Tensor]:
        """Vectors of each shard."""
        self._load()
        return self._parts

    @property
    def all_names(self) -> list[str]:
        """Names of all rows."""
        self._load()
        return self._all_names

    @property
    def rows(self) -> dict[str, int]:
        """Rows by name, in order."""
        self._load()
        return self._rows

    @property
    def live(self) -> Tensor:
        """The rows that count, ``(N,)``."""
        return torch.tensor(list(self.rows.values()), dtype=torch.long)

    @property
    def vectors(self) -> MappedRows:
        """Those of the rows that count."""
        return MappedRows(self.parts, self.manifest.dim, self.live)

    def add(self, names: Sequence[str], vectors: Tensor, *, supersede: bool) -> None:
        """Append a shard; rows of the same names are dead from then on."""
        with self._writing():
            old = [name for name in names if name in self.rows]
            if old and not supersede:
                must = (
                    f"new names; {len(old)} of them, {old[0]!r} first, are in the index (replace=True supersedes them)"
                )
                raise ValueError(message("names", "ImageIndex.add", must, names))
            shard = write_shard(self.folder, self._next_number, names, vectors)
            rest = self.manifest.without(self._rows[name] for name in old)
            self._commit(replace(rest, shards=(*rest.shards, shard)), gone=old)

    def remove(self, names: Sequence[str]) -> None:
        """Let rows be dead."""
        with self._writing():
            for name in names:
                if name not in self.rows:
                    must = f"names in the index; {name!r} is not{suggestion(name, self.rows)}"
                    raise ValueError(message("names", "ImageIndex.remove", must, names))
            self._commit(self.manifest.without(self._rows[name] for name in names), gone=names)

    def compact(self) -> None:
        """Write the rows that count into as few shards as need be."""
        with self._writing():
            names, vectors, first = list(self.rows), self.vectors, self._next_number
            step = max(1, _SHARD_BYTES // (4 * self.manifest.dim))
            if len(names) == self.manifest.n_rows and len(self.manifest.shards) <= -(-len(names) // step):
                return
            shards = tuple(
                write_shard(self.folder, number, names[start : start + step], vectors[start : start + step])
                for number, start in enumerate(range(0, len(names), step), first)
            )
            manifest = replace(self.manifest, shards=shards, trained=None)
            write_manifest(self.folder, manifest)
            self._take(manifest)

    def keep(self, state: dict[str, Tensor]) -> None:
        """Keep an approximation of all rows, unless another process has written since."""
        with writing(self.folder):
            if read_manifest(self.folder) != self.manifest:
                return
            number = 1 if self.manifest.trained is None else self.manifest.trained.number + 1
            file = write_tensors(self.folder, f"ivf_pq-{number:05d}.safetensors", state)
            shards = self.manifest.shards
            trained = Trained(**asdict(file), n_shards=len(shards), shards=checksum(shards))
            self._commit(replace(self.manifest, trained=trained), gone=())

    def kept(self) -> dict[str, Tensor] | None:
        """The approximation that was kept, where there is one of these rows."""
        trained, shards = self.manifest.trained, self.manifest.shards
        if trained is None or trained.shards != checksum(shards[: trained.n_shards]):
            return None
        return read_tensors(self.folder, trained)

    @property
    def _next_number(self) -> int:
        return max((shard.number for shard in self.manifest.shards), default=0) + 1

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with writing(self.folder):
            now = read_manifest(self.folder)
            if now != self.manifest:  # another process has written since
                self._take(now)
            yield

    def _commit(self, manifest: Manifest, *, gone: Sequence[str]) -> None:
        write_manifest(self.folder, manifest)
        self.manifest = manifest
        for name in gone:
            del self._rows[name]
