"""Pure maths on tensors and models: no Lightning, no figures."""

from lightning_interp.functional.compression import (
    CompressionCurve,
    compression_auc,
    compression_curve,
    layer_compression_curves,
)
from lightning_interp.functional.dissection import (
    Net2Vec,
    NetworkDissection,
    UnitAblation,
    ablate_units,
    net2vec,
    network_dissection,
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
from lightning_interp.functional.selection import (
    Assembly,
    BootstrapTest,
    ClassStatistics,
    ImageScores,
    assemble,
    bootstrap_difference,
    bootstrap_table,
    class_statistics,
    image_scores,
    score_images,
    select_top,
)
from lightning_interp.functional.voc_average_precision import (
    DetectionMatches,
    DetectionPrecision,
    match_detections,
    precision_of_matches,
    voc_average_precision,
)

__all__ = [
    "Assembly",
    "BootstrapTest",
    "ClassStatistics",
    "CompressionCurve",
    "DetectionMatches",
    "DetectionPrecision",
    "Factorization",
    "ImageScores",
    "LogRankBound",
    "Net2Vec",
    "NetworkDissection",
    "RectangleCoverBounds",
    "StopDecision",
    "UnitAblation",
    "ablate_units",
    "assemble",
    "bootstrap_difference",
    "bootstrap_table",
    "class_statistics",
    "compression_auc",
    "compression_curve",
    "decide_stop",
    "factorize",
    "factorize_path",
    "fold",
    "image_scores",
    "kmeans",
    "layer_compression_curves",
    "log_rank_bound",
    "match_detections",
    "net2vec",
    "network_dissection",
    "nmf",
    "pca",
    "precision_of_matches",
    "random_ablation",
    "rectangle_cover_bounds",
    "score_images",
    "select_top",
    "trailing_mean",
    "unfold",
    "uninformative_checks",
    "voc_average_precision",
]
