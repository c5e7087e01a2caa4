import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import squeezenet1_1

from lightning_interp.cli.networks import load_network
from lightning_interp.models import SVHNCNN
from lightning_interp.modules import Classifier
from tests.callbacks.conftest import Net, quiet_trainer, toy_loader


def same(net, other):
    mine, theirs = net.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.fixture
def net():
    torch.manual_seed(3)
    return SVHNCNN(n_classes=3, width=4, image_size=8)


ARGUMENTS = {"n_classes": 3, "width": 4, "image_size": 8}


def test_torchvision_by_name():
    net = load_network("squeezenet1_1", arguments={"num_classes": 7}, weights="random")
    assert isinstance(net, type(squeezenet1_1()))
    assert net.classifier[1].out_channels == 7
    assert not net.training


@pytest.mark.parametrize("name", ["SVHNCNN", "lightning_interp.models.SVHNCNN"])
def test_ours_by_name_or_path_with_weights_of_every_kind_of_file(net, name, tmp_path):
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    torch.save({f"module.{key}": value for key, value in net.state_dict().items()}, tmp_path / "net.pth")
    trainer = quiet_trainer(max_epochs=0)
    trainer.fit(Classifier(net), toy_loader())
    trainer.save_checkpoint(tmp_path / "net.ckpt")
    for file in ("net.safetensors", "net.pth", "net.ckpt"):
        assert same(load_network(name, arguments=ARGUMENTS, ckpt=tmp_path / file), net)


def test_a_network_of_ones_own():
    assert isinstance(load_network("tests.callbacks.conftest.Net", weights="random"), Net)


def test_bad_names_and_files(net, tmp_path):
    with pytest.raises(ValueError, match=r"Did you mean .*'squeezenet1_1'"):
        load_network("squeezenet11", weights="random")
    with pytest.raises(ValueError, match=r"the import path of an nn.Module"):
        load_network("lightning_interp.cli.networks.load_network", weights="random")
    for both in ({}, {"ckpt": "x.pth", "weights": "DEFAULT"}):
        with pytest.raises(ValueError, match="but not both"):
            load_network("resnet18", **both)
    with pytest.raises(ValueError, match="these are torchvision's"):
        load_network("SVHNCNN", weights="DEFAULT")
    save_file(nn.Linear(2, 2).state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"a file with the weights of SVHNCNN, such as 'features.0.weight'; it holds"):
        load_network("SVHNCNN", arguments=ARGUMENTS, ckpt=tmp_path / "other.safetensors")
