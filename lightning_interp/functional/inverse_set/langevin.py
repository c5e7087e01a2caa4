"""A Langevin chain in the space of codes: the sampler that inverse sets are compared with."""

import torch
from torch import Generator, Tensor

from lightning_interp._checks import check_int, check_number
from lightning_interp.functional.inverse_set.problem import Problem

__all__ = ["langevin_codes"]


def langevin_codes(
    problem: Problem,
    start: Tensor,
    n: int,
    *,
    prior: float = 1e-2,
    condition: float = 0.1,
    noise: float = 1e-2,
    every: int = 20,
    towards: float | None = None,
    generator: Generator | None = None,
) -> tuple[Tensor, int]:
    """Codes along chains that climb the activation, as Plug and Play Generative Networks do.

    ``c <- c - prior c + condition d log p / d c + N(0, noise^2)``. The prior here is a normal distribution of codes,
    where PPGN learn a denoising autoencoder. There is no control of the activation; ``towards`` adds one.

    Args:
        problem: Neurons and generator, see :func:`~lightning_interp.functional.inverse_set.problem.problem`.
        start: Where the chains begin, ``(K, ...)``.
        n: Codes wanted.
        prior: Step towards likely codes, epsilon 1.
        condition: Step along the activation's gradient, of unit length per code, epsilon 2.
        noise: Standard deviation of the noise, epsilon 3.
        every: Steps of a chain between two codes that are taken.
        towards: Place in the interval, 0 to 1, that activations are drawn to; None lets them rise.
        generator: Source of the noise.

    Returns:
        Codes, ``(n, ...)``, inside or not, and the gradient steps they took.

    Reference:
        Nguyen et al., Plug & Play Generative Networks, CVPR 2017, equation 5.
    """
    check_int(n, "n", "langevin_codes")
    check_int(every, "every", "langevin_codes")
    for name, value in {"prior": prior, "condition": condition, "noise": noise}.items():
        check_number(value, name, "langevin_codes")
    generator = generator or Generator().manual_seed(0)
    codes, steps = start.detach().clone(), 0
    taken: list[Tensor] = []
    while len(taken) * len(start) < n:
        for _ in range(every):
            codes = codes.requires_grad_()
            place = problem.place(problem.look(codes).activations)
            score = place.sum() if towards is None else -(place - towards).square().sum()
            (gradient,) = torch.autograd.grad(score, codes)
            length = gradient.flatten(1).norm(dim=1).clamp(min=1e-12).view(-1, *[1] * (codes.ndim - 1))
            drift = condition * gradient / length - prior * codes.detach()
            random = noise * torch.randn(codes.shape, generator=generator).to(codes)
            codes = problem.restrict(codes.detach() + drift + random)
            steps += 1
        taken.append(codes.cpu().clone())  # gradients are asked of the codes themselves
    return torch.cat(taken)[:n], steps
