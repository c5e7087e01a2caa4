"""What each factor of a set shows, in names of parts."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from lightning_interp._checks import check_choice, check_int, message
from lightning_interp.functional.localization.mask_areas import check_masks, iou_matrix, mask_areas
from lightning_interp.functional.localization.matching import (
    Groups,
    match_parts,
    merge_factors,
    merge_parts,
    union_masks,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Merging", "PartTable", "part_table"]

Merging: TypeAlias = Literal["parts", "factors", "both", "none"]


@dataclass(frozen=True)
class PartTable:
    """A row per factor, or union of factors, with the part or union of parts that it shows best.

    Attributes:
        factors: Numbers of the factors of each row.
        parts: Names of the parts of each row; none where the factor overlaps no part.
        iou: Their intersection over union, ``(M,)``.
        mutual: Whether the part prefers this factor, too, ``(M,)``: then they match.
    """

    factors: Groups
    parts: tuple[tuple[str, ...], ...]
    iou: Tensor
    mutual: Tensor

    def mean_iou(self, *, without: Sequence[str] = ("background",)) -> float:
        """Mean IoU of the rows that match, a measure of a whole factorisation; NaN when none does.

        Args:
            without: Names of parts; rows that show nothing else are left out.
        """
        shown = [not set(names) <= set(without) for names in self.parts]
        return float(self.iou[self.mutual & torch.tensor(shown)].nanmean())

    def to_dataframe(self) -> "pd.DataFrame":
        """A row per factor: ``factors``, ``parts``, ``iou``, ``mutual``."""
        import pandas as pd  # here, because importing it takes a second

        columns = {
            "factors": ["+".join(map(str, group)) for group in self.factors],
            "parts": ["/".join(names) for names in self.parts],
            "iou": self.iou.tolist(),
            "mutual": self.mutual.tolist(),
        }
        return pd.DataFrame(columns)

    def save(self, path: str | Path) -> None:
        """Write to a safetensors file."""
        meta = {"factors": self.factors, "parts": self.parts}
        save_file({"iou": self.iou, "mutual": self.mutual}, path, metadata={"part_table": json.dumps(meta)})

    @classmethod
    def load(cls, path: str | Path) -> "PartTable":
        """Read what :meth:`save` wrote."""
        with safe_open(path, framework="pt") as file:
            meta = json.loads(file.metadata()["part_table"])
            factors, parts = (tuple(map(tuple, meta[name])) for name in ("factors", "parts"))
            return cls(factors, parts, file.get_tensor("iou"), file.get_tensor("mutual"))


def part_table(
    binary: Tensor,
    truth: Tensor,
    part_names: Sequence[str],
    *,
    known: Sequence[int] | None = None,
    merging: Merging = "parts",
    share: float = 0.2,
) -> PartTable:
    """Name factors by the parts they overlap most, and measure how well.

    Args:
        binary: Masks of factors, bool, ``(N, K, H, W)``.
        truth: Masks of parts, ``(N, T, H, W)``, as in
            :func:`~lightning_interp.functional.localization.mask_areas.mask_areas`. A part called "background" is one
            like any other.
        part_names: Names of the parts.
        known: Predictive: unions and names come from these images alone, the IoU from the others. By default all
            images serve for both: exploratory.
        merging: Unions of ``"parts"`` (thesis, tables 4.1 and 4.4), of ``"factors"``, of ``"both"``, or ``"none"``.
        share: See :func:`~lightning_interp.functional.localization.matching.merge_parts`.

    Returns:
        A row for every factor, then for every union of factors.

    Raises:
        ValueError: Masks differ in size, names do not fit, ``known`` leaves no image to measure, or an option is
            unknown.

    Example:
        >>> factors = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 1]]).bool().view(1, 2, 1, 4)
        >>> parts = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]]).view(1, 3, 1, 4)
        >>> table = part_table(factors, parts, ["head", "neck", "tail"])
        >>> table.parts, table.iou.tolist()
        ((('head', 'neck'), ('tail',)), [1.0, 0.5])

    Reference:
        Thesis, section 4.3.2 and tables 4.1 and 4.4.
    """
    check_choice(merging, "merging", "part_table", get_args(Merging))
    check_masks(binary, truth, "part_table", ndim=4)
    n, (n_factors, n_parts) = len(binary), (binary.shape[1], truth.shape[1])
    if not n_factors or not n_parts or len(part_names) != n_parts:
        must = f"a name for each of {n_parts} parts, and there must be a factor and a part at least"
        raise ValueError(message("part_names", "part_table", must, part_names))
    own, rest = _split(known, n)
    areas = mask_areas(binary[own], truth[own])
    factors: Groups = tuple((k,) for k in range(n_factors))
    parts: Groups = tuple((t,) for t in range(n_parts))
    factors += merge_factors(areas, share=share) if merging in ("factors", "both") else ()
    parts += merge_parts(areas, share=share) if merging in ("parts", "both") else ()
    guess, measured = (
        iou_matrix(union_masks(binary[images], factors), union_masks(truth[images], parts)) for images in (own, rest)
    )
    return _table(guess, measured, factors, parts, part_names)


def _split(known: Sequence[int] | None, n: int) -> tuple[list[int], list[int]]:
    """Images to choose by and images to measure on."""
    if known is None:
        return list(range(n)), list(range(n))
    own = sorted({check_int(i, "known", "part_table", low=0, high=n - 1) for i in known})
    if not 0 < len(own) < n:
        raise ValueError(message("known", "part_table", f"some, but not all, of {n} images", known))
    return own, sorted(set(range(n)) - set(own))


def _table(guess: Tensor, measured: Tensor, factors: Groups, parts: Groups, names: Sequence[str]) -> PartTable:
    likeness, best = guess.nan_to_num(0).max(1)
    named, matches = likeness > 0, match_parts(guess)
    shown = [parts[part] if some else () for part, some in zip(best.tolist(), named, strict=True)]
    return PartTable(
        factors,
        tuple(tuple(names[t] for t in group) for group in shown),
        torch.where(named, measured.gather(1, best[:, None])[:, 0], 0.0),
        torch.tensor([pair in matches for pair in enumerate(best.tolist())]),
    )
