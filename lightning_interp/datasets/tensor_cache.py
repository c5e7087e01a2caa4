"""One tensor in one file, for results that are dear to compute again."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor


def load_tensor(file: str | Path, *, shape: Sequence[int], dtype: torch.dtype) -> Tensor | None:
    """The tensor in ``file``; None where there is no file, or it is damaged or holds something else."""
    try:
        tensor = load_file(file)["tensor"]
    except (OSError, SafetensorError, KeyError):
        return None
    return tensor if tensor.shape == torch.Size(shape) and tensor.dtype == dtype else None


def save_tensor(file: str | Path, tensor: Tensor) -> None:
    """Write ``file`` whole or not at all, also when several processes do at the same time."""
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f"{file.name}.{os.getpid()}")
    save_file({"tensor": tensor.contiguous()}, unfinished)
    unfinished.replace(file)
