import pytest
import torch
from torch import nn

from lightning_interp.functional.inverse_set.generators import as_generator
from lightning_interp.functional.inverse_set.problem import check_differentiable, problem
from lightning_interp.functional.synthesis import channel, logit
from tests.functional.inverse_set.worlds import drawing, network


class Rounded(nn.Module):
    def forward(self, images):
        return images.round().flatten(1)


class Cut(nn.Module):
    def forward(self, images):
        return images.detach().flatten(1)


def opened(net, encoder="2", **options):
    levels = torch.tensor([[0.0, 1.0], [-1.0, 1.0]])
    return problem(net, [channel("4", 2), logit(1)], levels, as_generator(drawing()), encoder, **options)


def test_one_pass_sees_images_neurons_and_features():
    net, codes = network(), torch.randn(5, 12)
    with opened(net) as found, torch.no_grad():
        seen = found.look(codes)
        other = found.encode(seen.images)
    with torch.no_grad():
        images = drawing()(codes)
        assert torch.allclose(seen.images, images, atol=1e-6)
        assert torch.allclose(seen.activations[:, 0], net[:5](images)[:, 2].mean((1, 2)), atol=1e-5)
        assert torch.allclose(seen.activations[:, 1], net(images)[:, 1], atol=1e-5)
        assert torch.allclose(seen.features, net[:3](images).flatten(1), atol=1e-5)
    assert torch.allclose(other.flatten(1), seen.features, atol=1e-5)


def test_networks_are_only_borrowed():
    net, draw = network(), drawing()
    with opened(net) as found:
        found.look(torch.randn(2, 12, requires_grad=True)).activations.sum().backward()
    assert all(
        parameter.grad is None and parameter.requires_grad for parameter in [*net.parameters(), *draw.parameters()]
    )
    assert net.training


def test_places_and_feasibility():
    with opened(network()) as found:
        activations = torch.tensor([[0.5, 0.0], [0.0, 1.0], [1.1, 0.0], [0.5, -1.2]])
        assert torch.allclose(found.place(activations)[0], torch.tensor([0.5, 0.5]))
        assert found.feasible(activations).tolist() == [True, True, False, False]
        near = torch.tensor([[0.5, 0.0], [0.001, 0.0], [0.0, 1.0], [0.5, -0.999]])
        assert found.feasible(near, slack=0.01).tolist() == [True, False, True, False]


def test_codes_stay_within_bounds():
    with opened(network(), bounds=(-1, torch.full((12,), 0.5))) as found:
        assert found.restrict(torch.tensor([[-3.0, 3.0] * 6])).unique().tolist() == [-1, 0.5]
    with opened(network()) as found:
        assert found.restrict(torch.full((1, 12), 9.0)).unique().tolist() == [9]


@pytest.mark.parametrize("encoder", [Rounded(), Cut()])
def test_an_encoder_without_gradients_is_refused(encoder):
    with (
        opened(network(), encoder) as found,
        pytest.raises(ValueError, match=r"`encoder` parameter.*output can be differentiated"),
    ):
        check_differentiable(found, torch.randn(2, 12), encoder)


def test_an_encoder_with_gradients_is_fine():
    for encoder in ("2", nn.Flatten(), lambda images: images.mean((2, 3))):
        with opened(network(), encoder) as found:
            check_differentiable(found, torch.randn(2, 12), encoder)


def test_images_of_another_shape_are_refused():
    grey = nn.Sequential(nn.Linear(12, 80), nn.Unflatten(1, (1, 8, 10)))
    levels = torch.tensor([[0.0, 1.0]])
    with (
        problem(network(), [logit(1)], levels, as_generator(grey), "2") as found,
        pytest.raises(ValueError, match=r"images the network takes; it makes \(1, 8, 10\)"),
    ):
        found.look(torch.randn(2, 12))
