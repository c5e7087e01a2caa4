import numpy as np
import pytest
import torch
from torch import nn

from lightning_interp.functional.inverse_set.intervals import activation_quantiles, checked_intervals
from lightning_interp.functional.synthesis import channel, logit, unit
from tests.functional.inverse_set.worlds import network


def test_quantiles_are_numpys():
    images = torch.rand(50, 3, 10, 12, generator=torch.Generator().manual_seed(0))
    net = network()
    found = activation_quantiles(
        net, [unit("4", 2, position="max"), channel("4", 2), logit(1)], [(images[:30], 0), images[30:]], (0.1, 0.5, 1)
    )
    with torch.no_grad():
        maps, scores = net[:5](images)[:, 2].flatten(1), net(images)[:, 1]
    for row, values in zip(found, (maps.amax(1), maps.mean(1), scores), strict=True):
        assert row.numpy() == pytest.approx(np.quantile(values.numpy(), [0.1, 0.5, 1]), rel=1e-5)
    assert net.training


def test_bad_data_is_named():
    with pytest.raises(ValueError, match="at least one batch"):
        activation_quantiles(nn.ReLU(), logit(0), [], (0.1, 0.5))
    with pytest.raises(ValueError, match=r"numbers in \[0, 1\]"):
        activation_quantiles(nn.ReLU(), logit(0), [torch.ones(2, 3)], (10, 50))
    with pytest.raises(ValueError, match="batches of images"):
        activation_quantiles(nn.ReLU(), logit(0), ["images"], (0.1, 0.5))


def test_one_or_several_intervals():
    assert checked_intervals((1, 2.5), 1).tolist() == [[1, 2.5]]
    assert checked_intervals([(0, 1), (3, 4)], 2).tolist() == [[0, 1], [3, 4]]
    assert checked_intervals(torch.tensor([[0.0, 1.0]]), 1).tolist() == [[0, 1]]


@pytest.mark.parametrize("interval", [(2, 2), (3, 1), (float("nan"), 1), (0, float("inf")), (1, 2, 3)])
def test_an_empty_interval_is_refused(interval):
    with pytest.raises(ValueError, match=r"`interval` parameter of `sample_inverse_set` must be \(z1, z2\), finite"):
        checked_intervals(interval, 1)


def test_there_must_be_one_for_each_neuron():
    with pytest.raises(ValueError, match="for each of 2 neurons"):
        checked_intervals((1, 2), 2)
