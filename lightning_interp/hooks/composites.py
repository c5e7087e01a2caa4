"""Composites: a convolution or linear layer with the norm, dropout, activation and pooling that follow it."""

from dataclasses import dataclass, field
from math import prod

from torch import nn

from lightning_interp._checks import message
from lightning_interp.hooks.names import split_address
from lightning_interp.hooks.trace import Call, Trace

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_ACTIVATIONS = (
    *(nn.ReLU, nn.ReLU6, nn.RReLU, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish),
    *(nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Softsign, nn.Threshold),
)


@dataclass(eq=False)
class Composite:
    """A convolution or linear layer and what directly follows it: norm, dropout, activation."""

    weight: Call
    source: "Composite | Call | None"  # what returned the tensor the convolution took; None: an operation in between
    tail: list[Call] = field(default_factory=list)
    enclosing: Call | None = None  # the module around it, when the activation happens there

    @property
    def end(self) -> Call:
        """The call whose output is the composite's."""
        return self.enclosing or (self.tail[-1] if self.tail else self.weight)

    @property
    def activated(self) -> bool:
        """Whether it ends in an activation: a module of that kind, or no negative value."""
        return self.end.nonnegative or any(isinstance(call.module, _ACTIVATIONS) for call in self.tail)

    @property
    def positions(self) -> int:
        """Resolution: the number of spatial positions."""
        return prod(self.weight.shape[2:])

    @property
    def pointwise(self) -> bool:
        """Whether it is a 1x1 convolution."""
        return prod(getattr(self.weight.module, "kernel_size", ())) == 1


def composites(trace: Trace) -> list[str]:
    """Every composite of the network, in network order: where its output is, after activation and pooling.

    As in :func:`~lightning_interp.hooks.last_block.last_block`, but the pooling belongs to the composite, and all of
    them are listed: signed shortcuts, heads and the layer that makes the logits too.
    """
    found = find_composites(trace.calls)
    if not found:
        must = "a list of layer names for this model: it has no convolution and no linear layer"
        raise ValueError(message("layers", "select_layers", must, "composites"))
    return list(dict.fromkeys(_pooled(composite.end, trace.calls).name for composite in found))


def find_composites(calls: list[Call]) -> list[Composite]:
    """The composites among the calls of a forward pass, each without its pooling."""
    found: list[Composite] = []
    ends: dict[int, Composite] = {}  # by identity of the tensor a composite ends in so far
    origins: dict[int, Call] = {}  # by identity of the tensor, for other modules
    for call in calls:
        if _has_weights(call):
            found.append(Composite(call, ends.get(id(call.input), origins.get(id(call.input)))))
            ends[id(call.output)] = found[-1]
        elif id(call.input) in ends and _continues(call):
            composite = ends.pop(id(call.input))
            composite.tail.append(call)
            ends[id(call.output)] = composite
        elif not list(call.module.children()):
            origins[id(call.output)] = call
    taken = {id(composite.end.output) for composite in found if composite.activated}
    for composite in found:
        if not composite.activated:
            composite.enclosing = _enclosing(composite, calls, taken)
    return found


def _continues(call: Call) -> bool:
    kind = type(call.module).__name__
    return _is_leaf(call) and call.shape == call.input_shape and "Pool" not in kind and "Softmax" not in kind


def _is_leaf(call: Call) -> bool:
    return next(call.module.children(), None) is None


def _pooled(end: Call, calls: list[Call]) -> Call:
    """The pooling that alone takes this tensor, and an activation behind that; the call itself where there is none."""
    pooled = False
    while taker := _only_taker(end, calls):
        pooling = "Pool" in type(taker.module).__name__
        if not pooling and not (pooled and _continues(taker) and not _has_weights(taker)):
            break
        end, pooled = taker, True
    return end


def _only_taker(end: Call, calls: list[Call]) -> Call | None:
    """The layer that takes this very tensor; None where it branches (an inception block pools in one of four)."""
    takers = [call for call in calls[calls.index(end) + 1 :] if call.input is end.output and _is_leaf(call)]
    in_place = bool(takers) and takers[0].output is end.output  # the others take what that made of it
    return takers[0] if in_place or len(takers) == 1 else None


def _enclosing(composite: Composite, calls: list[Call], taken: set[int]) -> Call | None:
    """The smallest module around that makes something non-negative of this layer, its last one.

    Outputs in ``taken`` are those of another composite: a block that ends in a ReLU module is already listed as that.
    """
    for position in range(calls.index(composite.end) + 1, len(calls)):
        call = calls[position]
        prefix = f"{split_address(call.name)[0]}."
        if composite.weight.name.startswith(prefix) and call.nonnegative and call.shape == composite.end.shape:
            inside = [each for each in calls[:position] if each.name.startswith(prefix) and _has_weights(each)]
            return call if inside[-1] is composite.weight and id(call.output) not in taken else None
    return None


def _has_weights(call: Call) -> bool:
    return isinstance(call.module, (*CONVS, nn.Linear))
