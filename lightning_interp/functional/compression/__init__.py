"""Accuracy of a network against the rank its activations are compressed to."""

from lightning_interp.functional.compression.curve import CompressionCurve, compression_auc
from lightning_interp.functional.compression.measure import (
    check_ranks,
    compression_curve,
    inspect_layers,
    layer_compression_curves,
)
from lightning_interp.functional.compression.sweep import (
    CompressionCounts,
    SweepOptions,
    class_scores,
    group_batches,
    sweep_ranks,
)

__all__ = [
    "CompressionCounts",
    "CompressionCurve",
    "SweepOptions",
    "check_ranks",
    "class_scores",
    "compression_auc",
    "compression_curve",
    "group_batches",
    "inspect_layers",
    "layer_compression_curves",
    "sweep_ranks",
]
