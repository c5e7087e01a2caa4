import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from lightning_interp.functional.generalization import head_coherence, head_gradient_norm


def gradient(features, labels, weight):
    w = weight.clone().requires_grad_()
    cross_entropy(features @ w.T, labels).backward()
    return w.grad


def test_the_norm_equals_autograd(head_problem):
    features, scores, labels, weight = head_problem
    norm = float(gradient(features, labels, weight).norm())
    assert head_gradient_norm(features, scores, labels) == pytest.approx(norm)
    assert head_gradient_norm(features, scores, labels, weight) == pytest.approx(norm / float(weight.norm()))


def test_the_norm_falls_along_the_gradient_and_vanishes_for_a_sure_head(head_problem):
    features, scores, labels, weight = head_problem
    before = head_gradient_norm(features, scores, labels)
    for _ in range(30):
        weight = weight - 0.3 * gradient(features, labels, weight)
    assert head_gradient_norm(features, features @ weight.T, labels) < before / 3
    sure = 1e4 * torch.eye(4)[labels]
    assert head_gradient_norm(features, sure, labels) == 0


def test_coherence_equals_the_loop(head_problem):
    features, scores, labels, weight = head_problem
    each = [gradient(z[None], y[None], weight) for z, y in zip(features, labels, strict=True)]
    together = sum(each) / len(each)
    expected = len(each) * together.square().sum() / (sum(g.square().sum() for g in each) / len(each))
    assert head_coherence(features, scores, labels) == pytest.approx(float(expected))


def test_coherence_counts_the_images_that_agree():
    scores, labels = torch.zeros(6, 2), torch.zeros(6, dtype=torch.long)
    assert head_coherence(torch.eye(6), scores, labels) == pytest.approx(1.0)  # orthogonal
    assert head_coherence(torch.ones(6, 3), scores, labels) == pytest.approx(6.0)  # equal
    assert head_coherence(torch.eye(3).repeat(2, 1), scores, labels) == pytest.approx(2.0)  # three pairs
    assert head_coherence(torch.ones(6, 3), scores, torch.arange(6) % 2) == pytest.approx(0.0)  # they cancel


def test_coherence_ignores_the_scale_and_the_order(head_problem):
    features, scores, labels, _ = head_problem
    plain = head_coherence(features, scores, labels)
    assert head_coherence(30 * features, scores, labels) == pytest.approx(plain)
    assert head_coherence(features.flip(0), scores.flip(0), labels.flip(0)) == pytest.approx(plain)


def test_no_gradient_no_coherence():
    assert math.isnan(head_coherence(torch.zeros(4, 2), torch.zeros(4, 2), torch.zeros(4, dtype=torch.long)))


def test_scores_that_are_not_finite_give_nan(head_problem):
    features, scores, labels, weight = head_problem
    assert math.isnan(head_gradient_norm(features, scores * math.nan, labels, weight))
    assert math.isnan(head_coherence(features, scores * math.inf, labels))
