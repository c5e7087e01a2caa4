"""Where concepts are: heatmaps of factors, co-segmentation and co-localisation."""

from lightning_interp.functional.localization.choose_rank import choose_rank
from lightning_interp.functional.localization.feature_rows import FeatureRows, feature_rows
from lightning_interp.functional.localization.heatmap import HeatmapMethod, Heatmaps, nmf_heatmaps
from lightning_interp.functional.localization.importance import factor_importance
from lightning_interp.functional.localization.sweep import heatmap_sweep

__all__ = [
    "FeatureRows",
    "HeatmapMethod",
    "Heatmaps",
    "choose_rank",
    "factor_importance",
    "feature_rows",
    "heatmap_sweep",
    "nmf_heatmaps",
]
