import pytest
import torch

from lightning_interp.functional.localization import choose_rank
from lightning_interp.functional.localization.choose_rank import elbow


@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.parametrize("method", ["nmf", "kmeans"])
def test_planted_numbers_of_factors(k, method):
    generator = torch.Generator().manual_seed(k)
    rows = torch.block_diag(*[torch.ones(30, 4) for _ in range(k)])
    rows = rows + 0.05 * torch.rand(rows.shape, generator=generator)
    assert choose_rank(rows, max_k=8, method=method) in ({k} if k > 1 else {1, 2})


def test_the_elbow_is_farthest_below_the_chord():
    assert elbow([1.0, 0.5, 0.1, 0.08, 0.05]) == 2
    assert elbow([1.0, 0.8, 0.6, 0.4, 0.2]) == 1  # a line has none
    assert elbow([1.0]) == 1


def test_no_more_than_there_can_be():
    assert choose_rank(torch.rand(3, 40), max_k=8) <= 3
    with pytest.raises(ValueError, match="`max_k` parameter"):
        choose_rank(torch.rand(3, 4), max_k=0)
