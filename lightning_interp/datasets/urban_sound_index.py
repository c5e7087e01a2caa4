"""The table of UrbanSound8K: which clip is in which fold and class."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lightning_interp._checks import check_int, message
from lightning_interp.exceptions import DatasetNotFoundError

CLASSES = (
    "air_conditioner", "car_horn", "children_playing", "dog_bark", "drilling",
    "engine_idling", "gun_shot", "jackhammer", "siren", "street_music",
)  # fmt: skip
FOLDS = tuple(range(1, 11))
_TABLE = Path("metadata") / "UrbanSound8K.csv"
_HEADER = ["slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class"]


class Clip(NamedTuple):
    """One row of the table."""

    file: Path
    fold: int
    label: int


def checked_folds(folds: Sequence[int], parameter: str, owner: str) -> tuple[int, ...]:
    """``folds``, sorted; each between 1 and 10 and named once."""
    chosen = tuple(sorted(check_int(fold, parameter, owner, high=len(FOLDS)) for fold in folds))
    if len(set(chosen)) != len(chosen):
        raise ValueError(message(parameter, owner, "different folds", folds))
    return chosen


def find_root(root: str | Path) -> Path | None:
    """``root`` or ``root/UrbanSound8K``, whichever has the table; None when neither does."""
    return next((path for path in (Path(root), Path(root) / "UrbanSound8K") if (path / _TABLE).is_file()), None)


def read_index(root: str | Path) -> list[Clip]:
    """Read the table.

    Args:
        root: the folder ``UrbanSound8K``, or the one it is in.

    Returns:
        All clips in the order of the table; whether their files exist is not looked at.

    Raises:
        DatasetNotFoundError: there is no table, its header is another one, or a row makes no sense.
    """
    found = find_root(root)
    if found is None:
        places = " or ".join(repr(str(Path(root) / part / _TABLE)) for part in ("", "UrbanSound8K"))
        raise DatasetNotFoundError(
            f"There is no UrbanSound8K under {str(root)!r}: no table {places}. Pass the right `root`, or download=True."
        )
    file = found / _TABLE
    with file.open(newline="", encoding="utf-8-sig", errors="replace") as stream:
        header, *rows = list(csv.reader(stream)) or [[]]
    if header != _HEADER:
        raise DatasetNotFoundError(
            f"The table {str(file)!r} must begin with the columns {','.join(_HEADER)}. Got {','.join(header)[:200]}."
            " Reposted tables differ: take the one of the official archive."
        )
    clips = [_clip(row, found, f"line {line} of {str(file)!r}") for line, row in enumerate(rows, start=2) if row]
    if len({clip.file.name for clip in clips}) != len(clips):
        raise DatasetNotFoundError(f"The table {str(file)!r} names a clip twice. Take the one of the official archive.")
    return clips


def _clip(row: list[str], root: Path, where: str) -> Clip:
    name, _, _, _, _, fold, label, kind = row if len(row) == len(_HEADER) else [""] * len(_HEADER)
    # the pattern also keeps the path inside the folder
    known = re.fullmatch(r"\d+-\d-\d+-\d+\.wav", name, re.ASCII) and fold in map(str, FOLDS)
    if not known or (label, kind) not in {(str(i), each) for i, each in enumerate(CLASSES)}:
        raise DatasetNotFoundError(
            f"The clip in {where} must have a name like '100032-3-0-0.wav', a fold in [1, 10] and a class of"
            f" UrbanSound8K with its number. Got {','.join(row)[:200]!r}."
        )
    return Clip(root / "audio" / f"fold{fold}" / name, int(fold), int(label))
