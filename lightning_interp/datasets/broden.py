"""Broden, the broadly and densely labelled dataset of Network Dissection."""

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_interp._checks import message, suggestion
from lightning_interp.datasets.broden_index import (
    INDEX,
    Row,
    read_categories,
    read_labels,
    read_numbers,
    read_rows,
    where,
)
from lightning_interp.datasets.concept_files import check_shape, read_picture
from lightning_interp.exceptions import DatasetNotFoundError


class Broden(Dataset[tuple[Any, dict[str, Any]]]):
    """Broden: 63305 pictures with colours, objects, parts, materials, scenes and textures, as a concept dataset.

    A picture comes with the categories that are annotated in it: masks ``(h, w)``, half as large as the picture in the
    official folders; stacks ``(L, h, w)`` of layers, dominant first; an int for the whole picture, or a stack of
    constant layers where several hold for it. Pictures with none of the chosen categories are left out.

    Args:
        root: the folder with ``index.csv``, such as ``broden1_224``.
        split: ``"train"``, ``"val"`` or what else the index has; all pictures, as Network Dissection does, when None.
        categories: which of the dataset's; all when None.
        strict: True reports what is missing or outside of the folder at once, and what is damaged when it is met.
            False reads every file once at the start (minutes for all of Broden) and leaves out, with a warning, rows
            that are damaged and categories without labels or pictures.
        transform: applied to the image, a float tensor ``(3, h, w)`` in [0, 1]; it must not move pixels.

    Attributes:
        concepts: names by category, entry 0 is "unlabelled"; those of colours end in -c and those of scenes in -s.
        rows: of the index, those in use.
        skipped: what was left out, one sentence each, with line and file.

    Raises:
        DatasetNotFoundError: a table is missing or another one; a row names a file that is missing, damaged, of another
            size or outside of the folder; a category has no labels or no pictures. The message names line and file.
        ValueError: an unknown category or split.

    Reference:
        Bau et al., Network Dissection, CVPR 2017, section 2.1.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        split: str | None = None,
        categories: Sequence[str] | None = None,
        strict: bool = True,
        transform: Callable[[Tensor], Any] | None = None,
    ) -> None:
        self.folder, self.split, self.strict, self.transform = Path(root), split, strict, transform
        self.skipped: list[str] = []
        wanted = _checked_categories(categories, read_categories(self.folder))
        self._labels = {category: read_labels(self.folder, category) for category in wanted}
        self._drop([c for c in wanted if len(self._labels[c].names) == 1], "its table lists no labels")
        listed = self._listed_rows()
        used = {category for row in listed for category in row.annotations}  # the same for all splits
        self._drop([c for c in self._labels if c not in used], "no picture is annotated with it")
        rows = self._present([row for row in listed if split in (None, row.split) and row.annotations])
        self.rows = rows if strict else self._readable(rows)
        self.concepts = {category: labels.names for category, labels in self._labels.items()}
        self._report()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Any, dict[str, Any]]:
        row = self.rows[index]
        try:
            image, targets = self._read(row)
        except DatasetNotFoundError as error:
            raise DatasetNotFoundError(
                f"{where(self.folder, row.line, error)} Or pass strict=False to leave out what is damaged."
            ) from error
        return self.transform(image) if self.transform else image, targets

    def _listed_rows(self) -> list[Row]:
        rows = []
        for row in read_rows(self.folder, list(self._labels)):
            if isinstance(row, str):
                self._leave_out(row)
            else:
                rows.append(row)
        splits = sorted({row.split for row in rows})
        if self.split is not None and self.split not in splits:
            must = f"None or one of {', '.join(map(repr, splits))}, the splits in {INDEX}"
            raise ValueError(message("split", "Broden", must, self.split))
        return rows

    def _present(self, rows: list[Row]) -> list[Row]:
        """Rows whose files are there."""
        kept = []
        for row in rows:
            missing = next((path for path in self._files(row) if not os.path.isfile(path)), None)
            if missing is None:
                kept.append(row)
            else:
                self._leave_out(where(self.folder, row.line, f"there is no file {missing!r}."))
        return kept

    def _files(self, row: Row) -> list[str]:
        masks = (entry for entries in row.annotations.values() for entry in entries if not entry.isdecimal())
        return [f"{self.folder}/images/{name}" for name in (row.image, *masks)]  # a quarter of a million

    def _path(self, name: str) -> Path:
        return self.folder / "images" / name

    def _readable(self, rows: list[Row]) -> list[Row]:
        def problem(row: Row) -> str | None:
            try:
                self._read(row)
            except DatasetNotFoundError as error:
                return where(self.folder, row.line, error)
            return None

        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
            problems = list(threads.map(problem, rows))
        self.skipped += filter(None, problems)
        return [row for row, found in zip(rows, problems, strict=True) if found is None]

    def _drop(self, categories: Sequence[str], reason: str) -> None:
        for category in categories:
            self._leave_out(f"The category {category!r} of {str(self.folder)!r} is empty: {reason}.")
            del self._labels[category]

    def _leave_out(self, problem: str) -> None:
        if self.strict:
            raise DatasetNotFoundError(f"{problem} Repair it, or pass strict=False to leave it out.")
        self.skipped.append(problem)

    def _report(self) -> None:
        if not self.rows:
            asked = f"split {self.split!r}, categories {', '.join(map(repr, self._labels)) or 'none'}"
            problems = " ".join(["", *self.skipped[:3]])
            raise DatasetNotFoundError(f"No picture of {str(self.folder)!r} is left ({asked}).{problems}")
        if self.skipped:
            warnings.warn(
                f"{len(self.skipped)} rows or categories of {str(self.folder)!r} are left out. "
                f"{' '.join(self.skipped[:3])}{' ...' if len(self.skipped) > 3 else ''}",
                UserWarning,
                stacklevel=3,
            )

    def _read(self, row: Row) -> tuple[Tensor, dict[str, Any]]:
        file = self._path(row.image)
        image, size = read_picture(file)
        check_shape(file, size, row.size, f"{INDEX} says")
        return image, {
            category: self._target(row, category) for category in self._labels if category in row.annotations
        }

    def _target(self, row: Row, category: str) -> Tensor | int:
        codes = self._labels[category].codes
        layers = [
            _whole(int(entry), codes, category) if entry.isdecimal() else self._mask(entry, row, category)
            for entry in row.annotations[category]
        ]
        if len(layers) == 1:
            return layers[0]
        return torch.stack([torch.as_tensor(layer).expand(row.mask_size) for layer in layers])

    def _mask(self, name: str, row: Row, category: str) -> Tensor:
        file = self._path(name)
        numbers = read_numbers(file)
        check_shape(file, numbers.shape, row.mask_size, f"{INDEX} says")
        codes = self._labels[category].codes[numbers]
        if codes.min() < 0:
            raise DatasetNotFoundError(
                f"The mask {str(file)!r} holds the number {numbers[codes < 0][0]}, which is no label of {category!r}."
            )
        return torch.from_numpy(codes)


def _whole(number: int, codes: npt.NDArray[np.int64], category: str) -> int:
    if codes[number] < 0:
        raise DatasetNotFoundError(f"The number {number} is no label of {category!r}.")
    return int(codes[number])


def _checked_categories(categories: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    if categories is None:
        return list(known)
    for category in categories:
        if category not in known:
            must = f"None or some of {', '.join(map(repr, known))}"
            raise ValueError(message("categories", "Broden", must, category) + suggestion(category, known))
    return list(dict.fromkeys(categories))
