"""Reach inside any ``nn.Module`` and leave no trace: select, read, replace and re-run layers."""

from lightning_interp.hooks.capture import capture
from lightning_interp.hooks.collect import collect
from lightning_interp.hooks.forward_to import OUTPUT, Features, forward_to
from lightning_interp.hooks.observe import observe
from lightning_interp.hooks.reflection_padding import reflection_padding
from lightning_interp.hooks.replace import replace
from lightning_interp.hooks.resume import resume
from lightning_interp.hooks.select import LayerSpec, select_layers
from lightning_interp.hooks.state import differentiable, evaluating, preserved_rng

__all__ = [
    "OUTPUT",
    "Features",
    "LayerSpec",
    "capture",
    "collect",
    "differentiable",
    "evaluating",
    "forward_to",
    "observe",
    "preserved_rng",
    "reflection_padding",
    "replace",
    "resume",
    "select_layers",
]
