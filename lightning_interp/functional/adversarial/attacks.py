"""Small perturbations that change what a network says: FGSM and PGD."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Generator, Tensor, nn

from lightning_interp._checks import check_choice, check_int, check_number, message
from lightning_interp.functional.synthesis.pixels import PixelSpace
from lightning_interp.hooks import OUTPUT, forward_to

__all__ = ["Norm", "fgsm", "pgd"]

Norm: TypeAlias = Literal["linf", "l2"]

_ROUNDING = 1e-3  # of a pixel: what normalising may cost in half precision


def fgsm(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float = 8 / 255,
    targeted: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Tensor:
    r"""Fast gradient sign method: one step that changes every pixel by epsilon.

    .. math:: x' = x + \epsilon \operatorname{sign}(\nabla_x J(x, y)), \text{ cut to pixels in } [0, 1]

    Args:
        model: A network that maps images to class scores ``(N, n_classes)``; it runs in eval mode and is left as it
            was.
        images: ``(N, C, H, W)`` as the network takes them.
        labels: Classes to lead away from, ``(N,)``; those to lead to, with ``targeted``.
        epsilon: Size of the step, in pixels of [0, 1].
        targeted: Whether ``labels`` are what the network shall say.
        mean: Of the network's normalisation, per channel; None if it takes pixels in [0, 1].
        std: Likewise.

    Returns:
        The perturbed images, ``(N, C, H, W)``.

    Raises:
        ValueError: A label is no class, images are not pixels in [0, 1] once the normalisation is undone, or an option
            is out of range.
        TypeError: The images are not of a floating type.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        >>> _ = net[1].weight.data.copy_(torch.tensor([[1.0, -1.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]]))
        >>> fgsm(net, torch.full((1, 1, 2, 2), 0.5), torch.tensor([0]), epsilon=0.25)
        tensor([[[[0.2500, 0.7500],
                  [0.5000, 0.2500]]]])

    Reference:
        Goodfellow et al., Explaining and harnessing adversarial examples, ICLR 2015, section 4.
    """
    owner = "fgsm"
    space = _checked(images, labels, epsilon, mean, std, owner)
    walk = _Walk(epsilon, "linf", 1, epsilon if targeted else -epsilon)
    return _attack(model, images, labels, torch.zeros_like(images), walk, space, owner)


def pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float = 8 / 255,
    norm: Norm = "linf",
    steps: int = 10,
    step_size: float | None = None,
    random_start: bool = True,
    targeted: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    seed: int = 0,
) -> Tensor:
    r"""Projected gradient descent: steps of steepest ascent of the loss, each put back into the ball around the image.

    .. math:: x^{t+1} = \Pi_{\lVert x - x^0 \rVert \le \epsilon,\, x \in [0, 1]}(x^t + \alpha \, d(\nabla_x J(x^t, y)))

    d being the sign for the maximum norm, and the direction of unit length for the Euclidean norm.

    Args:
        model: As in :func:`fgsm`.
        images: ``(N, C, H, W)`` as the network takes them.
        labels: Classes to lead away from, ``(N,)``; those to lead to, with ``targeted``.
        epsilon: Radius of the ball, in pixels of [0, 1]: how much any value may change (``"linf"``), or the Euclidean
            length of the change of an image (``"l2"``).
        norm: ``"linf"`` or ``"l2"``.
        steps: Number of steps.
        step_size: Their size; ``2.5 * epsilon / steps`` by default, which reaches any place in the ball.
        random_start: Whether to start from a random place in the ball instead of its centre.
        targeted: Whether ``labels`` are what the network shall say.
        mean: Of the network's normalisation, per channel; None if it takes pixels in [0, 1].
        std: Likewise.
        seed: Seed of the random start.

    Returns:
        The perturbed images, ``(N, C, H, W)``.

    Raises:
        ValueError: As in :func:`fgsm`.
        TypeError: Likewise.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        >>> images = torch.rand(2, 3, 2, 2)
        >>> perturbed = pgd(net, images, net(images).argmax(1), epsilon=0.1, norm="l2")
        >>> bool(((perturbed - images).flatten(1).norm(dim=1) <= 0.1 + 1e-6).all())
        True

    Reference:
        Madry et al., Towards deep learning models resistant to adversarial attacks, ICLR 2018, section 2.1 and, for the
        size of the steps, their appendix on l2-bounded attacks.
    """
    owner = "pgd"
    space = _checked(images, labels, epsilon, mean, std, owner)
    check_choice(norm, "norm", owner, get_args(Norm))
    check_int(steps, "steps", owner)
    size = 2.5 * epsilon / steps if step_size is None else check_number(step_size, "step_size", owner)
    generator = Generator().manual_seed(check_int(seed, "seed", owner, low=0))
    walk = _Walk(epsilon, norm, steps, size if targeted else -size)
    start = walk.sample(images, generator) if random_start else torch.zeros_like(images)
    return _attack(model, images, labels, start, walk, space, owner)


@dataclass(frozen=True)
class _Walk:
    """Steps in the ball of the perturbations allowed, in pixels; steps of negative size go down."""

    epsilon: float
    norm: str
    steps: int
    size: float

    def sample(self, like: Tensor, generator: Generator) -> Tensor:
        """Uniform in the ball."""
        if self.norm == "linf":
            noise = 2 * torch.rand(like.shape, generator=generator) - 1
        else:
            radius = torch.rand(len(like), generator=generator) ** (1 / max(1, like[:1].numel()))
            noise = self.steepest(torch.randn(like.shape, generator=generator)) * radius.view(-1, 1, 1, 1)
        return (self.epsilon * noise).to(like)

    def steepest(self, gradient: Tensor) -> Tensor:
        """The step of size 1 that goes up most."""
        return gradient.sign() if self.norm == "linf" else gradient / _lengths(gradient)

    def project(self, delta: Tensor) -> Tensor:
        """The nearest perturbation in the ball."""
        if self.norm == "linf":
            return delta.clamp(-self.epsilon, self.epsilon)
        return delta * (self.epsilon / _lengths(delta)).clamp(max=1)


def _attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    delta: Tensor,
    walk: _Walk,
    space: PixelSpace,
    owner: str,
) -> Tensor:
    """From a perturbation ``delta`` in pixels, ``(N, C, H, W)``."""
    device = next(model.parameters(), images).device
    with forward_to(model, OUTPUT) as features:
        clean, delta, classes = images.to(device).clone(), delta.to(device), labels.to(device).long()
        low, high = space.bounds(clean)
        scale, pixels = high - low, (clean - low) / (high - low)
        delta = delta.clamp(-pixels, 1 - pixels)
        for _ in range(walk.steps):
            seen = (clean + scale * delta).requires_grad_()
            odds = _log_odds(features(seen)[OUTPUT], classes, owner)
            (gradient,) = torch.autograd.grad(odds.sum(), seen)
            delta = walk.project(delta + walk.size * walk.steepest(scale * gradient))
            delta = delta.clamp(-pixels, 1 - pixels)  # the box holds the image, so this only shortens
        return (clean + scale * delta).clamp(low, high).to(images.device)


def _log_odds(scores: Tensor, labels: Tensor, owner: str) -> Tensor:
    """``log(p / (1 - p))`` of the labels, ``(N,)``.

    Its gradient is that of the cross-entropy divided by ``p - 1``: the opposite direction exactly, and it does not
    vanish where the network is sure.
    """
    if scores.ndim != 2 or scores.shape[1] < 2:
        raise ValueError(message("model", owner, "a network with class scores (N, n_classes), two or more", scores))
    last = scores.shape[1] - 1
    if not 0 <= int(labels.min()) <= int(labels.max()) <= last:
        got = [int(labels.min()), int(labels.max())]
        raise ValueError(message("labels", owner, f"in [0, {last}], the classes of the model", got))
    own = torch.nn.functional.one_hot(labels, last + 1).bool()
    return scores[own] - scores.masked_fill(own, -torch.inf).logsumexp(1)


def _lengths(values: Tensor) -> Tensor:
    """``(N, 1, 1, 1)``, never zero."""
    lengths: Tensor = values.flatten(1).norm(dim=1).clamp(min=torch.finfo(values.dtype).tiny)
    return lengths.view(-1, 1, 1, 1)


def _checked(
    images: Tensor,
    labels: Tensor,
    epsilon: float,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    owner: str,
) -> PixelSpace:
    check_number(epsilon, "epsilon", owner)
    if images.ndim != 4 or not len(images):
        raise ValueError(message("images", owner, "of shape (N, C, H, W), at least one", images))
    if not images.is_floating_point():
        raise TypeError(message("images", owner, "of a floating type", images.dtype))
    if labels.shape != images.shape[:1] or labels.is_floating_point():
        raise ValueError(message("labels", owner, f"one class for each of {len(images)} images", labels))
    space = PixelSpace.of(mean, std, channels=images.shape[1])
    low, high = space.bounds(images)
    slack = _ROUNDING * (high - low)
    if not bool(((images >= low - slack) & (images <= high + slack)).all()):
        must = "pixels in [0, 1], once `mean` and `std` are undone"
        got = [round(float(images.min()), 3), round(float(images.max()), 3)]
        text = message("images", owner, must, got)
        raise ValueError(f"{text} Pass `mean` and `std` of the network's normalisation.")
    return space
