import copy
import math
import random
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parametrizations

from lightning_interp._lightning import LightningModule
from lightning_interp.functional.generalization import (
    SIGNALS,
    Snapshot,
    davies_bouldin_index,
    evidence,
    gradient_weight_alignment,
    head_distance,
    label_wise_mixup_accuracy,
    power_law_alphas,
    start_heads,
    train_heads,
)

COMPRESSION = {"nmf_auc", "relative_nmf_auc", "pca_auc", "relative_pca_auc", "random_ablation_auc"}
GRADIENT = {"gradient_disparity", "evidence", "optimization_variance", "susceptibility"}
STATEFUL = {"label_wave": "predictions", "parallel_heads": "heads"}
HEAD = {
    "effective_rank",
    "gwa",
    "gwa_mean",
    "head_coherence",
    "head_evidence",
    "head_gradient",
    "intrinsic_dimension",
    "parallel_heads",
    "within_class_collapse",
}


@pytest.fixture
def held_out(pictures):
    return pictures[0].flip(3)[:11], pictures[1][:11]


def value(name, net, pictures, held_out, **options):
    return SIGNALS[name].measure(Snapshot(net, *pictures, held_out=held_out, **options))


def values(net, pictures, held_out, names=SIGNALS):
    """All signals of one snapshot."""
    snapshot = Snapshot(net, *pictures, held_out=held_out)
    return {name: SIGNALS[name].measure(snapshot) for name in names}


class Wrapped(LightningModule):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x)


def states():
    """Everything global that a measurement might move."""
    return [
        torch.random.get_rng_state().tolist(),
        random.getstate(),
        str(np.random.get_state()),  # noqa: NPY002  # the legacy generator is what other code may draw from
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
    ]


@pytest.mark.parametrize("name", SIGNALS)
def test_a_measurement_leaves_no_trace(cnn, pictures, held_out, name):
    """Batch norm, dropout and in-place ReLU in training, one layer in eval mode, one frozen, one without gradient."""
    cnn.train()
    cnn[1].eval()
    cnn[5].requires_grad_(False)
    parametrizations.spectral_norm(cnn[9])
    cross_entropy(cnn(pictures[0]), pictures[1]).backward()
    cnn[-1].bias.grad = None
    kept = copy.deepcopy(cnn.state_dict())
    parameters = list(cnn.parameters())
    stamps = [(p.data_ptr(), p._version, p.requires_grad) for p in parameters]
    gradients = [(p.grad, copy.deepcopy(p.grad)) for p in parameters]
    flags = [m.training for m in cnn.modules()]
    data = [t.clone() for t in (*pictures, *held_out)]
    globals_ = states()

    value(name, cnn, pictures, held_out)

    assert states() == globals_
    assert [m.training for m in cnn.modules()] == flags
    assert all(torch.equal(kept[key], now) for key, now in cnn.state_dict().items())
    assert all(now is p for now, p in zip(cnn.parameters(), parameters, strict=True))
    assert [(p.data_ptr(), p._version, p.requires_grad) for p in parameters] == stamps
    for p, (gradient, numbers) in zip(parameters, gradients, strict=True):
        assert p.grad is gradient
        assert gradient is None or torch.equal(gradient, numbers)
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in cnn.modules())
    assert all(torch.equal(a, b) for a, b in zip(data, (*pictures, *held_out), strict=True))


@pytest.mark.parametrize("name", SIGNALS)
def test_every_signal_is_a_finite_number_at_the_second_check(net, pictures, held_out, name):
    memory = {}
    for _ in range(2):
        measured = value(name, net, pictures, held_out, memory=memory)
    assert isinstance(measured, float)
    assert math.isfinite(measured)


@pytest.mark.parametrize("name", SIGNALS)
def test_only_the_stateful_remember(cnn, pictures, held_out, name):
    memory = {"other": torch.ones(2)}
    first = value(name, cnn, pictures, held_out, memory=memory)
    assert set(memory) - {"other"} == ({STATEFUL[name]} if name in STATEFUL else set())
    assert torch.equal(memory["other"], torch.ones(2))
    again = value(name, cnn, pictures, held_out, memory=memory)
    assert (again == first) == (name not in STATEFUL)


def test_the_table_is_coherent():
    for name, signal in SIGNALS.items():
        assert signal.best in ("maximum", "minimum"), name
        if signal.rule.kind in ("maximum", "minimum"):
            assert signal.rule.kind == signal.best, name
        assert signal.source, name
        found = signal.rule.replay([float(i % 7) for i in range(40)])
        assert 0 <= found.best <= found.stopped < 40, name


def test_accuracies_and_losses_are_those_of_the_network(net, pictures, held_out):
    got = values(net, pictures, held_out, ["train_accuracy", "train_loss", "held_out_accuracy", "held_out_loss"])
    net.eval()
    for name, (images, labels) in {"train": pictures, "held_out": held_out}.items():
        scores = net(images).detach()
        hits = sum(int(row.argmax() == y) for row, y in zip(scores, labels, strict=True))
        assert got[f"{name}_accuracy"] == pytest.approx(hits / len(labels))
        assert got[f"{name}_loss"] == pytest.approx(float(cross_entropy(scores, labels)))


def test_label_wave_compares_with_the_check_before(cnn, pictures, held_out):
    memory, measured = {}, []
    for shift in (0, 1, 1, 0):  # by one class: every prediction changes
        net = nn.Sequential(cnn, Roll(shift))
        measured.append(value("label_wave", net, pictures, held_out, memory=memory))
    assert measured == [1, 1, 0, 1]  # at first all are new


class Roll(nn.Module):
    """Renames the classes."""

    def __init__(self, shift):
        super().__init__()
        self.shift = shift

    def forward(self, scores):
        return scores.roll(self.shift, 1)


def test_parallel_heads_go_on_from_check_to_check(cnn, pictures, held_out):
    snapshot, memory = Snapshot(cnn, *pictures), {}
    heads = start_heads(3, 12, generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        heads = train_heads(heads, snapshot.features, pictures[1])
        assert value("parallel_heads", cnn, pictures, held_out, memory=memory) == pytest.approx(head_distance(heads))


def test_compound_signals_are_made_of_their_parts(cnn, pictures, held_out):
    got = values(cnn, (pictures[0], pictures[1].flip(0)), held_out)  # labels that are wrong for most
    snapshot = Snapshot(cnn, pictures[0], pictures[1].flip(0))
    seeded = torch.Generator().manual_seed(0)
    mixup = label_wise_mixup_accuracy(cnn, snapshot.images, snapshot.labels, generator=seeded)
    index = davies_bouldin_index(snapshot.first_features, snapshot.labels, generator=torch.Generator().manual_seed(0))
    assert 0 < mixup < 1
    assert got["mixup_accuracy"] == mixup
    assert got["class_structure"] == pytest.approx(index * (1 - mixup))
    assert got["power_law_alpha"] == pytest.approx(np.mean(list(power_law_alphas(cnn).values())))
    aligned = gradient_weight_alignment(snapshot.features, snapshot.scores, snapshot.labels, cnn[-1].weight.detach())
    assert (got["gwa"], got["gwa_mean"]) == (aligned.value, aligned.mean)
    assert got["evidence"] == pytest.approx(evidence(cnn, snapshot.images, snapshot.labels), rel=1e-5)
    curve = snapshot.compression("nmf")
    assert (got["nmf_auc"], got["relative_nmf_auc"]) == (curve.auc, curve.relative_auc)


def test_a_network_that_learnt_the_labels_looks_better_than_for_random_ones(net, pictures, held_out):
    """What it learnt against labels it never saw, on the same pictures."""
    random_labels = pictures[1][torch.randperm(60, generator=torch.Generator().manual_seed(0))]
    names = ["train_accuracy", "gwa_mean", "mixup_accuracy", "train_loss", "within_class_collapse", "class_structure"]
    true = values(net, pictures, held_out, names)
    wrong = values(net, (pictures[0], random_labels), held_out, names)
    for name in names:
        sign = 1 if SIGNALS[name].best == "maximum" else -1
        assert sign * true[name] > sign * wrong[name], name


@pytest.mark.parametrize("kind", ["lightning", "compiled"])
def test_a_wrapped_network_measures_like_the_network(cnn, pictures, held_out, kind):
    expected = values(cnn, pictures, held_out)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the compiler of this version of torch has to say
        model = Wrapped(cnn) if kind == "lightning" else torch.compile(cnn, backend="eager")
        got = values(model, pictures, held_out)
    assert got == pytest.approx(expected, rel=1e-5)


def test_within_inference_mode_nothing_changes(cnn, pictures, held_out):
    expected = values(cnn, pictures, held_out)
    with torch.inference_mode():  # as in Lightning's validation hooks, where the batches are inference tensors, too
        got = values(cnn, tuple(t.clone() for t in pictures), held_out)
    assert got == expected


def test_half_precision_networks_are_measured(cnn, pictures, held_out):
    low = values(cnn.bfloat16(), (pictures[0].bfloat16(), pictures[1]), (held_out[0].bfloat16(), held_out[1]))
    full = values(cnn.float(), pictures, held_out)
    assert all(math.isfinite(measured) for measured in low.values())
    for name in set(SIGNALS) - COMPRESSION - GRADIENT - {"intrinsic_dimension", "neuron_divergence", "class_structure"}:
        assert low[name] == pytest.approx(full[name], rel=0.1, abs=0.02), name


def test_autocast_changes_only_what_the_network_itself_computes(cnn, pictures, held_out):
    full = values(cnn, pictures, held_out)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = values(cnn, pictures, held_out)
    assert all(math.isfinite(measured) for measured in mixed.values())
    for name in {"train_loss", "held_out_loss", "weight_norm", "power_law_alpha", "gwa_mean", "parallel_heads"}:
        assert mixed[name] == pytest.approx(full[name], rel=0.1, abs=0.02), name


def test_a_diverged_network_gives_nan_and_no_crash(cnn, pictures, held_out):
    for p in cnn.parameters():
        p.data.fill_(math.nan)
    got = values(cnn, pictures, held_out, [name for name in SIGNALS if name not in COMPRESSION])
    counted = {"train_accuracy", "held_out_accuracy", "mixup_accuracy", "label_wave"}  # NaN scores predict something
    assert {name for name, measured in got.items() if not math.isnan(measured)} == counted
    for name in COMPRESSION:
        with pytest.raises(ValueError, match="diverged training run"):
            value(name, cnn, pictures, held_out)


def test_scores_that_are_not_finite_give_nan(cnn, pictures, held_out):
    cnn[-1].bias.data.fill_(math.nan)
    names = {"train_loss", "held_out_loss", "head_evidence", "gwa", "gwa_mean", "head_gradient", "head_coherence"}
    assert all(math.isnan(measured) for measured in values(cnn, pictures, held_out, names | GRADIENT).values())


def test_dead_features_never_look_perfect(cnn, pictures, held_out):
    """All weights zero: a rule that looks for a minimum must not find it there."""
    for p in cnn.parameters():
        p.data.zero_()
    got = values(cnn, pictures, held_out)
    nothing = {"head_evidence", "head_coherence", "effective_rank", "within_class_collapse", "power_law_alpha"}
    assert all(math.isnan(got[name]) for name in nothing)


def test_a_frozen_network_has_no_gradient_signals(cnn, pictures, held_out):
    cnn.requires_grad_(False)
    for name in GRADIENT:
        with pytest.raises(ValueError, match="must be a network with weights that are not frozen"):
            value(name, cnn, pictures, held_out)
    rest = values(cnn, pictures, held_out, [name for name in SIGNALS if name not in GRADIENT])
    assert all(math.isfinite(measured) for measured in rest.values())


def test_a_network_without_linear_head_has_no_head_signals(pictures, held_out):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for name in HEAD:
        with pytest.raises(ValueError, match="must end in a Linear layer for this signal"):
            value(name, net, pictures, held_out)
    for name in set(SIGNALS) - HEAD:
        assert isinstance(value(name, net, pictures, held_out), float)


def test_a_single_class_has_no_class_structure(cnn, pictures, held_out):
    got = values(cnn, (pictures[0], torch.zeros(60, dtype=torch.long)), held_out)
    between = {"neuron_divergence", "class_structure", "within_class_collapse"}
    assert {name for name, measured in got.items() if math.isnan(measured)} == between


@pytest.mark.parametrize("n", [21, 37])
def test_odd_numbers_of_images_are_measured(cnn, pictures, held_out, n):
    snapshot = Snapshot(cnn, pictures[0][:n], pictures[1][:n], held_out=held_out, batch_size=8, per_class=3)
    assert all(math.isfinite(signal.measure(snapshot)) for signal in SIGNALS.values())
