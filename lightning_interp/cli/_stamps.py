"""By what an index knows that a picture has changed: size and time of its file, as they were when it was described."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

__all__ = ["Stamp", "append_stamps", "read_stamps", "stamp"]

Stamp: TypeAlias = list[int]
_FILE = "pictures.jsonl"


def stamp(file: Path) -> Stamp:
    """Size in bytes and time of the last change."""
    found = file.stat()
    return [found.st_size, found.st_mtime_ns]


def read_stamps(folder: Path) -> dict[str, Stamp]:
    """Stamps by name; of several the last one counts."""
    file = folder / _FILE
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return {name: stamp for line in lines for name, stamp in _content(line).items()}


def append_stamps(folder: Path, stamps: Mapping[str, Stamp]) -> None:
    """Add stamps, or newer ones, in a line each."""
    with (folder / _FILE).open("a", encoding="utf-8") as file:
        file.writelines(f"{json.dumps({name: stamp})}\n" for name, stamp in stamps.items())


def _content(line: str) -> dict[str, Stamp]:
    try:
        found = json.loads(line)
    except ValueError:  # a crash cut it: the picture is described again
        return {}
    return found if isinstance(found, dict) else {}
