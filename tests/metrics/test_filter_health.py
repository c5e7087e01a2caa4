import pickle

import pytest
import torch
from torch import nn

from lightning_interp.metrics.filter_health import FilterActivity

LAYERS, SIZES = ["1", "4"], [6, 5]


def problem():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 5), nn.ReLU())
    net[0].bias.data[[1, 4]] = -100.0
    net[3].bias.data[3] = -100.0
    return net, torch.randn(12, 3, 6, 6)


def test_planted_dead_units_are_found():
    net, images = problem()
    metric = FilterActivity(LAYERS, SIZES)
    for batch in images.split(5):
        metric.update(net, batch)
    assert metric.dead()["1"].nonzero().flatten().tolist() == [1, 4]
    assert metric.dead()["4"].nonzero().flatten().tolist() == [3]
    assert {name: float(share) for name, share in metric.compute().items()} == pytest.approx({"1": 2 / 6, "4": 1 / 5})


def test_a_unit_that_speaks_once_is_alive():
    net = nn.Sequential(nn.Flatten(), nn.ReLU())
    images = -torch.ones(4, 3)
    images[2, 1] = 0.5
    metric = FilterActivity(["1"], [3])
    for batch in images.split(1):
        metric.update(net, batch)
    assert metric.dead()["1"].tolist() == [True, False, True]
    metric.reset()
    metric.update(net, images[:2])
    assert metric.dead()["1"].tolist() == [True, True, True]


def test_shares_of_the_images_merge_as_ranks_do():
    net, images = problem()
    whole, *parts = (FilterActivity(LAYERS, SIZES) for _ in range(3))
    whole.update(net, images)
    for part, batch in zip(parts, images.split(6), strict=True):
        part.update(net, batch)
    for i in range(len(LAYERS)):
        reduction = whole._reductions[f"largest_{i}"]
        together = reduction(torch.stack([getattr(part, f"largest_{i}") for part in parts]))
        assert torch.equal(together, getattr(whole, f"largest_{i}"))
    assert pickle.loads(pickle.dumps(whole)).compute() == whole.compute()


def test_the_model_is_left_as_it_was():
    net, images = problem()
    FilterActivity(LAYERS, SIZES).update(net, images)
    assert net.training
    assert not any(module._forward_hooks for module in net.modules())


def test_bad_input_is_named():
    net, images = problem()
    with pytest.raises(ValueError, match="shorter"):
        FilterActivity(LAYERS, [6])
    with pytest.raises(ValueError, match="matches a layer"):
        FilterActivity(["nowhere"], [6]).update(net, images)
