"""Signs of generalisation that need no validation set, behind one interface, and the rules that stop by them."""

from lightning_interp.functional.generalization.class_structure import davies_bouldin_index, label_wise_mixup_accuracy
from lightning_interp.functional.generalization.evidence import evidence, head_evidence
from lightning_interp.functional.generalization.feature_geometry import effective_rank, within_class_collapse
from lightning_interp.functional.generalization.gradient_disparity import gradient_disparity
from lightning_interp.functional.generalization.gwa import GradientWeightAlignment, gradient_weight_alignment
from lightning_interp.functional.generalization.head_gradient import head_coherence, head_gradient_norm
from lightning_interp.functional.generalization.intrinsic_dimension import intrinsic_dimension
from lightning_interp.functional.generalization.label_wave import prediction_changes
from lightning_interp.functional.generalization.measure import check_signals, measure_signals
from lightning_interp.functional.generalization.neuron_divergence import neuron_divergence
from lightning_interp.functional.generalization.optimization_variance import optimization_variance
from lightning_interp.functional.generalization.parallel_heads import head_distance, start_heads, train_heads
from lightning_interp.functional.generalization.power_law import power_law_alpha, power_law_alphas
from lightning_interp.functional.generalization.rules import Replay, Rule, RuleKind
from lightning_interp.functional.generalization.signals import SIGNALS, Signal
from lightning_interp.functional.generalization.snapshot import Snapshot
from lightning_interp.functional.generalization.susceptibility import susceptibility
from lightning_interp.functional.generalization.weight_norm import weight_norm

__all__ = [
    "SIGNALS",
    "GradientWeightAlignment",
    "Replay",
    "Rule",
    "RuleKind",
    "Signal",
    "Snapshot",
    "check_signals",
    "davies_bouldin_index",
    "effective_rank",
    "evidence",
    "gradient_disparity",
    "gradient_weight_alignment",
    "head_coherence",
    "head_distance",
    "head_evidence",
    "head_gradient_norm",
    "intrinsic_dimension",
    "label_wise_mixup_accuracy",
    "measure_signals",
    "neuron_divergence",
    "optimization_variance",
    "power_law_alpha",
    "power_law_alphas",
    "prediction_changes",
    "start_heads",
    "susceptibility",
    "train_heads",
    "weight_norm",
    "within_class_collapse",
]
