"""Measure any choice of signals at one moment of training."""

import time
from collections.abc import Iterable

from lightning_interp._checks import message, suggestion
from lightning_interp.functional.generalization.signals import SIGNALS
from lightning_interp.functional.generalization.snapshot import Snapshot
from lightning_interp.hooks.state import eager

__all__ = ["check_signals", "measure_signals"]


def measure_signals(snapshot: Snapshot, names: Iterable[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Measure some signals at one moment of training.

    Args:
        snapshot: Network and training images.
        names: Keys of :data:`SIGNALS`.

    Returns:
        The values, and the seconds each took (what signals share is counted for the first that needs it).

    Raises:
        ValueError: If a name is unknown, or the network lacks what a signal needs.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        >>> images, labels = torch.rand(6, 4), torch.arange(6) % 2
        >>> values, seconds = measure_signals(Snapshot(net, images, labels), ["gwa", "train_loss"])
        >>> sorted(values)
        ['gwa', 'train_loss']
    """
    values, seconds = {}, {}
    for name in check_signals(names, "measure_signals"):
        began = time.perf_counter()
        with eager(snapshot.model):  # other weights and modes would use up the recompilations of a compiled network
            values[name] = float(SIGNALS[name].measure(snapshot))
        seconds[name] = time.perf_counter() - began
    return values, seconds


def check_signals(names: Iterable[str], owner: str) -> tuple[str, ...]:
    """The names, each once, when all are known."""
    listed = tuple(dict.fromkeys([names] if isinstance(names, str) else names))
    for name in listed:
        if name not in SIGNALS:
            must = f"names among {', '.join(SIGNALS)}"
            raise ValueError(message("signals", owner, must, name) + suggestion(name, SIGNALS))
    return listed
