"""One number per image from what a network says of it: the rankings that the image score is compared with."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from lightning_interp._checks import check_choice, check_int, message
from lightning_interp.functional.compression import class_scores
from lightning_interp.functional.selection._readout import Batches, image_batches
from lightning_interp.functional.selection.image_score import ImageScores, image_scores, join_scores
from lightning_interp.functional.selection.statistics import ClassStatistics
from lightning_interp.hooks import evaluating, preserved_rng

__all__ = ["RANKINGS", "Ranking", "class_predictions", "dropout_scores", "rank_images", "score_images"]

Ranking: TypeAlias = Literal["image_score", "softmax", "margin", "entropy", "random", "flexmatch", "mc_dropout"]

_FLEXMATCH_TAU = 0.95


def _margin(images: ImageScores) -> Tensor:
    first, second = images.probabilities.topk(2, dim=1).values.unbind(1)
    return first - second


def _entropy(images: ImageScores) -> Tensor:
    information: Tensor = torch.special.entr(images.probabilities).sum(1)
    return -information


def _flexmatch(images: ImageScores) -> Tensor:
    """Probability above the class's flexible threshold: a class that is learnt slowly gets a lower one."""
    confidence, n_classes = images.probabilities.amax(1), images.probabilities.shape[1]
    learnt = torch.bincount(images.labels[confidence >= _FLEXMATCH_TAU], minlength=n_classes)
    share = learnt / max(int(learnt.max()), len(images) - int(learnt.sum()), 1)
    return confidence - _FLEXMATCH_TAU * (share / (2 - share))[images.labels]


def _given(images: ImageScores) -> Tensor:
    return images.scores


_FORMULAS: dict[str, Callable[[ImageScores], Tensor]] = {
    "image_score": _given,
    "mc_dropout": _given,
    "softmax": lambda images: images.probabilities.amax(1),
    "margin": _margin,
    "entropy": _entropy,
    "flexmatch": _flexmatch,
}
RANKINGS: tuple[Ranking, ...] = get_args(Ranking)


def rank_images(images: ImageScores, ranking: Ranking, *, seed: int = 0) -> Tensor:
    """One number per image, the higher the better.

    ``"softmax"`` largest probability; ``"margin"`` its distance to the second; ``"entropy"`` negative entropy;
    ``"flexmatch"`` largest probability minus the threshold of its class; ``"random"``; ``"image_score"`` and
    ``"mc_dropout"`` the scores that :func:`image_scores` and :func:`dropout_scores` put there.

    Args:
        images: The whole pool: the thresholds of FlexMatch depend on all of it.
        ranking: One of ``RANKINGS``.
        seed: Of ``"random"``.

    Returns:
        ``(n,)``; NaN where the probabilities are.

    Raises:
        ValueError: An unknown ranking.

    Example:
        >>> probabilities = torch.tensor([[0.9, 0.1], [0.4, 0.6]])
        >>> images = ImageScores(torch.zeros(2), probabilities.argmax(1), probabilities)
        >>> rank_images(images, "margin")
        tensor([0.8000, 0.2000])

    Reference:
        FlexMatch: Zhang et al., NeurIPS 2021, section 3 (tau 0.95, convex mapping).
    """
    check_choice(ranking, "ranking", "rank_images", RANKINGS)
    if ranking == "random":
        drawn = torch.rand(len(images), generator=torch.Generator().manual_seed(seed))
        return drawn.where(~images.probabilities.isnan().any(1), float("nan"))
    return _FORMULAS[ranking](images) if len(images) else images.scores


def score_images(
    model: nn.Module,
    images: Batches,
    ranking: Ranking = "image_score",
    *,
    statistics: ClassStatistics | None = None,
    seed: int = 0,
    **options: Any,
) -> ImageScores:
    """Label images and rank them, by any of the rankings.

    Args:
        model: A network that maps images to class scores.
        images: ``(n, C, H, W)``, or batches ``images`` or ``(images, ...)``.
        ranking: See :func:`rank_images`.
        statistics: Of labelled images, for ``"image_score"``.
        seed: Of ``"random"`` and ``"mc_dropout"``.
        **options: Of :func:`image_scores` or :func:`dropout_scores`; ``batch_size`` with all of them.

    Returns:
        Labels, probabilities and the numbers of the ranking as scores.

    Raises:
        ValueError: An unknown ranking, or no statistics for ``"image_score"``.

    Example:
        >>> from lightning_interp.models import CIFAR10CNN
        >>> score_images(CIFAR10CNN(width=4), torch.rand(5, 3, 32, 32), "entropy").scores.shape
        torch.Size([5])
    """
    check_choice(ranking, "ranking", "score_images", RANKINGS)
    if ranking == "image_score":
        if statistics is None:
            must = "those of labelled images for ranking='image_score': see `class_statistics`"
            raise ValueError(message("statistics", "score_images", must, None))
        return image_scores(model, images, statistics, **options)
    if ranking == "mc_dropout":
        return dropout_scores(model, images, seed=seed, **options)
    found = class_predictions(model, images, **options)
    return replace(found, scores=rank_images(found, ranking, seed=seed))


def class_predictions(model: nn.Module, images: Batches, *, batch_size: int = 100) -> ImageScores:
    """Labels and probabilities of a plain forward pass; the scores are the largest probabilities.

    Args:
        model: A network that maps images to class scores.
        images: ``(n, C, H, W)``, or batches ``images`` or ``(images, ...)``.
        batch_size: Images per batch, for images given as a tensor.

    Example:
        >>> found = class_predictions(torch.nn.Linear(2, 3), torch.rand(4, 2))
        >>> found.probabilities.shape
        torch.Size([4, 3])
    """
    parts = []
    with evaluating(model):
        for batch, _ in image_batches(model, images, batch_size, "class_predictions"):
            probabilities = class_scores(model(batch)).float().softmax(1).cpu()
            parts.append(ImageScores(*probabilities.max(1), probabilities))
    return join_scores(parts)


def dropout_scores(
    model: nn.Module, images: Batches, *, passes: int = 10, seed: int = 0, batch_size: int = 100
) -> ImageScores:
    """Uncertainty by Monte Carlo dropout: the scores are minus the deviation of the label's probability.

    Only dropout layers are switched on; everything else stays in eval mode.

    Args:
        model: A network with dropout that maps images to class scores.
        images: ``(n, C, H, W)``, or batches ``images`` or ``(images, ...)``.
        passes: Forward passes.
        seed: Of the dropout masks; the global random state is left alone.
        batch_size: Images per batch, for images given as a tensor.

    Returns:
        Scores, labels of the mean probabilities, and those probabilities.

    Raises:
        ValueError: No dropout in the model, or fewer than two passes.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 8), nn.Dropout(), nn.Linear(8, 3))
        >>> bool((dropout_scores(model, torch.rand(4, 2)).scores < 0).all())
        True

    Reference:
        Gal and Ghahramani, ICML 2016; as a selection rule UPS: Rizve et al., ICLR 2021, section 3.
    """
    check_int(passes, "passes", "dropout_scores", low=2)
    droppers = [module for module in model.modules() if isinstance(module, _DropoutNd) and module.p > 0]
    if not droppers:
        must = "a network with dropout layers; choose another ranking"
        raise ValueError(message("model", "dropout_scores", must, type(model).__name__))
    parts = []
    with evaluating(model), preserved_rng(seed):
        for dropper in droppers:
            dropper.train()
        for batch, _ in image_batches(model, images, batch_size, "dropout_scores"):
            drawn = torch.stack([class_scores(model(batch)).float().softmax(1) for _ in range(passes)])
            mean = drawn.mean(0)
            labels = mean.argmax(1)
            spread = drawn.std(0).gather(1, labels[:, None])[:, 0]
            parts.append(ImageScores(-spread.cpu(), labels.cpu(), mean.cpu()))
    return join_scores(parts)
