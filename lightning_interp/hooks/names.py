"""Names of layers as in the original model, whatever wraps it, and addresses of their calls (``relu``, ``relu:1``)."""

import re
from collections.abc import Iterator

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

_WRAPPERS = (DataParallel, DistributedDataParallel, AveragedModel)
# Wrappers that are known by the name of their only child: importing their classes would load torch._dynamo or FSDP.
_WRAPPER_CHILDREN = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
_WRAPPER_PREFIX = re.compile(rf"(?<![^.])(?:module|{'|'.join(_WRAPPER_CHILDREN)})\.")


def unwrap(module: nn.Module) -> nn.Module:
    """The original module inside ``DataParallel``, ``DDP``, ``FSDP``, ``AveragedModel`` or ``torch.compile``."""
    child = "module" if isinstance(module, _WRAPPERS) else None
    for name in _WRAPPER_CHILDREN:
        if name in module._modules:
            child = name
    inner = module._modules[child] if child else None
    return module if inner is None else unwrap(inner)


def named_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Every module below ``model`` by its wrapper-free name, in ``named_modules`` order; a shared module comes once."""
    layers: dict[str, nn.Module] = {}
    seen = {unwrap(model)}
    for name, module in _walk(unwrap(model), ""):
        if module not in seen:
            seen.add(module)
            layers[name] = module
    return layers


def aliases(model: nn.Module) -> dict[str, str]:
    """Every path to a layer, mapped to the name it has in :func:`named_layers` (they differ for shared modules)."""
    first = {module: name for name, module in named_layers(model).items()}
    return {name: first[module] for name, module in _walk(unwrap(model), "") if module in first}


def _walk(parent: nn.Module, prefix: str) -> Iterator[tuple[str, nn.Module]]:
    # Not named_children: that leaves out the second name of a shared module.
    for name, child in parent._modules.items():
        if child is not None:
            inner = unwrap(child)
            yield prefix + name, inner
            yield from _walk(inner, f"{prefix}{name}.")


def without_wrappers(name: str) -> str:
    """``"module._orig_mod.layer4"`` -> ``"layer4"``."""
    return _WRAPPER_PREFIX.sub("", name)


def address(name: str, index: int) -> str:
    """How the ``index``-th call of a layer in one forward pass is written: ``relu``, ``relu:1``, ``relu:2``."""
    return f"{name}:{index}" if index else name


def split_address(text: str) -> tuple[str, int]:
    """``"relu:1"`` -> ``("relu", 1)``; ``"relu"`` -> ``("relu", 0)``."""
    found = re.fullmatch(r"(.*):(\d+)", text)
    return (found[1], int(found[2])) if found else (text, 0)
