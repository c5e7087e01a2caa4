"""Networks by name, with their weights from a file or from torchvision."""

import importlib
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn

import lightning_interp.models
from lightning_interp._checks import message, suggestion

__all__ = ["load_network"]


def load_network(
    name: str, *, arguments: dict[str, Any] | None = None, ckpt: str | Path | None = None, weights: str | None = None
) -> nn.Module:
    """Build a network and load its weights.

    Args:
        name: Of torchvision (``"squeezenet1_1"``), of this package (``"CIFAR10CNN"``), or an import path
            (``"my_project.networks.Net"``).
        arguments: Of its constructor.
        ckpt: A Lightning checkpoint, a state dict (``.pth``) or a ``.safetensors`` file; names of parameters may have a
            common prefix, such as that of the LightningModule's attribute.
        weights: Name of torchvision's weights, ``"DEFAULT"`` for its best; they are downloaded.

    Returns:
        The network, in eval mode.

    Raises:
        ValueError: No such network, no weights, or weights of another network.

    Example:
        >>> load_network("resnet18", weights="random").training
        False
    """
    if (ckpt is None) == (weights is None):
        must = "given, or --weights DEFAULT (torchvision's) or --weights random, but not both"
        raise ValueError(message("ckpt", "load_network", must, ckpt))
    known = torchvision.models.list_models()
    if name in known:
        chosen = None if weights == "random" else weights
        net: nn.Module = torchvision.models.get_model(name, weights=chosen, **(arguments or {}))
    else:
        if weights not in (None, "random"):
            raise ValueError(message("weights", "load_network", "'random': these are torchvision's", weights))
        net = _class(name, known)(**(arguments or {}))
    if ckpt is not None:
        net.load_state_dict(_matching(_read(Path(ckpt)), net, ckpt))
    net.eval()
    return net


def _class(name: str, known: list[str]) -> type[nn.Module]:
    path, _, last = name.rpartition(".")
    module = importlib.import_module(path) if path else lightning_interp.models
    found = getattr(module, last, None)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        names = [*known, *lightning_interp.models.__all__]
        must = "a network of torchvision or of lightning_interp.models, or the import path of an nn.Module"
        raise ValueError(message("model", "load_network", must, name) + suggestion(name, names))
    return found


def _read(file: Path) -> dict[str, Tensor]:
    if file.suffix == ".safetensors":
        return load_file(file)
    content = torch.load(file, map_location="cpu", weights_only=True)
    state: dict[str, Tensor] = content.get("state_dict", content)
    return state


def _matching(state: dict[str, Tensor], net: nn.Module, file: str | Path) -> dict[str, Tensor]:
    """The entries of ``state`` that are the network's, without their prefix."""
    wanted = list(net.state_dict())
    ends = [name.removesuffix(wanted[0]) for name in state if name.endswith(wanted[0])]
    for prefix in sorted(ends, key=len):
        if all(prefix + name in state for name in wanted):
            return {name: state[prefix + name] for name in wanted}
    must = f"a file with the weights of {type(net).__name__}, such as {wanted[0]!r}; it holds {list(state)[:3]}"
    raise ValueError(message("ckpt", "load_network", must, str(file)))
