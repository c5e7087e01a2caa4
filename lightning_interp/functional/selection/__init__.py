"""Choose pseudo-labelled images: by the chain of activation, or by what the literature ranks them with."""

from lightning_interp.functional.selection.assembly import Assembly, assemble
from lightning_interp.functional.selection.bootstrap import BootstrapTest, bootstrap_difference, bootstrap_table
from lightning_interp.functional.selection.image_score import (
    ImageScores,
    ScoreOptions,
    Threshold,
    image_scores,
    join_scores,
)
from lightning_interp.functional.selection.quality import interval_accuracy, selection_balance, selection_overlap
from lightning_interp.functional.selection.ranking import (
    RANKINGS,
    Ranking,
    class_predictions,
    dropout_scores,
    rank_images,
    score_images,
)
from lightning_interp.functional.selection.select_top import check_fractions, select_top
from lightning_interp.functional.selection.statistics import (
    ClassStatistics,
    Norm,
    Spatial,
    batch_statistics,
    class_statistics,
)

__all__ = [
    "RANKINGS",
    "Assembly",
    "BootstrapTest",
    "ClassStatistics",
    "ImageScores",
    "Norm",
    "Ranking",
    "ScoreOptions",
    "Spatial",
    "Threshold",
    "assemble",
    "batch_statistics",
    "bootstrap_difference",
    "bootstrap_table",
    "check_fractions",
    "class_predictions",
    "class_statistics",
    "dropout_scores",
    "image_scores",
    "interval_accuracy",
    "join_scores",
    "rank_images",
    "score_images",
    "select_top",
    "selection_balance",
    "selection_overlap",
]
