import pytest
import torch
from torch import nn

from lightning_interp.hooks import capture, select_layers


@pytest.fixture
def vgg():
    return nn.ModuleDict({"features": nn.Sequential(*[nn.Conv2d(3, 3, 3) if i % 2 else nn.ReLU() for i in range(24)])})


def test_globs_names_types_predicates_and_lists(vgg):
    assert select_layers(vgg, "features.2[0-9]") == [f"features.{i}" for i in (20, 21, 22, 23)]
    assert select_layers(vgg, "features.2") == ["features.2"]
    assert select_layers(vgg, nn.Conv2d) == [f"features.{i}" for i in range(1, 24, 2)]
    assert select_layers(vgg, lambda name, module: name.endswith("5")) == ["features.5", "features.15"]
    # Network order, without duplicates, whatever the order of the list.
    assert select_layers(vgg, ["features.23", "features.1", nn.Sequential, "features.?", "features.1"])[:4] == [
        "features",
        "features.0",
        "features.1",
        "features.2",
    ]


def test_a_forward_pass_gives_its_order_and_not_that_of_registration(resnet, images):
    layers = ["layer2.0.downsample.0", "layer2.0.conv1", "layer2.0.relu:1", "layer2.0", "layer2.0.relu"]
    listed = ["layer2.0", "layer2.0.conv1", "layer2.0.relu", "layer2.0.relu:1", "layer2.0.downsample.0"]
    assert select_layers(resnet, layers) == listed
    ran = ["layer2.0.downsample.0", "layer2.0.conv1", "layer2.0.relu", "layer2.0.relu:1", "layer2.0"]
    assert select_layers(resnet, layers, example_input=images) == ran


def test_calls_are_addressed_by_index(resnet):
    assert select_layers(resnet, "layer1.*.relu:1") == ["layer1.0.relu:1", "layer1.1.relu:1"]
    assert select_layers(resnet, "layer1.0.relu:0") == ["layer1.0.relu"]


def test_an_alias_of_a_shared_module_is_accepted():
    shared = nn.ReLU()
    model = nn.ModuleDict({"first": shared, "second": shared})
    assert select_layers(model, "second") == ["first"]


def test_prefixes_of_wrappers_are_accepted_and_dropped(resnet):
    for model in (resnet, nn.DataParallel(resnet), torch.compile(nn.DataParallel(resnet), backend="eager")):
        assert select_layers(model, "layer1.0.bn1") == ["layer1.0.bn1"]
        assert select_layers(model, ["module.layer1.0.bn1", "_orig_mod.module.fc"]) == ["layer1.0.bn1", "fc"]


def test_ddp_is_seen_through(resnet, images, tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        model = nn.parallel.DistributedDataParallel(resnet)
        assert select_layers(model, "last_block") == select_layers(resnet, "last_block")
        with capture(model, "module.fc") as activations:
            output = model(images)
        assert torch.equal(activations["module.fc"], output)
    finally:
        torch.distributed.destroy_process_group()


def test_nothing_matched_names_the_pattern_close_names_and_some_layers(resnet):
    with pytest.raises(
        ValueError, match=r"`layers` .* of `select_layers` .*Got 'layer1.0.bm1'\. Did you mean 'layer1"
    ) as error:
        select_layers(resnet, ["fc", "layer1.0.bm1"])
    assert "'stem'" in str(error.value)
    with pytest.raises(ValueError, match="Conv3d"):
        select_layers(resnet, nn.Conv3d)


def test_wrong_types_and_empty_lists_are_refused(resnet):
    with pytest.raises(TypeError, match="`layers`"):
        select_layers(resnet, 3)
    with pytest.raises(TypeError, match="`layers`"):
        select_layers(resnet, resnet.fc)
    with pytest.raises(TypeError, match="`model`"):
        select_layers("resnet", "fc")
    with pytest.raises(ValueError, match="at least one layer"):
        select_layers(resnet, [])
