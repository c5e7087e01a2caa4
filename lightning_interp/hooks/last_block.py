"""The layers that ``"last_block"`` stands for, found by following tensors from module to module."""

from math import prod

from torch import nn

from lightning_interp._checks import message
from lightning_interp.hooks.composites import CONVS, Composite, find_composites
from lightning_interp.hooks.trace import Call, Trace

_GLOBAL_POOLS = (
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
    *(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
)


def last_block(trace: Trace) -> list[str]:
    """The last run of convolutions at the lowest resolution, as the composite outputs that serve as features.

    - A composite is a convolution (or linear layer) with the norm, dropout and activation modules that take, one after
      the other, the very tensor the previous one returned. Its address is that of the last of them, before any
      pooling. An addition in place in between (torchvision's ResNet) belongs to it: ``layer4.0.relu:1``.
    - An activation called as a function, or after a sum, is not followed. The composite then ends at the smallest
      module around whose last convolution this is, if that returns non-negative values of the same shape
      (GoogLeNet's ``BasicConv2d``, a residual block), else at the convolution or norm.
    - Left out: 1x1 convolutions behind a global pooling (squeeze and excitation, heads), and the output layer.
    - If any composite of the block ends in an activation, those that do not are left out: they are signed shortcuts
      or linear projections. A linear bottleneck net like ConvNeXt has none, and gives signed convolutions.
    - Without convolutions: all hidden linear layers, by the same rules.

    Auxiliary heads are avoided by tracing in eval mode; one that stays on there counts like the rest of the network.
    """
    composites = find_composites(trace.calls)
    hidden = [composite for composite in composites if not _is_output(composite, composites[-1], trace)]
    convs = _without_heads([composite for composite in hidden if isinstance(composite.weight.module, CONVS)])
    if _is_token_model(composites) or not hidden:
        must = "a list of layer names for this model: it is neither a convolutional network nor a multilayer perceptron"
        raise ValueError(message("layers", "select_layers", must, "last_block"))
    block = _last_run(convs) if convs else hidden
    return [composite.end.name for composite in block if composite.activated] or [each.end.name for each in block]


def _is_output(composite: Composite, last: Composite, trace: Trace) -> bool:
    """Whether this is the layer that makes the logits (SqueezeNet's is a 1x1 convolution with a ReLU)."""
    if composite is not last or trace.output is None:
        return False
    as_wide = trace.output.dim() > 1 and trace.output.shape[1] == composite.weight.shape[1]
    if isinstance(composite.weight.module, nn.Linear):
        return as_wide or not composite.activated
    # A backbone without a head also ends in as many channels as it returns, but in features: a norm, larger kernels.
    normed = any("norm" in type(call.module).__name__.lower() for call in composite.tail)
    return as_wide and not normed and (composite.pointwise or not composite.activated)


def _without_heads(convs: list[Composite]) -> list[Composite]:
    kept: list[Composite] = []
    heads: list[Composite] = []
    for conv in convs:
        pooled = isinstance(conv.source, Call) and isinstance(conv.source.module, _GLOBAL_POOLS)
        shrunk = bool(kept) and kept[-1].positions > 1
        behind_head = any(conv.source is head for head in heads)
        single = conv.pointwise and prod(conv.weight.input_shape[2:]) == 1
        (heads if single and (pooled or shrunk or behind_head) else kept).append(conv)
    return kept


def _last_run(convs: list[Composite]) -> list[Composite]:
    lowest = min(conv.positions for conv in convs)
    last = max(index for index, conv in enumerate(convs) if conv.positions == lowest)
    first = last
    while first and convs[first - 1].positions == lowest:
        first -= 1
    return convs[first : last + 1]


def _is_token_model(composites: list[Composite]) -> bool:
    """A lone convolution (the patch embedding), then linear layers on tokens: ViT, Swin, MLP-Mixer."""
    convs = [composite for composite in composites if isinstance(composite.weight.module, CONVS)]
    tokens = [composite for composite in composites if composite not in convs and len(composite.weight.shape) > 2]
    return len(convs) == 1 and bool(tokens)
