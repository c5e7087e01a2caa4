"""Model assembly: models boosted for one class each decide together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_interp._checks import message

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Assembly", "assemble"]


@dataclass(frozen=True)
class Assembly:
    """What several models decide together.

    Attributes:
        labels: The label of each image, ``(n,)``.
        models: The model whose claim won, ``(n,)``; -1 where none claimed the image and the baseline decided.
        n_claims: Number of models that claimed the image, ``(n,)``.
    """

    labels: Tensor
    models: Tensor
    n_claims: Tensor

    def to_dataframe(self) -> "pd.DataFrame":
        """One row per image: its label, the model it comes from, and the number of claims."""
        import pandas as pd  # here, because importing it takes a second

        columns = {"label": self.labels, "model": self.models, "n_claims": self.n_claims}
        return pd.DataFrame({name: column.cpu().numpy() for name, column in columns.items()})


def assemble(scores: Tensor, labels: Tensor, baseline: Tensor, *, classes: Sequence[int] | None = None) -> Assembly:
    """Let the ``k``-th model claim the images it labels ``classes[k]``, and give each image to the best claim.

    An image claimed several times gets the class of the claim with the highest score, of the lower ``k`` among equal
    scores. An image that no model claims gets the label of the baseline: the paper does not say what to do with it.

    Args:
        scores: Image score of each image under each model and its label there, ``(K, n)``; higher is better.
        labels: Label each model gives each image, ``(K, n)``.
        baseline: Label the baseline model gives each image, ``(n,)``.
        classes: The class each model was boosted for, ``K`` of them; model ``k`` for class ``k`` by default.

    Returns:
        The labels and where they come from.

    Raises:
        ValueError: If shapes do not fit together, or a claim has a score that is not finite.

    Example:
        >>> scores = torch.tensor([[-1.0, -3.0, -2.0], [-2.0, -1.0, -1.0]])
        >>> labels = torch.tensor([[0, 0, 1], [1, 1, 0]])
        >>> assemble(scores, labels, torch.tensor([1, 1, 1])).labels
        tensor([0, 1, 1])

    Reference:
        Image score, section 3.1 (model assembly) and table 3.
    """
    wanted = _check(scores, labels, baseline, classes)
    claims = labels == wanted.unsqueeze(1)
    if not scores[claims].isfinite().all():
        raise ValueError(message("scores", "assemble", "finite wherever a model claims an image", scores))
    # Of equal scores argmax takes the first.
    best = scores.masked_fill(~claims, -torch.inf).argmax(0)
    claimed = claims.any(0)
    return Assembly(
        labels=torch.where(claimed, wanted[best], baseline),
        models=torch.where(claimed, best, -1),
        n_claims=claims.sum(0),
    )


def _check(scores: Tensor, labels: Tensor, baseline: Tensor, classes: Sequence[int] | None) -> Tensor:
    """The class of each model, once all shapes fit."""
    if scores.ndim != 2 or not scores.is_floating_point() or len(scores) == 0:
        raise ValueError(message("scores", "assemble", "floats of shape (models, images)", scores))
    for name, value, shape in (("labels", labels, scores.shape), ("baseline", baseline, scores.shape[1:])):
        if value.shape != shape or value.is_floating_point():
            raise ValueError(message(name, "assemble", f"class numbers of shape {tuple(shape)}", value))
    wanted = list(range(len(scores)) if classes is None else classes)
    if len(wanted) != len(scores):
        must = f"{len(scores)} class numbers, one per row of `scores`"
        raise ValueError(message("classes", "assemble", must, wanted))
    return torch.tensor(wanted, device=labels.device, dtype=labels.dtype)
