"""Results to matplotlib figures: nothing here computes, shows or saves."""

from lightning_interp.plots.activation_maximization import plot_ascent, plot_filter_patterns, plot_maximization
from lightning_interp.plots.adversarial import (
    plot_activation_change,
    plot_adversarial,
    plot_changed_maps,
    plot_fooling,
    plot_roc,
)
from lightning_interp.plots.compression import plot_compression_curve, plot_compression_history
from lightning_interp.plots.deconvnet import plot_projection_evolution, plot_projections
from lightning_interp.plots.dissection import (
    plot_detector_comparison,
    plot_detector_history,
    plot_detectors,
    plot_unit_grid,
)
from lightning_interp.plots.filters import plot_filters
from lightning_interp.plots.generalization import plot_signals
from lightning_interp.plots.heatmap import plot_factor_maps, plot_heatmap_sweep, plot_heatmaps
from lightning_interp.plots.image_strip import plot_image_strip
from lightning_interp.plots.inverse_set import (
    plot_inverse_nearest,
    plot_inverse_set,
    plot_inverse_trace,
    save_inverse_animation,
)
from lightning_interp.plots.inversion import plot_inversion_errors, plot_reconstructions
from lightning_interp.plots.palette import save_label_pngs, save_palette_png
from lightning_interp.plots.pictures import plot_pictures, save_png
from lightning_interp.plots.retrieval import plot_ranking, plot_ranking_factors
from lightning_interp.plots.selection import (
    plot_ranking_precision,
    plot_score_histogram,
    plot_score_intervals,
    plot_selection_history,
)

__all__ = [
    "plot_activation_change",
    "plot_adversarial",
    "plot_ascent",
    "plot_changed_maps",
    "plot_compression_curve",
    "plot_compression_history",
    "plot_detector_comparison",
    "plot_detector_history",
    "plot_detectors",
    "plot_factor_maps",
    "plot_filter_patterns",
    "plot_filters",
    "plot_fooling",
    "plot_heatmap_sweep",
    "plot_heatmaps",
    "plot_image_strip",
    "plot_inverse_nearest",
    "plot_inverse_set",
    "plot_inverse_trace",
    "plot_inversion_errors",
    "plot_maximization",
    "plot_pictures",
    "plot_projection_evolution",
    "plot_projections",
    "plot_ranking",
    "plot_ranking_factors",
    "plot_ranking_precision",
    "plot_reconstructions",
    "plot_roc",
    "plot_score_histogram",
    "plot_score_intervals",
    "plot_selection_history",
    "plot_signals",
    "plot_unit_grid",
    "save_inverse_animation",
    "save_label_pngs",
    "save_palette_png",
    "save_png",
]
