import copy

import pytest
import torch
from torch.nn.functional import cross_entropy

from lightning_interp.functional.generalization import susceptibility


def by_hand(net, images, labels, lr):
    """Loss before minus after a real step of the real optimiser on a copy in eval mode."""
    copied = copy.deepcopy(net).eval()
    optimizer = torch.optim.SGD(copied.parameters(), lr=lr)
    before = cross_entropy(copied(images), labels)
    before.backward()
    optimizer.step()
    return float((before - cross_entropy(copied(images), labels)).detach())


@pytest.mark.parametrize("lr", [0.01, 0.2])
def test_susceptibility_equals_a_real_step(net, pictures, lr):
    images = pictures[0][:21]
    labels = torch.randint(3, (21,), generator=torch.Generator().manual_seed(7))
    got = susceptibility(net, images, n_classes=3, lr=lr, generator=torch.Generator().manual_seed(7))
    assert got == pytest.approx(by_hand(net, images, labels, lr), rel=1e-3)
    assert got > 0


def test_no_step_no_drop(net, pictures):
    assert susceptibility(net, pictures[0], n_classes=3, lr=0.0, generator=torch.Generator()) == 0


def test_the_labels_are_random_but_reproducible(cnn, pictures):
    values = [
        susceptibility(cnn, pictures[0], n_classes=3, generator=torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    ]
    assert values[0] == values[1] != values[2]


def test_bad_input_is_named(cnn, pictures):
    with pytest.raises(ValueError, match=r"`lr` parameter of `susceptibility` must be a number in \[0, inf\)"):
        susceptibility(cnn, pictures[0], n_classes=3, lr=-1.0, generator=torch.Generator())
    with pytest.raises(ValueError, match=r"`n_classes` parameter of `susceptibility` must be an int"):
        susceptibility(cnn, pictures[0], n_classes=0, generator=torch.Generator())
    with pytest.raises(ValueError, match="weights that are not frozen"):
        susceptibility(cnn.requires_grad_(False), pictures[0], n_classes=3, generator=torch.Generator())
