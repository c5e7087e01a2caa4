"""The graph autograd records: walked from a layer back to the image, and bent at its rectifiers."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import Node, get_gradient_edge

from lightning_interp._checks import check_choice, message

__all__ = ["Rule", "graph_nodes", "is_gate", "kind", "rectifier_rule"]

Rule: TypeAlias = Literal["deconvnet", "guided", "gradient", "leaky"]
_Hook: TypeAlias = Callable[[Sequence[Tensor | None], Sequence[Tensor | None]], tuple[Tensor | None, ...] | None]

_LEAK = 0.1
_BENDS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # (gradient behind the rectifier, signal that reached it)
    "deconvnet": lambda gradient, signal: signal.relu(),
    "guided": lambda gradient, signal: gradient.relu(),
    "leaky": lambda gradient, signal: torch.lerp(gradient, signal, _LEAK),
}
_RECTIFIERS = re.compile(
    "Relu|LeakyRelu|PreluKernel|RreluWithNoise|Elu|Celu|Gelu|Silu|Mish|Hardswish|Softplus|Threshold"
)
_FLOORS = {"Clamp": "_saved_min", "ClampMin": "_saved_min", "Hardtanh": "_saved_min_val"}  # rectifiers if it is 0
_GATES = re.compile("Sigmoid|Hardsigmoid|Softmax")
_LINEAR = re.compile(  # and what is linear once its switches are set
    r"AccumulateGrad|Add|Sub|Neg|Sum|Mean|Cat|Stack|(Unsafe)?View|Reshape(Alias)?|Clone|ToCopy|CopyBackwards|Alias|"
    r"AsStrided|Permute|Transpose|T|(Uns|S)queeze|Expand|Repeat|Select|Slice|Split(WithSizes)?|Unbind|Index(Select)?|"
    r"Gather|Roll|Flip|ConstantPadNd|(Reflection|Replication)Pad2D|(Adaptive)?AvgPool2D|Upsample\w+2D|"
    r"Pixel(Uns|S)huffle|NativeChannelShuffle|Im2Col|Col2Im|Max|Amax|MaxPool2DWithIndices|AdaptiveMaxPool2D"
)
_FACTORS = {  # linear as long as the signal comes from one of these operands alone
    "Mul": (0, 1),
    "Div": (0, 1),
    "Mm": (0, 1),
    "Bmm": (0, 1),
    "Mv": (0, 1),
    "Dot": (0, 1),
    "Addmm": (1, 2),
    "Baddbmm": (1, 2),
    "Linear": (0, 1),
    "Convolution": (0, 1),
    "NativeBatchNorm": (0, 1),
    "CudnnBatchNorm": (0, 1),
    "MiopenBatchNorm": (0, 1),
}


@contextmanager
def rectifier_rule(
    output: Tensor,
    rule: Rule,
    *,
    inputs: Tensor | None = None,
    parameter: str = "rule",
    owner: str = "rectifier_rule",
) -> Iterator[None]:
    """Change how gradients pass the rectifiers between ``output`` and its inputs, for the backward passes inside.

    It acts on what autograd recorded, so modules, functions and in-place operations are all the same to it. Rectifiers
    are ReLU and its kin (leaky, clipped at a top value, ELU, GELU, SiLU, ...).

    Args:
        output: Any tensor with a graph, usually from :func:`lightning_interp.hooks.forward_to`.
        rule: ``"deconvnet"`` passes the positive part of the signal, wherever the rectifier was active or not, holds
            gates (sigmoid, softmax) at their value, and refuses what is neither linear, nor a switch, nor a gate;
            ``"guided"`` passes the positive part of the gradient; ``"gradient"`` leaves all as it is; ``"leaky"``
            takes rectifiers as leaky ones, which wakes units that are dead on an image.
        inputs: What is in front of this tensor is left alone; by default the whole graph is meant.
        parameter: Name of ``rule`` in errors.
        owner: Name of the function in errors.

    Raises:
        ValueError: An unknown rule, or a network it has no meaning for: nothing is ever quietly passed over.

    Example:
        >>> x = torch.tensor([-1.0, 2.0], requires_grad=True)
        >>> y = x.relu()
        >>> with rectifier_rule(y, "deconvnet"):
        ...     torch.autograd.grad(y, x, torch.tensor([3.0, -3.0]))[0].tolist()
        [3.0, 0.0]

    Reference:
        Zeiler & Fergus, ECCV 2014, section 2.1; Springenberg et al., Striving for simplicity, 2015, figure 1.
    """
    check_choice(rule, parameter, owner, get_args(Rule))
    through_gates = rule != "deconvnet"
    source = _source(inputs)
    nodes = [node for node in graph_nodes(output, inputs, through_gates=through_gates) if node is not source]
    found = _obstacle(nodes, source) if rule == "deconvnet" else _hidden(nodes) if rule == "guided" else None
    if found:
        others = "'gradient'" if found.endswith("see inside") else "'gradient' or 'guided'"
        text = message(parameter, owner, f"{others}, because on the way to the image there is {found}", rule)
        raise ValueError(f"{text} Or choose a layer in front of it.")
    with ExitStack() as stack:
        for node in nodes:
            if is_gate(node) and not through_gates:
                stack.callback(node.register_hook(_held).remove)
            elif rule in _BENDS and _is_rectifier(node):
                stack.callback(node.register_hook(_bent(_BENDS[rule])).remove)
        yield


def graph_nodes(output: Tensor, inputs: Tensor | None = None, *, through_gates: bool = True) -> list[Node]:
    """The operations behind a tensor, each once and before those it takes its operands from.

    Args:
        output: Any tensor; one without a graph has no operations.
        inputs: Where to stop; its own node is the last one.
        through_gates: Whether to go on behind sigmoids and softmaxes.

    Example:
        >>> x = torch.ones(2, requires_grad=True)
        >>> [kind(node) for node in graph_nodes(x.relu() + x)]
        ['Add', 'Relu', 'AccumulateGrad']
    """
    if not output.requires_grad:
        return []
    source = _source(inputs)
    order: list[Node] = []
    seen: set[Node] = set()
    stack = [(get_gradient_edge(output).node, False)]
    while stack:
        node, operands_done = stack.pop()
        if operands_done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            if node is not source and (through_gates or not is_gate(node)):
                stack += [(operand, False) for operand, _ in node.next_functions if operand is not None]
    return order[::-1]


def kind(node: Node) -> str:
    """What the forward operation was: ``Relu`` for ``ReluBackward0``."""
    return _without_suffix(node.name())


@cache
def _without_suffix(name: str) -> str:
    return re.sub(r"Backward\d*$", "", name.rsplit("::", 1)[-1])


def is_gate(node: Node) -> bool:
    """Whether it only weights what others say: a sigmoid or softmax."""
    return _GATES.fullmatch(kind(node)) is not None


def _is_rectifier(node: Node) -> bool:
    floor = getattr(node, _FLOORS.get(kind(node), ""), None)
    return _RECTIFIERS.fullmatch(kind(node)) is not None or (isinstance(floor, int | float) and floor == 0)


def _obstacle(nodes: Sequence[Node], source: Node | None) -> str | None:
    """The first operation that the transposed network has no counterpart for."""
    live = _live(nodes, source)
    if nodes and nodes[0] not in live and any(is_gate(node) for node in nodes):
        return "nothing but gates such as Sigmoid and Softmax"
    for node in (node for node in nodes if node in live):
        name = kind(node)
        if _LINEAR.fullmatch(name) or _is_rectifier(node):
            continue
        fed = [i for i, (operand, _) in enumerate(node.next_functions) if operand in live]
        if name not in _FACTORS:
            return _hidden([node]) or f"{name}, which is not known to be linear"
        if sum(i in _FACTORS[name] for i in fed) > 1 or (name == "Div" and 1 in fed):
            return f"{name} by a tensor that depends on the image"
        if "BatchNorm" in name and getattr(node, "_saved_training", True):
            return f"{name} with the statistics of the batch"
    return None


def _live(nodes: Sequence[Node], source: Node | None) -> set[Node]:
    """What the image reaches, other than through a gate."""
    live = set() if source is None else {source}
    for node in reversed(nodes):
        is_leaf = source is None and not node.next_functions
        if is_leaf or (not is_gate(node) and any(operand in live for operand, _ in node.next_functions)):
            live.add(node)
    return live


def _hidden(nodes: Sequence[Any]) -> str | None:
    """The first operation that does not say what it is made of."""
    for node in nodes:
        name = kind(node)
        if isinstance(node, BackwardCFunction):
            return f"the custom autograd function {name}, which rules cannot see inside"
        if name == "CopySlices":
            return "an in-place operation on part of a tensor, which rules cannot see inside"
    return None


def _source(inputs: Tensor | None) -> Node | None:
    return None if inputs is None else get_gradient_edge(inputs).node


def _bent(bend: Callable[[Tensor, Tensor], Tensor]) -> _Hook:
    def hook(gradients: Sequence[Tensor | None], signals: Sequence[Tensor | None]) -> tuple[Tensor | None, ...] | None:
        if gradients[0] is None or signals[0] is None:
            return None
        return bend(gradients[0], signals[0]), *gradients[1:]

    return hook


def _held(gradients: Sequence[Tensor | None], signals: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
    return tuple(None if gradient is None else torch.zeros_like(gradient) for gradient in gradients)
