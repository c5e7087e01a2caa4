"""How different images are from each other, over batches and ranks."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lightning_interp._checks import message
from lightning_interp.functional.inverse_set.diversity import mean_pairwise_distance

__all__ = ["PairwiseDiversity"]


class PairwiseDiversity(Metric):
    """Mean Euclidean distance over all pairs of images, also of pairs whose images are on different ranks.

    Features are kept, because no summary of them gives the mean distance exactly. Where distributed, every rank must
    add one image at least.

    Args:
        **kwargs: Passed to :class:`torchmetrics.Metric`.

    Example:
        >>> diversity = PairwiseDiversity()
        >>> diversity.update(torch.tensor([[0.0], [1.0]]))
        >>> diversity.update(torch.tensor([[3.0]]))
        >>> diversity.compute()
        tensor(2.)

    Reference:
        Hada and Carreira-Perpinan, Sampling the "Inverse Set" of a Neuron, 2020, table 1.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    rows: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("rows", [], dist_reduce_fx="cat")

    def update(self, features: Tensor) -> None:
        """Add some images; none at all is fine.

        Args:
            features: What an encoder says of them, ``(N, ...)``, alike in shape over all updates.

        Raises:
            ValueError: There is no row per image, or rows are of another length than before.
        """
        if features.ndim < 2:
            raise ValueError(message("features", "PairwiseDiversity", "a row for each image, (N, ...)", features))
        if not len(features):
            return
        rows = features.detach().flatten(1).to(self.device)
        if self.rows and rows.shape[1] != self.rows[0].shape[1]:
            must = f"rows of length {self.rows[0].shape[1]}, as before"
            raise ValueError(message("features", "PairwiseDiversity", must, features))
        self.rows.append(rows)

    def compute(self) -> Tensor:
        """The mean over all pairs; NaN for fewer than two images."""
        empty = isinstance(self.rows, list) and not self.rows
        value = float("nan") if empty else mean_pairwise_distance(dim_zero_cat(self.rows))
        return torch.tensor(value, device=self.device)
