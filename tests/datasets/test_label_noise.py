import pytest
import torch

from lightning_interp.datasets import noisy_labels

LABELS = torch.arange(20000) % 10


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("kind", "wrong"), [("uniform", 0.4 * 0.9), ("different", 0.4)])
def test_share_of_wrong_labels(kind, wrong):
    noisy = noisy_labels(LABELS, 0.4, n_classes=10, kind=kind, generator=seeded())
    assert (noisy != LABELS).float().mean().item() == pytest.approx(wrong, abs=0.015)


@pytest.mark.parametrize("kind", ["uniform", "different"])
def test_replacements_are_uniform_over_the_allowed_classes(kind):
    noisy = noisy_labels(LABELS, 1.0, n_classes=10, kind=kind, generator=seeded())
    step = ((noisy - LABELS) % 10).bincount(minlength=10)
    allowed = step if kind == "uniform" else step[1:]
    assert allowed.sum() == 20000
    assert (allowed - 20000 / len(allowed)).abs().max() < 200  # four standard deviations


def test_zero_keeps_and_one_leaves_no_trace():
    assert torch.equal(noisy_labels(LABELS, 0.0, n_classes=10), LABELS)
    noisy = noisy_labels(LABELS, 1.0, n_classes=10, generator=seeded())
    assert torch.corrcoef(torch.stack([noisy, LABELS]).float())[0, 1].abs() < 0.03


def test_more_noise_contains_less_noise():
    clean, some, more = (noisy_labels(LABELS, p, n_classes=10, generator=seeded()) for p in (0.0, 0.2, 0.6))
    changed = some != clean
    assert torch.equal(some[changed], more[changed])


def test_seed_decides_and_nothing_else():
    before = torch.get_rng_state()
    first, second = (noisy_labels(LABELS, 0.5, n_classes=10, generator=seeded(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, noisy_labels(LABELS, 0.5, n_classes=10, generator=seeded(4)))
    assert torch.equal(before, torch.get_rng_state())


def test_dtype_follows_and_input_stays():
    labels = torch.zeros(50, dtype=torch.int32)
    assert noisy_labels(labels, 1.0, n_classes=3).dtype == torch.int32
    assert not labels.any()
    assert noisy_labels(torch.zeros(0, dtype=torch.long), 0.5, n_classes=3).shape == (0,)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"p": 1.2}, ValueError, r"`p` parameter of `noisy_labels` must be a number in \[0, 1\]. Got 1.2"),
        ({"n_classes": 1}, ValueError, "`n_classes`"),
        ({"n_classes": 5}, ValueError, r"`labels` parameter of `noisy_labels` must be in \[0, 4\]. Got 5"),
        ({"kind": "difrent"}, ValueError, "Did you mean 'different'"),
        ({"labels": torch.rand(4)}, TypeError, "vector of integers"),
        ({"labels": torch.zeros(2, 2, dtype=torch.long)}, TypeError, "vector of integers"),
    ],
)
def test_bad_input(arguments, error, match):
    given = {"labels": LABELS, "p": 0.1, "n_classes": 10, **arguments}
    with pytest.raises(error, match=match):
        noisy_labels(given.pop("labels"), given.pop("p"), **given)
