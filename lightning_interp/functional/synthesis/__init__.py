"""Images that show what units, layers and classes respond to."""

from lightning_interp.functional.synthesis.activation_maximization import Maximization, maximize_activation
from lightning_interp.functional.synthesis.autograd_graph import rectifier_rule
from lightning_interp.functional.synthesis.deconvnet import ProjectionMethod, Projections, deconvnet
from lightning_interp.functional.synthesis.filter_patterns import FilterPatterns, filter_patterns
from lightning_interp.functional.synthesis.image_params import (
    FourierImages,
    GeneratedImages,
    ImageParameters,
    PixelImages,
    color_basis,
)
from lightning_interp.functional.synthesis.inversion import Inversion, invert
from lightning_interp.functional.synthesis.objectives import (
    Objective,
    channel,
    direction,
    feature_match,
    gram_match,
    log_odds,
    logit,
    unit,
)
from lightning_interp.functional.synthesis.optimize import Ascent, ascend
from lightning_interp.functional.synthesis.perturbation import PerturbationErrors, perturb_features, perturbation_errors
from lightning_interp.functional.synthesis.pixels import PixelSpace
from lightning_interp.functional.synthesis.receptive_field import receptive_fields
from lightning_interp.functional.synthesis.regularizers import (
    AlphaNorm,
    ClipSmall,
    Decay,
    GaussianBlur,
    Jitter,
    L2Norm,
    Regularizer,
    TotalVariation,
)
from lightning_interp.functional.synthesis.style_transfer import StyleTransfer, style_transfer

__all__ = [
    "AlphaNorm",
    "Ascent",
    "ClipSmall",
    "Decay",
    "FilterPatterns",
    "FourierImages",
    "GaussianBlur",
    "GeneratedImages",
    "ImageParameters",
    "Inversion",
    "Jitter",
    "L2Norm",
    "Maximization",
    "Objective",
    "PerturbationErrors",
    "PixelImages",
    "PixelSpace",
    "ProjectionMethod",
    "Projections",
    "Regularizer",
    "StyleTransfer",
    "TotalVariation",
    "ascend",
    "channel",
    "color_basis",
    "deconvnet",
    "direction",
    "feature_match",
    "filter_patterns",
    "gram_match",
    "invert",
    "log_odds",
    "logit",
    "maximize_activation",
    "perturb_features",
    "perturbation_errors",
    "receptive_fields",
    "rectifier_rule",
    "style_transfer",
    "unit",
]
