"""Where concepts are: heatmaps of factors, co-segmentation, parts and co-localisation."""

from lightning_interp.functional.localization.binary_maps import binarize, foreground_factor
from lightning_interp.functional.localization.choose_rank import choose_rank
from lightning_interp.functional.localization.colocalization import (
    Colocalization,
    colocalize,
    correct_localization,
    largest_component_box,
)
from lightning_interp.functional.localization.cosegmentation import Cosegmentation, cosegment, object_masks
from lightning_interp.functional.localization.feature_rows import FeatureRows, feature_rows
from lightning_interp.functional.localization.heatmap import HeatmapMethod, Heatmaps, nmf_heatmaps
from lightning_interp.functional.localization.importance import factor_importance
from lightning_interp.functional.localization.labeling import FactorLabels, label_factors
from lightning_interp.functional.localization.mask_areas import MaskAreas, iou_matrix, mask_areas, object_iou
from lightning_interp.functional.localization.part_table import PartTable, part_table
from lightning_interp.functional.localization.sweep import heatmap_sweep

__all__ = [
    "Colocalization",
    "Cosegmentation",
    "FactorLabels",
    "FeatureRows",
    "HeatmapMethod",
    "Heatmaps",
    "MaskAreas",
    "PartTable",
    "binarize",
    "choose_rank",
    "colocalize",
    "correct_localization",
    "cosegment",
    "factor_importance",
    "feature_rows",
    "foreground_factor",
    "heatmap_sweep",
    "iou_matrix",
    "label_factors",
    "largest_component_box",
    "mask_areas",
    "nmf_heatmaps",
    "object_iou",
    "object_masks",
    "part_table",
]
