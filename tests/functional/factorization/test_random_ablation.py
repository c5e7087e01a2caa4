import pytest
import torch

from lightning_interp.functional.factorization import random_ablation


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("k", [1, 3, 8])
def test_keeps_k_columns_and_zeroes_the_others(k):
    a = torch.randn(3, 10, 8, generator=seeded(0))
    f = random_ablation(a, k)
    kept = f.v.sum(dim=1, keepdim=True)
    assert torch.equal(kept.sum(dim=(1, 2)), torch.full((3,), float(k)))
    torch.testing.assert_close(f.reconstruct(), a * kept)
    torch.testing.assert_close(f.error, (a * (1 - kept)).norm(dim=(1, 2)) / a.norm(dim=(1, 2)))
    torch.testing.assert_close(f.transform(a), f.u)


def test_every_column_is_kept_equally_often():
    a = torch.ones(4000, 1, 5)
    counts = random_ablation(a, 2, generator=seeded(0)).v.sum(dim=(0, 1))
    assert ((counts / 4000 - 0.4).abs() < 0.04).all()


def test_generator_decides_and_the_global_state_stays():
    a, state = torch.ones(4, 30), torch.get_rng_state()
    one, same, other = (random_ablation(a, 10, generator=seeded(s)) for s in (1, 1, 2))
    assert torch.equal(one.v, same.v)
    assert not torch.equal(one.v, other.v)
    assert torch.equal(torch.get_rng_state(), state)


def test_bad_input():
    with pytest.raises(ValueError, match=r"`k` parameter of `random_ablation` must be an int in \[1, 4\]"):
        random_ablation(torch.ones(5, 4), 0)
    with pytest.raises(ValueError, match="finite"):
        random_ablation(torch.full((5, 4), float("nan")), 2)
