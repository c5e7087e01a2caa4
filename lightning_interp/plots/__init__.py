"""Results to matplotlib figures: nothing here computes, shows or saves."""

from lightning_interp.plots.compression import plot_compression_curve, plot_compression_history
from lightning_interp.plots.generalization import plot_signals

__all__ = ["plot_compression_curve", "plot_compression_history", "plot_signals"]
