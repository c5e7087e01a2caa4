import torch
from torch import nn

from lightning_interp.hooks.fingerprint import model_fingerprint


def test_a_network_is_its_structure_weights_and_buffers():
    def network(stride=1):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 2, 3, stride=stride), nn.BatchNorm2d(2))

    prints = {model_fingerprint(network()), model_fingerprint(network(2)), model_fingerprint(network().bfloat16())}
    for name in ("0.weight", "1.bias", "1.running_var", "1.num_batches_tracked"):
        model = network()
        model.state_dict()[name].view(-1)[0] += 1
        prints.add(model_fingerprint(model))
    assert len(prints) == 7
    assert model_fingerprint(network()) == model_fingerprint(network().train())


def test_a_wrapped_network_is_the_one_inside():
    net = nn.Linear(2, 3)
    assert model_fingerprint(nn.DataParallel(net)) == model_fingerprint(net) == model_fingerprint(torch.compile(net))
