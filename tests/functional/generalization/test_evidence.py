import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lightning_interp.functional.generalization import evidence, head_evidence


def criterion(gradients, eps=0.0):
    """Equation 7, one weight at a time, over the weights whose gradient varies."""
    ratios = []
    for column in np.asarray(gradients, dtype=np.float64).T:
        variance = column.var(ddof=1)
        if variance > 1e-12 * (column**2).mean():
            ratios.append(column.mean() ** 2 / (variance + eps))
    return 1 - len(gradients) * np.mean(ratios)


def head_gradients(features, labels, weight):
    """Gradient of each image with respect to a linear head, by autograd."""
    rows = []
    for z, y in zip(features, labels, strict=True):
        w = weight.clone().requires_grad_()
        cross_entropy((w @ z)[None], y[None]).backward()
        rows.append(w.grad.flatten().numpy())
    return np.stack(rows)


@pytest.mark.parametrize("eps", [0.0, 1e-5])
def test_evidence_equals_the_loop_over_images(net, pictures, gradient_of, eps):
    images, labels = pictures[0][:13], pictures[1][:13]
    gradients = [gradient_of(net, images[i : i + 1], labels[i : i + 1]).numpy() for i in range(13)]
    assert evidence(net, images, labels, eps=eps) == pytest.approx(criterion(gradients, eps), rel=1e-4)


@pytest.mark.parametrize("eps", [0.0, 0.1])
def test_the_closed_form_of_the_head_equals_autograd(head_problem, eps):
    features, scores, labels, weight = head_problem
    expected = criterion(head_gradients(features, labels, weight), eps)
    assert head_evidence(features, scores, labels, eps=eps) == pytest.approx(expected)


def test_a_network_that_is_only_a_head_has_the_evidence_of_its_head():
    torch.manual_seed(0)
    net, x, y = nn.Linear(6, 3, bias=False), torch.rand(20, 6), torch.arange(20) % 3
    assert evidence(net, x, y) == pytest.approx(head_evidence(x, net(x).detach(), y), rel=1e-4)


def test_pure_noise_is_slightly_below_zero():
    """Gradients of random features under undecided scores: E = 1 - (B - 1) / (B - 3)."""
    b, d = 32, 20_000
    noise = torch.randn(b, d, generator=torch.Generator().manual_seed(0))
    value = head_evidence(noise, torch.zeros(b, 2), torch.arange(b) % 2)
    assert value == pytest.approx(1 - (b - 1) / (b - 3), abs=0.02)
    assert value < 0


def test_agreeing_gradients_say_go_on():
    z = torch.ones(16, 5) + 1e-3 * torch.randn(16, 5, generator=torch.Generator().manual_seed(0))
    assert head_evidence(z, torch.zeros(16, 2), torch.zeros(16, dtype=torch.long)) < -1e5


def test_cancelling_gradients_say_stop():
    z = torch.ones(16, 5)  # half of the images pull this way, half that way
    assert head_evidence(z, torch.zeros(16, 2), torch.arange(16) % 2) == pytest.approx(1.0)


def test_dead_weights_do_not_count(head_problem):
    features, scores, labels, _ = head_problem
    dead = torch.cat([features, torch.zeros(40, 5)], 1)
    assert head_evidence(dead, scores, labels) == pytest.approx(head_evidence(features, scores, labels))


def test_only_eps_makes_the_scale_of_the_gradients_matter(head_problem):
    features, scores, labels, _ = head_problem
    small = 1e-4 * features
    assert head_evidence(small, scores, labels) == pytest.approx(head_evidence(features, scores, labels))
    assert head_evidence(small, scores, labels, eps=1e-5) > 0.9 > head_evidence(features, scores, labels, eps=1e-5)


def test_the_order_of_the_images_does_not_matter(cnn, pictures):
    images, labels = pictures[0][:10], pictures[1][:10]
    order = torch.arange(10).flip(0)
    assert evidence(cnn, images[order], labels[order]) == pytest.approx(evidence(cnn, images, labels), rel=1e-6)


def test_gradients_that_do_not_vary_give_nan(cnn, pictures):
    images, labels = pictures[0][:1].repeat(4, 1, 1, 1), torch.zeros(4, dtype=torch.long)
    assert np.isnan(evidence(cnn, images, labels))


def test_frozen_weights_do_not_count(cnn, pictures, gradient_of):
    images, labels = pictures[0][:8], pictures[1][:8]
    cnn[:9].requires_grad_(False)
    gradients = [gradient_of(cnn, images[i : i + 1], labels[i : i + 1]).numpy() for i in range(8)]
    assert evidence(cnn, images, labels) == pytest.approx(criterion(gradients), rel=1e-4)
    with pytest.raises(ValueError, match=r"`model` parameter .* weights that are not frozen"):
        evidence(cnn.requires_grad_(False), images, labels)


def test_it_runs_within_inference_mode(cnn, pictures):
    """Lightning's validation hooks do."""
    images, labels = pictures[0][:8], pictures[1][:8]
    with torch.inference_mode():
        inside = evidence(cnn, images.clone(), labels.clone())
    assert inside == evidence(cnn, images, labels)


@pytest.mark.parametrize(
    ("n", "eps", "error", "text"),
    [
        (1, 0.0, ValueError, r"must be an int in \[2, inf\). Got 1"),
        (0, 0.0, ValueError, r"must be an int in \[2, inf\). Got 0"),
        (4, -1.0, ValueError, "`eps` parameter of `evidence`"),
        (4, "small", TypeError, "`eps`"),
    ],
)
def test_bad_input_is_named(n, eps, error, text):
    x, y = torch.rand(n, 4), torch.arange(n) % 2
    with pytest.raises(error, match=text):
        evidence(nn.Linear(4, 2), x, y, eps=eps)
    with pytest.raises(error, match=text):
        head_evidence(x, torch.rand(n, 2), y, eps=eps)
