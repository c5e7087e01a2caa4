import copy

import pytest
import torch
from torch.nn.functional import cross_entropy

from lightning_interp.functional.generalization import optimization_variance


def stepped(net, images, labels, lr, probes):
    """Scores of the probes after a real step of the real optimiser on a copy in eval mode."""
    copied = copy.deepcopy(net).eval()
    optimizer = torch.optim.SGD([p for p in copied.parameters() if p.requires_grad], lr=lr)
    cross_entropy(copied(images), labels).backward()
    optimizer.step()
    return copied(probes).detach().double()


def ratio(outputs):
    """Equation 5, probe by probe."""
    values = []
    for i in range(len(outputs[0])):
        f = torch.stack([output[i] for output in outputs])
        values.append(((f - f.mean(0)) ** 2).sum(1).mean() / (f**2).sum(1).mean())
    return float(sum(values) / len(values))


@pytest.mark.parametrize("seed", [None, 5])
def test_variance_equals_real_steps(net, pictures, seed):
    images, labels = pictures[0][:37], pictures[1][:37]
    order = torch.arange(37) if seed is None else torch.randperm(37, generator=torch.Generator().manual_seed(seed))
    batches = [order[i * 12 : i * 12 + 12] for i in range(3)]
    outputs = [stepped(net, images[rows], labels[rows], 0.3, images[order[-10:]]) for rows in batches]
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    got = optimization_variance(net, images, labels, n_batches=3, n_probes=10, lr=0.3, generator=generator)
    assert got == pytest.approx(ratio(outputs), rel=1e-2)


def test_frozen_weights_stay_where_they_are(cnn, pictures):
    cnn[:9].requires_grad_(False)
    images, labels = pictures
    outputs = [stepped(cnn, images[i : i + 8], labels[i : i + 8], 0.3, images) for i in (0, 8)]
    got = optimization_variance(cnn, images, labels, n_batches=2, batch_size=8, lr=0.3)
    assert got == pytest.approx(ratio(outputs), rel=1e-2)


def test_no_step_and_equal_batches_have_no_variance(net, pictures):
    images, labels = pictures[0][:12].repeat(2, 1, 1, 1), pictures[1][:12].repeat(2)
    assert optimization_variance(net, *pictures, lr=0.0) == 0
    assert optimization_variance(net, images, labels, n_batches=2) == pytest.approx(0, abs=1e-12)


def test_longer_steps_vary_more(net, pictures):
    images, labels = pictures[0].double(), pictures[1]
    values = [optimization_variance(net.double(), images, labels, n_batches=4, lr=lr) for lr in (1e-6, 1e-5, 0.01)]
    assert values == sorted(values)
    assert values[1] / values[0] == pytest.approx(100, rel=0.01)  # to first order the step's length squared


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"n_batches": 1}, ValueError, r"`n_batches` parameter of `optimization_variance` must be an int in \[2, 60\]"),
        ({"batch_size": 0}, ValueError, "`batch_size`"),
        ({"n_probes": 0}, ValueError, "`n_probes`"),
        ({"lr": -1.0}, ValueError, "`lr`"),
        ({"lr": None}, TypeError, "`lr`"),
    ],
)
def test_bad_input_is_named(cnn, pictures, options, error, text):
    with pytest.raises(error, match=text):
        optimization_variance(cnn, *pictures, **options)
