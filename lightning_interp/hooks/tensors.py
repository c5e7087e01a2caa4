"""Module outputs that are not plain tensors: the first tensor of a tuple, list or dict stands for the output."""

from typing import Any

from torch import Tensor


def first_tensor(output: Any) -> Tensor | None:
    """The output itself, or the first tensor directly inside a tuple, list or dict; ``None`` when there is none."""
    if isinstance(output, Tensor):
        return output
    items = output.values() if isinstance(output, dict) else output if isinstance(output, tuple | list) else ()
    return next((item for item in items if isinstance(item, Tensor)), None)


def swap_first(output: Any, tensor: Tensor) -> Any:
    """A copy of ``output`` whose first tensor is ``tensor``."""
    if isinstance(output, Tensor):
        return tensor
    old = first_tensor(output)
    if isinstance(output, dict):
        copy = output.copy()
        copy.update({key: tensor for key, item in output.items() if item is old})
        return copy
    items = [tensor if item is old else item for item in output]
    # A namedtuple takes its fields one by one.
    return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)
