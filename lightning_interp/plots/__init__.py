"""Results to matplotlib figures: nothing here computes, shows or saves."""

from lightning_interp.plots.compression import plot_compression_curve, plot_compression_history

__all__ = ["plot_compression_curve", "plot_compression_history"]
