import pytest
import torch
from torch import nn

from lightning_interp.functional.localization import factor_importance, nmf_heatmaps
from lightning_interp.hooks.reflection_padding import reflection_padding
from tests.functional.localization.test_heatmap import PATTERNS, REGIONS


class Reads(nn.Module):
    """Class 0 counts the first region, class 1 the second, in units of their patterns."""

    def __init__(self):
        super().__init__()
        self.see = nn.Sequential(nn.Conv2d(3, PATTERNS.shape[1], 1, bias=False), nn.ReLU())
        self.see[0].weight.data = PATTERNS.T[:, :, None, None].clone()
        self.head = nn.Linear(PATTERNS.shape[1], 2, bias=False)
        self.head.weight.data = (PATTERNS / PATTERNS.square().sum(1, keepdim=True))[:2].clone()

    def forward(self, x):
        return self.head(self.see(x).sum((2, 3)))


@pytest.fixture(scope="module")
def found():
    return nmf_heatmaps(Reads(), REGIONS, 3, layer="see.1", tol=1e-7, max_iter=500)


def test_a_factor_is_worth_its_region(found):
    order = (found.v @ PATTERNS.T).argmax(1).tolist()  # which pattern each factor is
    for target in (0, 1):
        worth = factor_importance(Reads(), REGIONS, found, classes=torch.full((5,), target))
        areas = REGIONS.sum((2, 3))
        for j, pattern in enumerate(order):
            expected = areas[:, pattern] if pattern == target else torch.zeros(5)
            torch.testing.assert_close(worth[:, j], expected, atol=0.15, rtol=0)


def test_the_predicted_class_by_default_in_batches_of_any_size(found):
    net = Reads()
    with torch.no_grad():
        predicted = net(REGIONS).argmax(1)
    expected = factor_importance(net, REGIONS, found, classes=predicted)
    torch.testing.assert_close(factor_importance(net, REGIONS, found, batch_size=2), expected)


def test_by_a_slow_loop_with_reflection():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 5, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(320, 4),
    ).eval()
    images = torch.rand(3, 3, 8, 8)
    maps = nmf_heatmaps(net, images, 2, layer="1", padding="reflect")
    with torch.no_grad(), reflection_padding(net):
        seen = net[:2](images)
        full = net(images)
        u = maps.factorization.transform(seen.movedim(1, -1).flatten(0, 2)).view(3, 8, 8, 2)
        slow = torch.zeros(3, 2)
        for j in range(2):
            part = torch.einsum("nhw,c->nchw", u[..., j], maps.v[j])
            without = net[2:]((seen - part).clamp(min=0))
            for n in range(3):
                c = int(full[n].argmax())
                slow[n, j] = full[n, c] - without[n, c]
    torch.testing.assert_close(factor_importance(net, images, maps), slow, atol=1e-4, rtol=1e-4)


def test_bad_classes(found):
    with pytest.raises(ValueError, match="one class for each of 5 images"):
        factor_importance(Reads(), REGIONS, found, classes=torch.zeros(3).long())
    with pytest.raises(ValueError, match=r"in \[0, 1\]. Got 2"):
        factor_importance(Reads(), REGIONS, found, classes=torch.full((5,), 2))
