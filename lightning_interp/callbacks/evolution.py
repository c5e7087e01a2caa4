"""Small pictures of the same things over a training, a column per snapshot."""

from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import interpolate, pad

from lightning_interp.plots.pictures import plot_pictures

__all__ = ["Evolution"]

_SIDE = 64  # pixels of a thumbnail at most: some hundred of them are to fit into a checkpoint


class Evolution:
    """Thumbnails by epoch. When there are too many columns every second one goes, and later ones come half as often.

    The latest is always there.

    Args:
        n_columns: Snapshots to keep at most.

    Example:
        >>> evolution = Evolution(n_columns=4)
        >>> for epoch in range(10):
        ...     evolution.add(float(epoch), ["a unit"], [torch.rand(3, 8, 8)])
        >>> evolution.epochs
        [0.0, 4.0, 8.0, 9.0]
    """

    def __init__(self, n_columns: int = 10) -> None:
        self.n_columns = n_columns
        self.epochs: list[float] = []
        self.names: list[str] = []
        self.columns: list[list[Tensor]] = []
        self._numbers: list[int] = []  # which snapshot each column is
        self._stride = 1

    def add(self, epoch: float, names: Sequence[str], pictures: Sequence[Tensor]) -> None:
        """A snapshot: a picture ``(C, h, w)`` in [0, 1] for each name; the names stay the same."""
        number = self._numbers[-1] + 1 if self._numbers else 0
        self.names = list(names)
        self.epochs.append(epoch)
        self.columns.append([_thumbnail(picture) for picture in pictures])
        self._numbers.append(number)
        self._keep()
        while len(self.epochs) > self.n_columns:
            self._stride *= 2
            self._keep()

    def _keep(self) -> None:
        last = len(self._numbers) - 1
        kept = [i for i, number in enumerate(self._numbers) if number % self._stride == 0 or i == last]
        self.epochs = [self.epochs[i] for i in kept]
        self.columns = [self.columns[i] for i in kept]
        self._numbers = [self._numbers[i] for i in kept]

    def figure(self) -> Figure:
        """A row per name, a column per snapshot."""
        pictures = [column[row].float() / 255 for row in range(len(self.names)) for column in self.columns]
        titles = [f"epoch {epoch:g}" for epoch in self.epochs] + [""] * (len(pictures) - len(self.epochs))
        return plot_pictures(pictures, titles, rows=self.names)

    @property
    def nbytes(self) -> int:
        """Of the thumbnails."""
        return sum(picture.nbytes for column in self.columns for picture in column)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        columns = [list(column) for column in self.columns]
        counts = {"numbers": list(self._numbers), "stride": self._stride}
        return {"epochs": list(self.epochs), "names": list(self.names), "columns": columns, **counts}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.epochs, self.names = list(state["epochs"]), list(state["names"])
        self.columns = [list(column) for column in state["columns"]]
        self._numbers, self._stride = list(state["numbers"]), state["stride"]


def _thumbnail(picture: Tensor) -> Tensor:
    """``(1 or 3, side, side)`` bytes, the picture in the middle."""
    picture = picture.detach().float().cpu().clamp(0, 1)
    picture = picture if len(picture) in (1, 3) else picture.mean(0, keepdim=True)
    longest = max(picture.shape[1:])
    if longest > _SIDE:
        size = [max(1, round(side * _SIDE / longest)) for side in picture.shape[1:]]
        picture = interpolate(picture[None], size, mode="bilinear", antialias=True)[0]
    height, width = picture.shape[1:]
    down, right = (max(height, width) - side for side in (height, width))
    framed = pad(picture, (right // 2, right - right // 2, down // 2, down - down // 2), value=1.0)
    return (255 * framed).round().to(torch.uint8)
