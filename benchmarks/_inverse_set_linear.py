"""A neuron whose inverse set is known: a linear one in the unit cube, where it is a slab."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn

from lightning_interp.functional.inverse_set import CodeGenerator, mean_pairwise_distance, sample_inverse_set

WEIGHTS = (1.0, 2.0, -1.0, 0.5, 1.0, -2.0)
SLABS = ((0.0, 0.2), (0.6, 0.8))
_CUBE = 200_000


def linear_rows(seeds: Sequence[int], n: int) -> Iterator[dict[str, Any]]:
    """One row per slab and principal direction of its uniform distribution, the narrowest first."""
    weights = torch.tensor(WEIGHTS) / torch.tensor(WEIGHTS).norm()
    points = torch.rand(_CUBE, len(weights), generator=Generator().manual_seed(0))
    for low, high in SLABS:
        answers = points @ weights
        slab = points[(answers >= low) & (answers <= high)]
        samples = [_sampled(weights, (low, high), n, seed) for seed in seeds]
        inside = [float(((each @ weights >= low) & (each @ weights <= high)).float().mean()) for each in samples]
        variances, directions = torch.linalg.eigh(slab.T.cov())
        ratios = torch.stack([(each @ directions).var(0) / variances for each in samples])
        apart = sum(map(mean_pairwise_distance, samples)) / len(samples) / mean_pairwise_distance(slab[:n])
        for i, variance in enumerate(variances.tolist()):
            row = {"slab": f"{low:g} to {high:g}", "direction": i + 1, "variance, uniform": variance}
            row |= {"variance of samples over it": float(ratios[:, i].mean())}
            row |= {"lowest": float(ratios[:, i].min()), "highest": float(ratios[:, i].max())}
            yield row | {"in range": sum(inside) / len(inside), "diversity over uniform": apart}


def _sampled(weights: Tensor, slab: tuple[float, float], n: int, seed: int) -> Tensor:
    size = len(weights)
    net = nn.Sequential(nn.Flatten(), nn.Linear(size, 1, bias=False))
    net[1].weight.data = weights[None]
    cube = CodeGenerator(nn.Unflatten(1, (1, 1, size)), (size,), valid=False)
    start = torch.rand(10, size, generator=Generator().manual_seed(seed))
    options: dict[str, Any] = {"encoder": nn.Flatten(), "bounds": (0.0, 1.0), "start": start, "seed": seed}
    return sample_inverse_set(net, "1", unit=0, interval=slab, generator=cube, n=n, **options).codes
