import math

import pytest
import torch
from torch import nn

from lightning_interp.functional.dissection.passes import unit_statistics
from lightning_interp.functional.dissection.quantile import ActivationHistogram
from lightning_interp.functional.dissection.refine import LevelWindow, exact_levels


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def units():
    """One unit per trap, `(50, units, 5, 5)`."""
    normal = torch.randn(50, 12, 5, 5, generator=generator())
    normal[:, 1] = normal[:, 1].relu()
    normal[:, 2] = (normal[:, 2] - 4).relu()
    normal[:, 3] = 0.7
    normal[:, 4] = 0.0
    normal[:, 5] *= -0.0
    normal[:, 6] *= 1e-9
    normal[:, 7] *= 1e12
    normal[:, 8] = -normal[:, 8].abs() * 1e-42
    normal[:, 9] = normal[:, 9].round()
    normal[:, 10] = 1 + normal[:, 10] * 1e-6
    normal[:, 11] = -1e30 + normal[:, 11] * 1e26
    return normal


def order_statistics(values, share):
    flat = values.transpose(0, 1).flatten(1).sort(dim=1, descending=True).values
    return flat[:, min(math.floor(share * flat.shape[1]), flat.shape[1] - 1)]


def counted(values, share, *, floors):
    histogram = ActivationHistogram.zeros(values.shape[1])
    if floors:
        histogram = histogram.update(values[:10]).with_floors(share)
    return histogram.update(values)


def passes_until_exact(window, values, batch):
    passes = 0
    while not window.is_exact:
        for part in values.split(batch):
            window.update(part)
        window, passes = window.narrowed(), passes + 1
    return window.levels, passes


@pytest.mark.parametrize("share", [0.0, 0.005, 0.05, 0.5, 0.999])
def test_levels_are_the_order_statistics_themselves(share):
    values = units()
    levels, passes = passes_until_exact(LevelWindow.of(counted(values, share, floors=False), share), values, batch=7)
    assert torch.equal(levels, order_statistics(values, share))
    assert passes == 2, "the bins around zero and beyond 2**24 are too large for one"


@pytest.mark.parametrize("floors", [False, True])
def test_one_pass_is_enough_for_ordinary_activations(floors):
    values = units()[:, [0, 1, 9, 10]]
    levels, passes = passes_until_exact(LevelWindow.of(counted(values, 0.005, floors=floors), 0.005), values, batch=50)
    assert torch.equal(levels, order_statistics(values, 0.005))
    assert passes == 1


def test_zeros_under_a_floor_are_known_without_counting():
    values = units()[:, [2, 4]].relu()
    window = LevelWindow.of(counted(values, 0.05, floors=True), 0.05)
    assert window.is_exact
    assert window.levels.tolist() == [0.0, 0.0]


def test_memory_does_not_depend_on_the_number_of_images():
    values = units()
    windows = [LevelWindow.of(counted(values[:n], 0.005, floors=False), 0.005) for n in (1, 50)]
    one, other = (sum(part.numel() * part.element_size() for part in vars(window).values()) for window in windows)
    assert one == other <= 12 * 270_000


def test_layers_are_refined_together_and_only_where_they_must_be():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.ReLU(inplace=True))
    for parameter in model.parameters():
        nn.init.normal_(parameter, generator=generator())
    images = torch.rand(30, 3, 8, 9, generator=generator())
    calls = []

    def batches():
        calls.append(1)
        return ((torch.arange(30)[i : i + 4], images[i : i + 4], []) for i in range(0, 30, 4))

    statistics = unit_statistics(model, batches(), ["0", "3"], n_top=1, share=0.01)
    calls.clear()
    levels = exact_levels(model, batches, statistics, 0.01)
    with torch.no_grad():
        for name, part in {"0": model[:1], "3": model}.items():
            output = torch.cat([part(images) for _, images, _ in batches()])
            assert torch.equal(levels[name], order_statistics(output, 0.01))
    assert len(calls) == 1 + 2, "one pass for both layers, and two by this test"
    assert exact_levels(model, batches, {}, 0.01) == {}
