"""Batches as they come, and layers read while a network runs."""

import pytest
import torch
from torch import nn

from lightning_interp.functional.selection._readout import image_batches, model_device, reading

NET = nn.Linear(2, 3)


def batches(images, batch_size=4, **options):
    return list(image_batches(NET, images, batch_size, "it", **options))


def test_a_tensor_is_cut_with_its_labels():
    images, labels = torch.rand(10, 2), torch.arange(10)
    found = batches(images, labels=labels)
    assert [len(batch) for batch, _ in found] == [4, 4, 2]
    assert torch.equal(torch.cat([batch for batch, _ in found]), images)
    assert torch.cat([rest[0] for _, rest in found]).tolist() == labels.tolist()
    assert [rest for _, rest in batches(images)] == [[], [], []]


def test_batches_stay_as_they_are_without_the_empty_ones():
    x = torch.rand(3, 2)
    found = batches([x, [x, "y"], (x[:0], "none"), (x, 1, 2), ([x[0], x[1]], "boxes"), ([], [])])
    assert [rest for _, rest in found] == [[], ["y"], [1, 2], ["boxes"]]
    assert [type(batch) for batch, _ in found] == [torch.Tensor] * 3 + [list]


def test_images_go_to_the_device_of_the_model():
    net = nn.Linear(2, 3, device="meta")
    assert model_device(net) == torch.device("meta")
    assert model_device(nn.ReLU()) is None
    for images in (torch.rand(3, 2), [torch.rand(3, 2)], [([torch.rand(2), torch.rand(2)], "boxes")]):
        batch, _ = next(image_batches(net, images, 4, "it"))
        assert batch[0].device.type == "meta"
        assert next(image_batches(nn.ReLU(), images, 4, "it"))[0][0].device.type == "cpu"


@pytest.mark.parametrize("images", [["path"], [{"x": 1}], [(None, 1)], [(["a", "b"], 1)]])
def test_what_is_no_image(images):
    with pytest.raises(TypeError, match=r"The `images` parameter of `it` must be a tensor \(n, C, H, W\), or batches"):
        batches(images)


def test_bad_sizes_and_labels():
    with pytest.raises(ValueError, match="`batch_size` parameter of `it`"):
        batches(torch.rand(2, 2), 0)
    with pytest.raises(ValueError, match="`labels` parameter of `it` must be one label for each image of a tensor"):
        batches(torch.rand(2, 2), labels=torch.zeros(3))


@pytest.mark.parametrize("spatial", ["none", "mean", "max"])
def test_layers_are_read_pooled_and_the_network_goes_on(spatial):
    net, x, seen = nn.Sequential(nn.Conv2d(3, 4, 2), nn.Flatten(), nn.Linear(16, 2)), torch.rand(5, 3, 3, 3), {}
    expected = net(x)
    with reading(net, ["0", "2"], spatial, lambda i, activation: seen.update({i: activation}), n_images=5):
        assert torch.equal(net(x), expected)
    maps = net[0](x)
    assert torch.equal(seen[0], {"none": maps, "mean": maps.flatten(2).mean(2), "max": maps.amax((2, 3))}[spatial])
    assert torch.equal(seen[1], expected)
    assert not any(module._forward_hooks for module in net.modules())


def test_layers_must_return_a_row_for_each_image():
    net = nn.Sequential(nn.Linear(2, 3))
    match = (
        r"`layers` parameter of `class_statistics` must be .* one row for each of 5 images. '0' does not. Got .* \(4,"
    )
    with reading(net, ["0"], "none", lambda *_: None, n_images=5), pytest.raises(ValueError, match=match):
        net(torch.rand(4, 2))
