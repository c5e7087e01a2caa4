"""Seconds of NMF against K, and of a whole sweep of ranks (thesis, figure 3.12).

    python -m benchmarks.memorization.timing --preset cpu|gpu|paper

Two shapes of the thesis: 100 ImageNet images at conv5_4 of VGG-19, 19600 x 512 (Titan X: 197 ms at K = 500), and 100
CIFAR-10 images with 8 x 8 maps, 6400 x 512 (135 ms; all K up to 512 in steps of 20, about 2 s). Until convergence, with
the defaults of ``nmf``, by its own solver and by the multiplicative updates of the thesis. A solver is not asked for
more ranks of a matrix once one took longer than the limit.
"""

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from benchmarks.memorization._figures import lines
from benchmarks.memorization._study import Size, Study, arguments, publish
from lightning_interp.exceptions import ConvergenceWarning
from lightning_interp.functional import nmf
from lightning_interp.functional.factorization import factorize_path
from lightning_interp.plots.style import axes_grid, finish

ROWS = {"ImageNet": 19600, "CIFAR-10": 6400}
COLUMNS = 512
RANKS = (1, 8, 32, 500)  # besides the even steps
SOLVERS = {"hals": "ours (HALS)", "mu": "multiplicative updates"}
LIMITS = {"cpu": 15.0, "gpu": 60.0, "paper": 600.0}  # seconds
PRESETS = {name: Size(seeds=(0,), steps=steps) for name, steps in (("cpu", 4), ("gpu", 8), ("paper", 25))}


def activations(n: int, *, device: torch.device) -> Tensor:
    """Sparse non-negative numbers ``(n, 512)`` around rank 40, four fifths zeros, as in deep layers."""
    generator = torch.Generator().manual_seed(0)
    u, v = (torch.rand(shape, generator=generator) ** 4 for shape in ((n, 40), (40, COLUMNS)))
    noisy = (u @ v) * torch.rand(n, COLUMNS, generator=generator)
    return (noisy - noisy[:1000].quantile(0.8)).clamp(min=0).to(device)


def seconds(work: Callable[[], Any], device: torch.device) -> tuple[float, Any]:
    """Wall-clock time of a call, all kernels finished, and what it returned."""
    _finish(device)
    start = time.perf_counter()
    result = work()
    _finish(device)
    return time.perf_counter() - start, result


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rows(study: Study) -> list[dict[str, Any]]:
    """One row per matrix, solver and rank; then one per sweep."""
    step = COLUMNS // study.size.steps
    ks = sorted({*RANKS, *range(step, COLUMNS, step)})
    found = []
    for name, n in ROWS.items():
        a = activations(n, device=study.device)
        nmf(a[:600], 4)  # the first call pays for libraries being loaded
        for solver in SOLVERS:
            found += _ranks(study, a, name, solver, ks)
    grid = list(range(20, COLUMNS, 20))
    a = activations(ROWS["CIFAR-10"], device=study.device)
    options = {"max_iter": 12, "tol": 0.0}  # those of the training callback
    took, path = seconds(lambda: list(factorize_path(a, grid, **options)), study.device)
    labels = {"matrix": f"CIFAR-10 {tuple(a.shape)}", "solver": f"ours, sweep of {len(grid)} ranks"}
    sweep = {"K": f"{grid[0]} ... {grid[-1]}", "seconds": took, "relative error": float(path[-1].error)}
    return [*found, {**labels, **sweep}]


def _ranks(study: Study, a: Tensor, name: str, solver: Any, ks: Sequence[int]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for k in ks:
        took, f = seconds(lambda k=k: nmf(a, k, solver=solver), study.device)
        labels = {"matrix": f"{name} {tuple(a.shape)}", "solver": SOLVERS[solver], "K": k}
        found.append({**labels, "seconds": took, "iterations": f.n_iter, "relative error": float(f.error)})
        print(found[-1], flush=True)
        if took > LIMITS[study.preset]:
            break
    return found


def draw(found: list[dict[str, Any]]) -> Figure:
    """One panel per matrix, one line per solver."""
    figure, axes = axes_grid(1, 2)
    for axis, name in zip(axes, ROWS, strict=True):
        own = [row for row in found if row["matrix"].startswith(name) and isinstance(row["K"], int)]
        points = [(row["solver"], row["K"], row["seconds"]) for row in own]
        lines(axis, pd.DataFrame(points, columns=["solver", "x", "y"]), "solver", shaded=False)
        finish(axis, title=own[0]["matrix"], x="rank K", y="seconds")
        axis.set_yscale("log")
        axis.legend(fontsize=8)
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    study = arguments(__doc__, argv, data=("cifar10",), presets=PRESETS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = rows(study)
    where = torch.cuda.get_device_name() if study.device.type == "cuda" else "CPU"
    notes = (
        f"On {where}. Random sparse matrices, one run each; `nmf` with its defaults (tol 1e-4, at most 200 iterations),"
        " the sweep with those of the training callback (12 iterations per rank, started from the rank before)."
        f" A solver stops at the first rank that takes longer than {LIMITS[study.preset]:g} s."
    )
    publish(study, "timing", found, draw(found), notes=notes)


if __name__ == "__main__":
    main()
