"""Gradient ascent on images: one loop for maximisation, inversion, fooling and style transfer."""

import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Generator, Tensor, nn

from lightning_interp._checks import check_choice, check_int, check_number, message
from lightning_interp.exceptions import ConvergenceWarning
from lightning_interp.functional.synthesis._search import Search, Stopped
from lightning_interp.functional.synthesis.image_params import ImageParameters, PixelImages
from lightning_interp.functional.synthesis.objectives import Objective
from lightning_interp.functional.synthesis.regularizers import Regularizer
from lightning_interp.hooks import differentiable, forward_to

__all__ = ["Ascent", "OptimizerName", "Stopped", "ascend"]

OptimizerName: TypeAlias = Literal["adam", "sgd", "lbfgs"]


@dataclass(frozen=True)
class Ascent:
    """What :func:`ascend` found.

    Attributes:
        images: The best iterate of each image, ``(N, C, H, W)`` as the network takes them.
        scores: Its objective, without penalties, ``(N,)``.
        trace: The objective at the start and after each step, ``(T, N)``.
        stopped: Why it ended: ``"steps"``, ``"threshold"``, ``"interrupted"`` or ``"not finite"``.
    """

    images: Tensor
    scores: Tensor
    trace: Tensor
    stopped: Stopped


def ascend(
    model: nn.Module,
    objectives: Objective | Sequence[Objective],
    parameters: ImageParameters,
    *,
    regularizers: Sequence[Regularizer] = (),
    steps: int = 256,
    lr: float = 0.05,
    optimizer: OptimizerName = "adam",
    threshold: float | None = None,
    generator: Generator | None = None,
    owner: str = "ascend",
) -> Ascent:
    """Change images until their objectives are as large as they get.

    Where no gradient reaches an image because every ReLU on the way is off, they count as leaky until they wake up, and
    penalties wait. Ctrl-C ends the loop and keeps the images.

    Args:
        model: A network; it runs in eval mode up to the last layer needed and is left as it was.
        objectives: One for all images, or one for each.
        parameters: The images, and what is optimised in their place. Its values are changed.
        regularizers: See :mod:`lightning_interp.functional.synthesis.regularizers`.
        steps: Steps at most.
        lr: Learning rate.
        optimizer: ``"adam"``, ``"sgd"`` (plain gradient ascent) or ``"lbfgs"``, for which all images are one problem.
        threshold: An image is finished once its objective reaches this.
        generator: Source of random views.
        owner: Function named in errors.

    Returns:
        The best image of each, by objective minus penalties, and the trace.

    Raises:
        ValueError: An option is out of range, or the objective is not finite at the start.
        TypeError: An argument is of another type.

    Example:
        >>> from lightning_interp.functional.synthesis.objectives import channel
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.ReLU())
        >>> found = ascend(net, channel("1", 0), PixelImages(torch.zeros(1, 1, 5, 5)), steps=9)
        >>> bool(found.trace[-1] > found.trace[0]), found.stopped
        (True, 'steps')
    """
    check_int(steps, "steps", owner)
    check_number(lr, "lr", owner)
    check_choice(optimizer, "optimizer", owner, get_args(OptimizerName))
    several = [objectives] if isinstance(objectives, Objective) else list(objectives)
    _check(several, parameters, regularizers, owner)
    layers = list(dict.fromkeys(layer for objective in several for layer in objective.layers))
    generator = generator or Generator().manual_seed(0)
    dtype = next((parameter.dtype for parameter in model.parameters()), torch.float32)
    search = Search(several, parameters, regularizers, generator, threshold, owner, dtype, optimizer == "adam")
    stopped: Stopped = "steps"
    with ExitStack() as stack:
        features = stack.enter_context(forward_to(model, layers))
        for module in parameters.modules:
            stack.enter_context(differentiable(module))
        try:
            stopped = search.run(features, steps, _optimizer(optimizer, parameters, lr))
        except KeyboardInterrupt:
            if not search.trace:
                raise
            stopped = "interrupted"
    if stopped == "not finite":
        text = f"The objective of `{owner}` was not finite after {len(search.trace)} steps: the best images before are"
        warnings.warn(f"{text} returned. Lower `lr` (it is {lr:g}).", ConvergenceWarning, stacklevel=3)
    return Ascent(search.best, search.scores, torch.stack(search.trace), stopped)


def _optimizer(name: str, parameters: ImageParameters, lr: float) -> torch.optim.Optimizer:
    leaves = [parameters.values]
    if name == "lbfgs":
        return torch.optim.LBFGS(leaves, lr=lr, max_iter=1, max_eval=20, line_search_fn="strong_wolfe")
    kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}
    return kinds[name](leaves, lr=lr)


def _check(objectives: Sequence[Any], parameters: Any, regularizers: Sequence[Any], owner: str) -> None:
    expected = (
        ("objectives", objectives, Objective, "objectives, such as channel(layer, index)"),
        ("parameters", [parameters], ImageParameters, "image parameters, such as PixelImages(start)"),
        ("regularizers", regularizers, Regularizer, "regularizers, such as TotalVariation()"),
    )
    for name, values, kind, must in expected:
        for wrong in (value for value in values if not isinstance(value, kind)):
            raise TypeError(message(name, owner, must, wrong))
    if len(objectives) not in (1, len(parameters.values)):
        must = f"one for all images or one for each of {len(parameters.values)}"
        raise ValueError(message("objectives", owner, must, f"{len(objectives)} objectives"))
    if not isinstance(parameters, PixelImages):
        for regularizer in (each for each in regularizers if each.edits):
            must = "without edits of pixels unless the parameters are pixels (parameters='pixel')"
            raise ValueError(message("regularizers", owner, must, regularizer))
