"""All signals behind one interface: a number per check, which way it is read, and the published rule."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn.functional import cross_entropy

from lightning_interp.functional.generalization.class_structure import davies_bouldin_index, label_wise_mixup_accuracy
from lightning_interp.functional.generalization.evidence import evidence, head_evidence
from lightning_interp.functional.generalization.feature_geometry import effective_rank, within_class_collapse
from lightning_interp.functional.generalization.gradient_disparity import gradient_disparity
from lightning_interp.functional.generalization.gwa import GradientWeightAlignment, gradient_weight_alignment
from lightning_interp.functional.generalization.head_gradient import head_coherence, head_gradient_norm
from lightning_interp.functional.generalization.intrinsic_dimension import intrinsic_dimension
from lightning_interp.functional.generalization.label_wave import prediction_changes
from lightning_interp.functional.generalization.neuron_divergence import neuron_divergence
from lightning_interp.functional.generalization.optimization_variance import optimization_variance
from lightning_interp.functional.generalization.parallel_heads import head_distance, start_heads, train_heads
from lightning_interp.functional.generalization.power_law import power_law_alphas
from lightning_interp.functional.generalization.rules import Rule
from lightning_interp.functional.generalization.snapshot import Snapshot
from lightning_interp.functional.generalization.susceptibility import susceptibility
from lightning_interp.functional.generalization.weight_norm import weight_norm

__all__ = ["SIGNALS", "Signal"]


@dataclass(frozen=True)
class Signal:
    """A sign of generalisation that needs no validation set (the hold-out signals are there to compare with).

    Attributes:
        measure: Its value at a :class:`Snapshot`; NaN when there is none yet.
        best: Whether the highest or the lowest value counts as the best, fixed by its authors or in advance.
        rule: The published rule with the published numbers; the nearest to it where none was published.
        source: Who proposed it.
    """

    measure: Callable[[Snapshot], float]
    best: Literal["maximum", "minimum"]
    rule: Rule
    source: str


def _accuracy(scores: Tensor, labels: Tensor) -> float:
    return float((scores.argmax(1) == labels).double().mean())


def _held_out_loss(s: Snapshot) -> float:
    scores = s.held_out_scores
    return float(cross_entropy(scores, s.held_out_labels))


def _alignment(s: Snapshot) -> GradientWeightAlignment:
    return gradient_weight_alignment(s.features, s.scores, s.labels, s.head_weight)


def _changes(s: Snapshot) -> float:
    previous = s.memory.get("predictions")
    s.memory["predictions"] = s.predictions
    # before the first check there is nothing to have changed from: all predictions are new
    return 1.0 if previous is None else prediction_changes(s.predictions, previous.to(s.predictions))


def _heads(s: Snapshot) -> float:
    heads = s.memory.get("heads")
    if heads is None:
        heads = start_heads(s.scores.shape[1], s.features.shape[1], generator=s.generator())
    s.memory["heads"] = train_heads(heads.to(s.features.device), s.features, s.labels)
    return head_distance(s.memory["heads"])


def _evidence(s: Snapshot) -> float:
    return evidence(s.model, *s.batch(64))


def _variance(s: Snapshot) -> float:
    return optimization_variance(s.model, s.images, s.labels, n_batches=5, batch_size=64, generator=s.generator())


def _susceptibility(s: Snapshot) -> float:
    return susceptibility(s.model, s.batch(128)[0], n_classes=s.scores.shape[1], generator=s.generator())


def _alpha(s: Snapshot) -> float:
    alphas = list(power_law_alphas(s.model).values())
    return sum(alphas) / len(alphas) if alphas else float("nan")


def _mixup(s: Snapshot) -> float:
    return label_wise_mixup_accuracy(s.model, s.images, s.labels, generator=s.generator())


def _structure(s: Snapshot) -> float:
    return davies_bouldin_index(s.first_features, s.labels, generator=s.generator()) * (1 - _mixup(s))


def _head_gradient(s: Snapshot) -> float:
    return head_gradient_norm(s.features, s.scores, s.labels, s.head_weight)


def _divergence(s: Snapshot) -> float:
    n_classes = s.scores.shape[1]
    return neuron_divergence(s.preactivations, s.labels, predictions=s.predictions, n_classes=n_classes)


_PEAK, _DIP = Rule("maximum"), Rule("minimum")
_ARGMAX, _ARGMIN = Rule("maximum", smoothing=1, patience=5), Rule("minimum", smoothing=1, patience=5)
_ABOVE_ZERO = Rule("above", smoothing=1, patience=1)

SIGNALS: dict[str, Signal] = {
    "train_accuracy": Signal(lambda s: _accuracy(s.scores, s.labels), "maximum", Rule("never"), "control"),
    "train_loss": Signal(lambda s: float(cross_entropy(s.scores, s.labels)), "minimum", Rule("never"), "control"),
    "held_out_loss": Signal(_held_out_loss, "minimum", _ARGMIN, "hold-out with given labels"),
    "held_out_accuracy": Signal(
        lambda s: _accuracy(s.held_out_scores, s.held_out_labels), "maximum", _ARGMAX, "hold-out with given labels"
    ),
    "nmf_auc": Signal(lambda s: s.compression("nmf").auc, "maximum", _PEAK, "thesis 3.5.3"),
    "relative_nmf_auc": Signal(lambda s: s.compression("nmf").relative_auc, "maximum", _PEAK, "ours"),
    "pca_auc": Signal(lambda s: s.compression("pca").auc, "maximum", _PEAK, "thesis 3.5.2"),
    "relative_pca_auc": Signal(lambda s: s.compression("pca").relative_auc, "maximum", _PEAK, "ours"),
    "random_ablation_auc": Signal(
        lambda s: s.compression("random_ablation").auc, "maximum", _PEAK, "Morcos 2018, thesis 3.5.3"
    ),
    "label_wave": Signal(_changes, "minimum", Rule("minimum", smoothing=3, patience=10), "Yuan 2024"),
    "gradient_disparity": Signal(
        lambda s: gradient_disparity(s.model, s.images, s.labels, generator=s.generator()),
        "minimum",
        Rule("rises", smoothing=1, patience=5),
        "Forouzesh 2021",
    ),
    "evidence": Signal(_evidence, "minimum", _ABOVE_ZERO, "Mahsereci 2017"),
    "head_evidence": Signal(
        lambda s: head_evidence(s.features, s.scores, s.labels), "minimum", _ABOVE_ZERO, "Mahsereci 2017, head only"
    ),
    "gwa": Signal(lambda s: _alignment(s).value, "maximum", _ARGMAX, "Hoelzl 2025"),
    "gwa_mean": Signal(lambda s: _alignment(s).mean, "maximum", _ARGMAX, "Hoelzl 2025, numerator"),
    "neuron_divergence": Signal(
        _divergence, "maximum", Rule("maximum", smoothing=5, patience=10), "CND, ICLR 2026 submission"
    ),
    "weight_norm": Signal(lambda s: weight_norm(s.model), "maximum", _ARGMAX, "CSG, ICLR 2026"),
    "power_law_alpha": Signal(
        _alpha, "minimum", Rule("below", smoothing=1, patience=1, threshold=2.0), "Martin & Mahoney, weightwatcher"
    ),
    "intrinsic_dimension": Signal(
        lambda s: intrinsic_dimension(s.features, generator=s.generator()),
        "minimum",
        Rule("jump", smoothing=5),
        "Ma 2018",
    ),
    "optimization_variance": Signal(
        _variance,
        "minimum",
        Rule("minimum", smoothing=10, patience=10),
        "ICLR 2021 submission",
    ),
    "class_structure": Signal(_structure, "minimum", _DIP, "PGDL winner 2020"),
    "mixup_accuracy": Signal(_mixup, "maximum", _PEAK, "PGDL winner 2020, second factor"),
    "parallel_heads": Signal(_heads, "minimum", _ARGMIN, "Vardasbi 2022"),
    "head_gradient": Signal(_head_gradient, "minimum", _DIP, "Wu & Summa 2026"),
    "head_coherence": Signal(
        lambda s: head_coherence(s.features, s.scores, s.labels), "maximum", _PEAK, "Chatterjee 2020"
    ),
    "effective_rank": Signal(lambda s: effective_rank(s.features), "maximum", _PEAK, "RankMe 2023"),
    "within_class_collapse": Signal(
        lambda s: within_class_collapse(s.features, s.labels), "minimum", _DIP, "Papyan 2020 (NC1)"
    ),
    "susceptibility": Signal(_susceptibility, "minimum", _DIP, "Forouzesh 2023"),
}
