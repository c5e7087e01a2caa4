from typing import ClassVar

import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from lightning_interp.functional.dissection import Concepts, LayerDissection, NetworkDissection, TopImages
from lightning_interp.functional.dissection.dissect import network_dissection
from lightning_interp.functional.dissection.regions import best_units, unit_regions
from lightning_interp.hooks import capture


class Data(list):
    concepts: ClassVar = {"color": ["unlabelled", "red", "blue"], "scene": ["unlabelled", "sea"]}


@pytest.fixture
def problem():
    generator = torch.Generator().manual_seed(1)
    net = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(inplace=True), nn.AvgPool2d(2), nn.Conv2d(5, 4, 1))
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    sizes = [(8, 8), (8, 8), (6, 10), (8, 8), (6, 10), (8, 8)]
    images = [torch.randn(3, *size, generator=generator) for size in sizes]
    data = Data((x, {"color": torch.randint(3, x.shape[1:], generator=generator), "scene": 1}) for x in images)
    return net, data, network_dissection(net, data, ["1", "3"], quantile=0.1, n_top=4)


def test_masks_are_the_enlarged_maps_above_the_level(problem):
    net, data, found = problem
    units = [("3", 2), ("1", 0), ("1", 4), ("3", 2)]
    regions = unit_regions(net, data, found, units, batch_size=4)
    for (name, unit), each in zip(units, regions, strict=True):
        layer = found.layers[name]
        assert (each.layer, each.unit, len(each.images)) == (name, unit, 4)
        for i, image, mask in zip(layer.top.indices[unit].tolist(), each.images, each.masks, strict=True):
            assert torch.equal(image, data[i][0])
            with capture(net, [name]) as seen, torch.no_grad():
                net(image[None])
            large = interpolate(seen[name], size=image.shape[1:], mode="bilinear")[0, unit]
            assert torch.equal(mask, large > layer.levels[unit])
    assert any(bool(mask.any()) for each in regions for mask in each.masks)


def test_name_and_iou_are_those_of_the_best_concept(problem):
    net, data, found = problem
    each = unit_regions(net, data, found, [("1", 3)], n_images=1)[0]
    row = found.to_dataframe().query("layer == '1' and unit == 3").iloc[0]
    assert (each.concept, each.category, each.iou) == (row["concept"], row["category"], pytest.approx(row["iou"]))
    assert len(each.images) == len(each.masks) == 1


def test_the_best_units_have_different_concepts_first():
    iou = torch.tensor([[0.5, 0.1, 0.0], [0.4, 0.0, 0.0], [0.0, 0.3, 0.0]])
    layers = {
        name: LayerDissection(torch.ones(3), iou * scale, TopImages.zeros(3, 1))
        for name, scale in [("a", 1), ("b", 0.9)]
    }
    found = NetworkDissection(Concepts.of(Data.concepts), layers, 0.04)
    assert best_units(found, 4) == [("a", 0), ("a", 2), ("b", 0), ("a", 1)]
    assert len(best_units(found, 99)) == 6
    with pytest.raises(ValueError, match="The `n` parameter of `best_units` must be"):
        best_units(found, 0)


def test_a_unit_with_fewer_images_than_asked_for_has_fewer(problem):
    net, data, _ = problem
    found = network_dissection(net, Data(data[:2]), ["1"], n_top=9)
    assert len(unit_regions(net, data, found, [("1", 0)])[0].images) == 2


def test_linear_units_see_the_whole_image_or_nothing():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    data = Data((torch.randn(3, 2, 2), {"scene": 1}) for _ in range(8))
    found = network_dissection(net, data, ["1"], quantile=0.25, n_top=3)
    for each in unit_regions(net, data, found, [("1", 0), ("1", 2)]):
        assert all(mask.all() or not mask.any() for mask in each.masks)
        assert each.masks[0].all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_precision_of_the_model_is_met_and_the_model_left_alone(problem, dtype):
    net, data, found = problem
    net.to(dtype).train()
    assert unit_regions(net, data, found, [("1", 0)])[0].images[0].dtype == torch.float32
    assert net.training
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize(
    ("unit", "match"), [(("2", 0), "units of the layers '1', '3'"), (("1", 5), r"an int in \[0, 4\]")]
)
def test_unknown_units_are_refused(problem, unit, match):
    net, data, found = problem
    with pytest.raises(ValueError, match=f"The `units` parameter of `unit_regions` must be {match}"):
        unit_regions(net, data, found, [unit])
