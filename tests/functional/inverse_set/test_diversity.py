import pytest
import torch
from scipy.spatial.distance import cdist, pdist

from lightning_interp.functional.inverse_set.diversity import mean_pairwise_distance, nearest_images


def test_it_is_scipys_mean_over_pairs():
    rows = torch.randn(1500, 7, generator=torch.Generator().manual_seed(0))
    assert mean_pairwise_distance(rows) == pytest.approx(pdist(rows.numpy()).mean(), rel=1e-6)
    assert mean_pairwise_distance(rows.view(1500, 7, 1, 1)) == mean_pairwise_distance(rows)


def test_copies_have_none_and_one_image_has_no_pair():
    assert mean_pairwise_distance(torch.ones(5, 3)) == 0
    assert mean_pairwise_distance(torch.ones(1, 3)) != mean_pairwise_distance(torch.ones(1, 3))  # NaN


def test_the_nearest_is_found_over_batches():
    generator = torch.Generator().manual_seed(0)
    rows, others = torch.randn(20, 5, generator=generator), torch.randn(90, 5, generator=generator)
    places, distances = nearest_images(rows, others.split(40))
    expected = cdist(rows.numpy(), others.numpy())
    assert places.tolist() == expected.argmin(1).tolist()
    assert distances.numpy() == pytest.approx(expected.min(1), rel=1e-4)


def test_a_copy_is_at_no_distance():
    others = torch.randn(30, 5, generator=torch.Generator().manual_seed(0))
    places, distances = nearest_images(others[[7, 3]], [others])
    assert places.tolist() == [7, 3]
    assert distances.amax() < 1e-2  # cdist multiplies matrices


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="one image at least"):
        nearest_images(torch.ones(2, 3), [])
    with pytest.raises(ValueError, match="rows of length 3"):
        nearest_images(torch.ones(2, 3), [torch.ones(2, 4)])
