import pytest
import torch
from scipy.spatial.distance import cosine
from torch import nn
from torch.nn.functional import cross_entropy

from lightning_interp.functional.generalization import head_distance, start_heads, train_heads


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def problem():
    return start_heads(4, 7, generator=seeded()), torch.randn(40, 7, generator=seeded(1)), torch.arange(40) % 4


def test_training_equals_linear_layers_under_sgd(problem):
    heads, features, labels = problem
    rate = 0.5 / float(features.square().sum(1).mean())
    expected = []
    for head in heads:
        layer = nn.Linear(7, 4, bias=False)
        layer.weight.data.copy_(head)
        optimizer = torch.optim.SGD(layer.parameters(), lr=rate)
        for _ in range(15):
            optimizer.zero_grad()
            cross_entropy(layer(features), labels).backward()
            optimizer.step()
        expected.append(layer.weight.detach())
    torch.testing.assert_close(train_heads(heads, features, labels, steps=15, lr=0.5), torch.stack(expected))


def test_heads_on_the_same_data_come_together(problem):
    heads, features, labels = problem
    after = [train_heads(heads, features, labels, steps=steps) for steps in (0, 30, 1000)]
    distances = [head_distance(both) for both in after]
    assert distances[0] > distances[1] > distances[2]
    # What all classes have in common no softmax sees, and no step changes.
    assert head_distance(after[2] - after[2].mean(1, keepdim=True)) < 0.01
    torch.testing.assert_close(after[2].mean(1), heads.mean(1))


def test_training_goes_on_from_where_it_was_and_changes_nothing_in_place(problem):
    heads, features, labels = problem
    before = heads.clone()
    half = train_heads(heads, features, labels, steps=10)
    torch.testing.assert_close(
        train_heads(half, features, labels, steps=10), train_heads(heads, features, labels, steps=20)
    )
    assert torch.equal(heads, before)
    assert torch.equal(train_heads(heads, features, labels, steps=0), before)


def test_the_rate_follows_the_size_of_the_features(problem):
    heads, features, labels = problem
    small = train_heads(heads, features, labels)
    large = train_heads(heads / 100, 100 * features, labels)
    torch.testing.assert_close(100 * large, small)


def test_dead_and_half_precision_features_are_survived(problem):
    heads, features, labels = problem
    assert torch.equal(train_heads(heads, torch.zeros_like(features), labels), heads)
    assert train_heads(heads, features.bfloat16(), labels).dtype == torch.float32


def test_distance_equals_scipy_and_ignores_scale(problem):
    heads = problem[0]
    expected = cosine(heads[0].flatten(), heads[1].flatten())
    assert head_distance(heads) == pytest.approx(expected)
    assert head_distance(heads * torch.tensor([3.0, 0.2])[:, None, None]) == pytest.approx(expected)
    assert head_distance(torch.stack([heads[0], -heads[0]])) == pytest.approx(2)


def test_heads_start_apart_at_the_usual_size_and_are_reproducible():
    heads = start_heads(50, 400, generator=seeded(3))
    assert heads.shape == (2, 50, 400)
    assert float(heads.std()) == pytest.approx(400**-0.5, rel=0.02)
    assert head_distance(heads) == pytest.approx(1, abs=0.05)
    assert torch.equal(heads, start_heads(50, 400, generator=seeded(3)))


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"steps": -1}, ValueError, r"`steps` parameter of `train_heads` must be an int in \[0, inf\). Got -1"),
        ({"steps": 1.5}, TypeError, "`steps`"),
        ({"lr": -0.1}, ValueError, "`lr`"),
    ],
)
def test_bad_input_is_named(problem, options, error, text):
    with pytest.raises(error, match=text):
        train_heads(*problem, **options)


def test_autocast_and_the_default_dtype_change_nothing(problem):
    heads, features, labels = problem
    expected = train_heads(heads, features, labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(train_heads(heads, features, labels), expected)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(start_heads(4, 7, generator=seeded()), heads)
    finally:
        torch.set_default_dtype(torch.float32)
