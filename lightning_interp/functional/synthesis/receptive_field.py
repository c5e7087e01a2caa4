"""Which pixels reach a position of a feature map: read off the operations that made it, whatever the modules were."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd.graph import Node, get_gradient_edge

from lightning_interp.functional.synthesis.autograd_graph import graph_nodes, is_gate, kind

__all__ = ["receptive_fields"]

_Edge: TypeAlias = tuple[Node, int]  # one result of an operation
_Lines: TypeAlias = tuple[Tensor, Tensor]  # which of its rows (P, h) and columns (P, w) matter
_Reached: TypeAlias = dict[Node, dict[int, _Lines]]  # of the results of operations

_TELLS_SHAPES = hasattr(Node, "_input_metadata")  # torch < 2.5 shows shapes only in a backward pass
_POINTWISE = re.compile(
    "Add|Sub|Mul|Div|Neg|Abs|Exp|Log|Pow|Sqrt|Rsqrt|Tanh|Sigmoid|Hardsigmoid|Clone|ToCopy|CopyBackwards|Expand|Maximum|"
    "Minimum|Where|MaskedFill|Clamp|ClampMin|ClampMax|Hardtanh|Relu|LeakyRelu|PreluKernel|RreluWithNoise|Elu|Celu|Gelu|"
    "Silu|Mish|Hardswish|Softplus|Threshold|NativeChannelShuffle"
)
_RESHAPED = re.compile("(Unsafe)?View|Reshape(Alias)?|Alias|(Uns|S)queeze")
_ALONG = re.compile("Cat|Split(WithSizes)?|Transpose|Flip|Roll|Softmax|LogSoftmax|Mean|Sum|Max|Amax|Slice")
_WINDOWS = re.compile("Convolution|MaxPool2DWithIndices|AvgPool2D")
_PADS = re.compile("ConstantPadNd|ReflectionPad2D|ReplicationPad2D")


def receptive_fields(output: Tensor, images: Tensor, positions: Tensor, *, through_gates: bool = True) -> Tensor:
    """The boxes of pixels that positions of a feature map depend on.

    Exact for convolutions, pooling, padding, slices, sums, channel shuffles and everything pointwise, with any stride,
    dilation and branches. Behind any other operation it is the whole map: never too little.

    Args:
        output: A feature map ``(N, C, h, w)`` with its graph; any other tensor counts as a map of one position.
        images: What it was computed from, ``(N, C, H, W)``.
        positions: Rows and columns in the map, ``(P, 2)``; -1 stands for all of them.
        through_gates: Whether what only weights others (sigmoid, softmax) counts.

    Returns:
        Top, left, bottom and right, ``(P, 4)``: ``images[..., top:bottom, left:right]`` is the field. It is empty where
        nothing reaches the position.

    Example:
        >>> images = torch.ones(1, 1, 9, 12, requires_grad=True)
        >>> maps = torch.nn.Conv2d(1, 1, 3, stride=2, padding=1)(images)
        >>> receptive_fields(maps, images, torch.tensor([[0, 0], [2, 3]])).tolist()
        [[0, 0, 2, 2], [3, 5, 6, 8]]

    Reference:
        Araujo et al., Computing receptive fields of convolutional neural networks, Distill 2019.
    """
    start, end = get_gradient_edge(output), get_gradient_edge(images)
    height, width = _map_size(output.shape)
    rows, columns = _lines(positions[:, 0].cpu(), height), _lines(positions[:, 1].cpu(), width)
    reached: _Reached = defaultdict(dict, {start.node: {start.output_nr: (rows, columns)}})
    nodes = graph_nodes(output, images, through_gates=through_gates)
    shapes = _shapes(nodes, output, images)
    for node in nodes:
        if node is not end.node and (through_gates or not is_gate(node)):
            _step_back(node, reached, shapes)
    nothing = torch.zeros(len(positions), 1)
    rows, columns = reached[end.node].get(end.output_nr, (nothing, nothing))
    top, bottom, left, right = *_extent(rows), *_extent(columns)
    return torch.stack([top, left, bottom, right], 1)


def _shapes(nodes: Sequence[Any], output: Tensor, images: Tensor) -> dict[_Edge, Sequence[int]]:
    """Of the results of operations that lead to the images."""
    if _TELLS_SHAPES:
        return {(node, i): result.shape for node in nodes for i, result in enumerate(node._input_metadata)}
    end = get_gradient_edge(images)
    shapes: dict[_Edge, Sequence[int]] = {(end.node, end.output_nr): images.shape}

    def note(node: Node, signals: Sequence[Tensor | None]) -> None:
        shapes.update({(node, i): signal.shape for i, signal in enumerate(signals) if signal is not None})

    with ExitStack() as stack:
        for node in nodes:
            stack.callback(node.register_prehook(partial(note, node)).remove)
        torch.autograd.grad(output, images, torch.zeros_like(output), retain_graph=True, allow_unused=True)
    return shapes


def _step_back(node: Node, reached: _Reached, shapes: Mapping[_Edge, Sequence[int]]) -> None:
    """From what matters of the results of an operation to what matters of its operands."""
    for number, lines in reached[node].items():
        for operand, index in node.next_functions:
            if operand is not None and (operand, index) in shapes:
                tables = [_table(node, dim, shapes[node, number], shapes[operand, index]) for dim in (0, 1)]
                rows, columns = map(_through, lines, tables)
                exists = (rows.any(1) & columns.any(1)).unsqueeze(1)  # a row of mere padding makes its columns void too
                rows, columns = rows * exists, columns * exists
                others = reached[operand].get(index, (rows, columns))
                reached[operand][index] = (rows.maximum(others[0]), columns.maximum(others[1]))


def _through(lines: Tensor, table: Tensor | None) -> Tensor:
    return lines if table is None else (lines @ table).clamp(max=1)


def _table(node: Any, dim: int, result: Sequence[int], operand: Sequence[int]) -> Tensor | None:
    """Which lines of the operand each line of the result is made of, ``(n, m)``; ``None``: each of its own."""
    n, m, name = _map_size(result)[dim], _map_size(operand)[dim], kind(node)
    if n == m and _keeps_place(node, dim, result, operand):
        return None
    if min(len(result), len(operand)) < 4:
        return torch.ones(n, m)
    if _WINDOWS.fullmatch(name):
        return _window_table(node, dim, n, m)
    if _PADS.fullmatch(name):
        return _scatter(_unpadded(node, dim, n, m), m)
    if name == "AdaptiveAvgPool2D":
        return _adaptive_table(n, m)
    if name == "Slice" and len(operand) - 2 + dim in _axes(node, operand):
        first = range(m)[slice(_signed(node._saved_start), None)].start
        return _scatter(first + torch.arange(n).unsqueeze(1) * node._saved_step, m)
    return torch.ones(n, m)


def _keeps_place(node: Any, dim: int, result: Sequence[int], operand: Sequence[int]) -> bool:
    name = kind(node)
    if _POINTWISE.fullmatch(name):
        return True
    if "BatchNorm" in name:
        return not getattr(node, "_saved_training", True)
    if _RESHAPED.fullmatch(name):  # a view with the same last two axes moves nothing along them
        return list(result[-2:]) == list(operand[-2:])
    axis = len(operand) - 2 + dim
    if name == "Permute":
        return bool(_signed(node._saved_dims[axis]) % len(operand) == axis)
    return _ALONG.fullmatch(name) is not None and axis not in _axes(node, operand)


def _axes(node: Node, operand: Sequence[int]) -> set[int]:
    """The axes an operation works along; all of them where it does not say."""
    names = ("_saved_dim", "_saved_dims", "_saved_dim0", "_saved_dim1")
    found = [getattr(node, name) for name in names if hasattr(node, name)]
    flat = [axis for each in found for axis in (each if isinstance(each, Sequence) else [each])]
    return {_signed(axis) % len(operand) for axis in flat} or {*range(len(operand))}


def _window_table(node: Any, dim: int, n: int, m: int) -> Tensor:
    at = dim - 2  # of the attributes, which have an entry for each axis of the map
    if kind(node) == "Convolution":
        size, dilation = node._saved_weight.shape[at], node._saved_dilation[at]
    else:
        size, dilation = node._saved_kernel_size[at], getattr(node, "_saved_dilation", (1, 1))[at]
    stride = node._saved_stride[at] if node._saved_stride else size
    transposed = getattr(node, "_saved_transposed", False)
    first = torch.arange(m if transposed else n).unsqueeze(1) * stride - node._saved_padding[at]
    looked_at = first + torch.arange(size) * dilation
    return _scatter(looked_at, n).T if transposed else _scatter(looked_at, m)


def _adaptive_table(n: int, m: int) -> Tensor:
    first, line = torch.arange(n).unsqueeze(1), torch.arange(m)
    return ((line >= first * m // n) & (line < -(-(first + 1) * m // n))).float()


def _unpadded(node: Any, dim: int, n: int, m: int) -> Tensor:
    name = kind(node)
    pad = node._saved_pad if name == "ConstantPadNd" else node._saved_padding
    before = pad[2 * (1 - dim)] if len(pad) > 2 * (1 - dim) else 0  # the last axis comes first
    line = torch.arange(n) - before
    if name == "ReflectionPad2D":
        line = (m - 1) - ((m - 1) - line.abs()).abs()
    if name == "ReplicationPad2D":
        line = line.clamp(0, m - 1)
    return line.unsqueeze(1)


def _scatter(looked_at: Tensor, m: int) -> Tensor:
    """A table ``(n, m)`` from the lines that each of ``n`` looks at, ``(n, k)``; those out of range are padding."""
    inside = (looked_at >= 0) & (looked_at < m)
    table = torch.zeros(len(looked_at), m + 1).scatter_(1, torch.where(inside, looked_at, m), 1.0)
    return table[:, :m]


def _lines(places: Tensor, size: int) -> Tensor:
    """One line each, or all for -1."""
    return ((torch.arange(size) == places.unsqueeze(1)) | (places.unsqueeze(1) < 0)).float()


def _extent(lines: Tensor) -> tuple[Tensor, Tensor]:
    """First line and the one behind the last, ``(P,)`` each; both 0 where there is none."""
    first, behind = lines.argmax(1), lines.shape[1] - lines.flip(1).argmax(1)
    return first, behind * lines.any(1)


def _map_size(shape: Sequence[int]) -> tuple[int, int]:
    """Height and width of a map; a tensor that is no map has one position."""
    return (shape[-2], shape[-1]) if len(shape) >= 4 else (1, 1)


def _signed(number: int) -> int:
    """Autograd shows negative axes as unsigned."""
    return number - 2**64 if number >= 2**63 else number
