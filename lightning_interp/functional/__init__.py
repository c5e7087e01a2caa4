"""Pure maths on tensors and models: no Lightning, no figures."""

from lightning_interp.functional.compression import (
    CompressionCurve,
    compression_auc,
    compression_curve,
    layer_compression_curves,
)
from lightning_interp.functional.early_stopping import StopDecision, decide_stop, trailing_mean, uninformative_checks
from lightning_interp.functional.factorization import (
    Factorization,
    factorize,
    factorize_path,
    kmeans,
    nmf,
    pca,
    random_ablation,
)
from lightning_interp.functional.folding import fold, unfold
from lightning_interp.functional.rank_bounds import (
    LogRankBound,
    RectangleCoverBounds,
    log_rank_bound,
    rectangle_cover_bounds,
)

__all__ = [
    "CompressionCurve",
    "Factorization",
    "LogRankBound",
    "RectangleCoverBounds",
    "StopDecision",
    "compression_auc",
    "compression_curve",
    "decide_stop",
    "factorize",
    "factorize_path",
    "fold",
    "kmeans",
    "layer_compression_curves",
    "log_rank_bound",
    "nmf",
    "pca",
    "random_ablation",
    "rectangle_cover_bounds",
    "trailing_mean",
    "unfold",
    "uninformative_checks",
]
