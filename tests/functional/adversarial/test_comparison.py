import pytest
import torch
from torch import nn

from lightning_interp.functional.adversarial.attacks import pgd
from lightning_interp.functional.adversarial.comparison import compare_activations, equal_noise
from lightning_interp.hooks import capture


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def linear(weight):
    net = nn.Sequential(nn.Flatten(), nn.Linear(*weight.T.shape, bias=False))
    net[1].weight.data.copy_(weight)
    return net


@pytest.fixture
def images():
    return torch.rand(6, 3, 4, 4, generator=generator())


@pytest.mark.parametrize("vector", [0, 5])
def test_along_a_singular_vector_the_layer_amplifies_by_a_known_factor(images, vector):
    """Noise of equal length is stretched by the root mean square of the singular values, this one by its own."""
    u = torch.linalg.qr(torch.randn(48, 48, generator=generator())).Q
    values = torch.linspace(3.0, 0.2, 48)
    net = linear(torch.diag(values) @ u.T)
    found = compare_activations(net, images, images + 0.1 * u[:, vector].view(3, 4, 4), n_noise=400).layers["1"]
    said = (images.flatten(1) @ u * values).norm(dim=1).mean()
    assert float(found.change[-1]) == pytest.approx(float(0.1 * values[vector] / said), rel=1e-3)
    assert float(found.ratio[-1]) == pytest.approx(float(values[vector] / values.square().mean().sqrt()), rel=0.02)
    assert int(found.norms[1, :-1].argmax()) == vector
    assert bool((found.ratio[:-1].round(decimals=2) > 0).nonzero().flatten().tolist() == [vector])


def slow(model, clean, perturbed, layer):
    """Relative change per unit and of the layer, one image after the other."""
    rows = []
    for x, twin in zip(clean, perturbed, strict=True):
        maps = []
        for image in (x, twin):
            with capture(model, layer) as seen:
                model(image[None])
            maps.append(seen[layer][0].reshape(seen[layer].shape[1], -1))
        change = maps[1] - maps[0]
        norms = [[*(unit.norm() for unit in each), each.norm()] for each in (maps[0], change)]
        rows.append(torch.tensor(norms))
    mean = torch.stack(rows).mean(0)
    return mean[1] / mean[0]


def test_it_equals_a_slow_loop_at_any_batch_size(images):
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(20, 4))
    model[0].bias.data.fill_(1.0)  # no unit is silent
    perturbed = images + 0.1 * torch.randn(images.shape, generator=generator())
    found = compare_activations(model, images, perturbed, batch_size=4)
    assert list(found.layers) == ["1", "3"]
    assert torch.allclose(found.layers["1"].change.float(), slow(model, images, perturbed, "1"), rtol=1e-4)
    assert torch.allclose(found.layers["3"].change.float(), slow(model, images, perturbed, "3"), rtol=1e-4)
    other = compare_activations(model, images, perturbed, batch_size=100)
    assert torch.allclose(found.layers["1"].change, other.layers["1"].change)


def test_nothing_changes_between_identical_images(images):
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU())
    found = compare_activations(model, images, images.clone())
    assert not found.layers["1"].change.any()
    assert not found.layers["1"].change_by_noise.any()
    assert bool(found.layers["1"].ratio.isnan().all())
    assert not found.maps[0].difference.any()


def test_noise_against_noise_is_one(trained):
    net, images, _ = trained
    noisy = images + 0.1 * torch.randn(images.shape, generator=generator(9))
    table = compare_activations(net, images, noisy).by_layer()
    assert table["ratio"].tolist() == pytest.approx([1.0] * len(table), abs=0.05)


def test_attacks_are_amplified_more_the_deeper_the_layer(trained):
    net, images, labels = trained
    found = compare_activations(net, images, pgd(net, images, labels, epsilon=4 / 255), maps_per_layer=2)
    ratio = found.by_layer()["ratio"]
    assert ratio.iloc[0] < 2 < ratio.iloc[-1]
    table = found.to_dataframe()
    assert table.groupby("layer", sort=False).size().iloc[0] == net.features[0].out_channels
    assert list(table.columns) == ["layer", "unit", "change", "change_by_noise", "ratio"]


def test_units_that_are_silent_do_no_harm(images):
    """Unit 0 never speaks, unit 1 only when perturbed, unit 2 always."""
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())
    net[0].weight.data.fill_(1.0)
    net[0].bias.data.copy_(torch.tensor([-99.0, -3.0, 0.0]))
    found = compare_activations(net, images, images + 1).layers["1"]
    assert found.change[0] == 0
    assert bool(found.change[1].isnan())
    assert bool(found.change[2:].isfinite().all())
    assert bool(found.ratio[0].isnan())


def test_the_maps_are_those_of_the_units_that_change_most(images):
    net = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    net[0].weight.data.copy_(torch.tensor([1.0, 3.0, 0.1, 2.0]).view(4, 1, 1, 1).expand(4, 3, 1, 1))
    found = compare_activations(net, images, images * 1.5, maps_per_layer=2, map_images=3)
    assert [(each.layer, each.unit) for each in found.maps] == [("1", 1), ("1", 3)]  # the linear layer has no maps
    assert torch.allclose(found.maps[0].clean, 3 * images[:3].sum(1))
    assert torch.allclose(found.maps[0].difference, 1.5 * images[:3].sum(1), atol=1e-5)
    assert compare_activations(net, images, images, maps_per_layer=0).maps == ()


def test_noise_is_as_long_as_the_perturbation_of_its_image():
    perturbation = torch.randn(5, 3, 8, 8, generator=generator()) * torch.arange(5).view(5, 1, 1, 1)
    noise = equal_noise(perturbation, generator(1))
    assert torch.allclose(noise.flatten(1).norm(dim=1), perturbation.flatten(1).norm(dim=1))
    cosines = torch.cosine_similarity(noise.flatten(1), perturbation.flatten(1))
    assert bool((cosines.abs() < 0.3).all())


def test_the_seed_decides_and_the_model_is_left_as_it_was(trained, images):
    net, images, _ = trained
    net.train()
    state = torch.get_rng_state()
    tables = [compare_activations(net, images[:8], images[8:16], seed=s).by_layer() for s in (1, 1, 2)]
    assert tables[0].equals(tables[1])
    assert not tables[0].equals(tables[2])
    assert net.training
    assert torch.equal(torch.get_rng_state(), state)
    net.eval()


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"clean": torch.zeros(3, 4, 4)}, ValueError, r"images \(N, C, H, W\)"),
        ({"clean": torch.zeros(0, 3, 4, 4)}, ValueError, "at least one"),
        ({"perturbed": torch.zeros(5, 3, 4, 4)}, ValueError, r"of shape \(6, 3, 4, 4\), as the clean images"),
        ({"n_noise": 0}, ValueError, "`n_noise` parameter of `compare_activations`"),
        ({"batch_size": 2.5}, TypeError, "`batch_size` parameter"),
        ({"layers": "conv"}, ValueError, "something that matches a layer"),
        ({"maps_per_layer": -1}, ValueError, "`maps_per_layer` parameter"),
    ],
)
def test_bad_input(options, error, match, images):
    with pytest.raises(error, match=match):
        compare_activations(**{"model": nn.Conv2d(3, 2, 3), "clean": images, "perturbed": images, **options})
