"""Hashes by which a network is known again."""

import hashlib
from typing import Any

import torch
from torch import Tensor, nn

from lightning_interp.hooks.names import unwrap


def model_fingerprint(model: nn.Module) -> str:
    """Hash of a network's printed structure, parameters and buffers; what the code of ``forward`` does is not in it.

    Args:
        model: any module; one that is wrapped or compiled has the fingerprint of what is inside.

    >>> model_fingerprint(nn.ReLU()) == model_fingerprint(nn.ReLU()) != model_fingerprint(nn.Tanh())
    True
    """
    model = unwrap(model)
    digest = hashlib.sha256(repr(model).encode())
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        add_tensor(digest, name, tensor)
    return digest.hexdigest()


def add_tensor(digest: Any, name: str, tensor: Tensor) -> None:
    """Add name, type, shape and bytes of a tensor to a hash of ``hashlib``."""
    digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
    digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy())
