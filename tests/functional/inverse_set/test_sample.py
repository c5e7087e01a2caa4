import pytest
import torch
from torch import nn

from lightning_interp.exceptions import MeasurementWarning
from lightning_interp.functional.inverse_set.intervals import activation_quantiles
from lightning_interp.functional.inverse_set.sample import sample_inverse_set
from lightning_interp.functional.synthesis import channel, logit, unit
from tests.functional.inverse_set.worlds import OURS, drawing, identity, linear_unit, network


def images(n=200):
    with torch.no_grad():
        return drawing()(torch.randn(n, 12, generator=torch.Generator().manual_seed(5)))


def level(objective, quantiles=(0.3, 0.6)):
    return activation_quantiles(network(), objective, [images()], quantiles)[0].tolist()


@pytest.mark.parametrize(
    ("layer", "options", "objective"),
    [
        ("4", {"unit": 2}, unit("4", 2, position="max")),
        ("4", {"unit": 2, "position": "mean"}, channel("4", 2)),
        ("4", {"unit": 2, "position": (1, 2)}, unit("4", 2, position=(1, 2))),
        ("7", {"unit": 1}, logit(1)),
        (logit(3) - logit(2), {}, logit(3) - logit(2)),
    ],
)
def test_every_sample_is_in_range_by_a_pass_of_ones_own(layer, options, objective):
    low, high = level(objective)
    found = sample_inverse_set(network(), layer, interval=(low, high), n=60, n_seeds=5, **options, **OURS)
    layers = {"4": network()[:5], "7": network(), "<output>": network()}
    with torch.no_grad():
        again = objective({name: part(found.images) for name, part in layers.items()})
        assert torch.allclose(drawing()(found.codes), found.images, atol=1e-6)
    assert len(found) == 60
    assert bool(((again >= low - 1e-6) & (again <= high + 1e-6)).all())
    assert found.to_dataframe().in_range.all()
    assert found.n_steps[1] <= 2 * 60 / 5
    assert sorted(found.seeds.unique().tolist()) == [0, 1, 2, 3, 4]
    assert float(found.reached[0, 0]) <= low
    assert found.diversity > 0


def test_intersections_hold_for_every_neuron():
    objectives = [unit("4", 2, position="max"), logit(1)]
    levels = [level(each, (0.2, 0.7)) for each in objectives]
    found = sample_inverse_set(network(), ["4", "7"], unit=[2, 1], interval=levels, n=40, n_seeds=5, **OURS)
    assert found.activations.shape == (40, 2)
    limits = torch.tensor(levels)
    assert bool(((found.activations >= limits[:, 0]) & (found.activations <= limits[:, 1])).all())
    assert found.names == ("4:2", "7:1")


def test_levels_can_be_quantiles_of_a_dataset():
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images(), torch.zeros(200)), batch_size=50)
    found = sample_inverse_set(network(), "7", unit=1, quantiles=(0.3, 0.6), data=loader, n=20, n_seeds=4, **OURS)
    assert found.intervals[0].tolist() == pytest.approx(level(logit(1)))


def test_the_same_seed_gives_the_same_samples():
    options = {"unit": 1, "interval": level(logit(1)), "n": 30, "n_seeds": 5, **OURS}
    first, same, other = (sample_inverse_set(network(), "7", seed=seed, **options) for seed in (3, 3, 4))
    assert torch.equal(first.images, same.images)
    assert not torch.equal(first.images, other.images)


def test_the_global_generator_is_left_alone():
    net, interval = network(), level(logit(1))
    state = torch.get_rng_state()
    sample_inverse_set(net, "7", unit=1, interval=interval, n=10, n_seeds=5, **OURS)
    assert torch.equal(torch.get_rng_state(), state)


def test_repulsion_makes_them_diverse():
    options = {"unit": 1, "interval": level(logit(1)), "n": 50, "n_seeds": 5, **OURS}
    same = torch.randn(1, 12, generator=torch.Generator().manual_seed(0)).expand(5, -1)
    same = same + 1e-3 * torch.randn(5, 12, generator=torch.Generator().manual_seed(1))
    by_encoder, by_codes, none = (
        sample_inverse_set(network(), "7", repulsion=kind, start=same, **options).diversity
        for kind in ("encoder", "codes", None)
    )
    assert by_encoder > none
    assert by_codes > none


def test_the_full_optimisation_drives_all_apart():
    options = {"unit": 1, "interval": level(logit(1)), "n": 24, **OURS}
    full = sample_inverse_set(network(), "7", method="full", rounds=2, steps=40, batch_size=7, **options)
    assert len(full) == 24
    assert full.n_steps[0] == 80
    assert full.to_dataframe().in_range.all()


def test_bounds_hold_codes():
    found = sample_inverse_set(
        linear_unit(), "1", unit=0, interval=(0.2, 0.4), n=50, generator=identity(), encoder=nn.Flatten(), bounds=(0, 1)
    )
    assert bool(((found.codes >= 0) & (found.codes <= 1)).all())


def test_random_images_are_encoded_where_codes_are_features():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 2))
    decoder = nn.Sequential(nn.Linear(5, 12), nn.Sigmoid(), nn.Unflatten(1, (3, 2, 2)))
    with torch.no_grad():
        typical = net(decoder(torch.rand(100, 5)))[:, 0].quantile(torch.tensor([0.3, 0.6])).tolist()
    options = {"unit": 0, "interval": typical, "generator": decoder, "output_range": (0, 1), "n": 5, "n_seeds": 5}
    found = sample_inverse_set(net, "3", encoder="2", rounds=1, **options)
    assert found.codes.shape == (5, 5)
    # a start of one's own is drawn from
    start = torch.full((3, 5), 0.3)
    assert sample_inverse_set(net, "3", encoder="2", start=start, **options).codes.shape == (5, 5)


def test_what_cannot_be_reached_is_said_with_what_was():
    with pytest.raises(ValueError, match=r"reach, all at once\. In 20 steps 7:1 in \[100, 101\] was between -?\d"):
        sample_inverse_set(network(), "7", unit=1, interval=(100, 101), rounds=2, steps=10, **OURS)


def test_samples_that_are_not_found_are_said():
    def picky(codes):  # one image, whatever the code
        return (0 * codes[:, :1] + 0.5).expand(-1, 3 * 120).reshape(-1, 3, 10, 12)

    with torch.no_grad():
        value = float(network()(torch.full((1, 3, 10, 12), 0.5))[0, 1])
    with pytest.raises(ValueError, match="tells nothing about the image"):
        sample_inverse_set(
            network(), "7", unit=1, interval=(value - 1, value + 1), generator=picky, code_shape=4, encoder="2"
        )


def test_a_walk_that_ends_early_is_said(monkeypatch):
    monkeypatch.setattr("lightning_interp.functional.inverse_set.sample._PATIENCE", 1)
    with pytest.warns(MeasurementWarning, match=r"found \d+ of 200 samples"):
        found = sample_inverse_set(network(), "7", unit=1, interval=level(logit(1), (0.4, 0.45)), n=200, **OURS)
    assert 0 < len(found) < 200


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"interval": (2, 1)}, "z1 below z2"),
        ({"interval": None}, "`interval` parameter.*or `quantiles` and `data`"),
        ({"interval": None, "quantiles": (0.1, 0.5)}, "`data` parameter"),
        ({"interval": None, "quantiles": (0.5, 0.1), "data": [images()]}, "z1 below z2"),
        ({"unit": None}, "`unit` parameter.*one unit for each of 1 layers"),
        ({"unit": [1, 2]}, "one unit for each of 1 layers"),
        ({"unit": 99}, r"\[0, 3\]"),
        ({"n": 0}, "`n` parameter"),
        ({"n_seeds": 0}, "`n_seeds` parameter"),
        ({"method": "both"}, "`method` parameter"),
        ({"repulsion": "pixels"}, "`repulsion` parameter"),
        ({"start": torch.zeros(4, 9)}, r"codes \(K, 12\)"),
        ({"encoder": "nowhere"}, "nowhere"),
        ({"output_range": (0.4, 0.5)}, "`output_range` parameter.*far outside"),
    ],
)
def test_bad_input_is_named(options, text):
    given = {"unit": 1, "interval": (0, 1), **OURS, **options}
    with pytest.raises(ValueError, match=text):
        sample_inverse_set(network(), "7", **given)


def test_a_neuron_that_never_changes_has_no_quantiles():
    net = network()
    with torch.no_grad():
        net[3].bias[2] = -1e3  # a dead unit
    with pytest.raises(ValueError, match="quantiles that differ; both are 0 for 4:2"):
        sample_inverse_set(net, "4", unit=2, quantiles=(0.1, 0.9), data=[images()], **OURS)


def test_it_works_in_inference_mode():
    net, interval = network(), level(logit(1))
    with torch.inference_mode():
        found = sample_inverse_set(net, "7", unit=1, interval=interval, n=10, n_seeds=5, **OURS)
    assert len(found) == 10
    assert not found.images.is_inference()


def test_a_silent_neuron_is_said():
    net = network()
    with torch.no_grad():
        net[3].bias[2] = -1e3
    with pytest.raises(ValueError, match=r"between 0 and 0.*never changed has no gradient: pass a `start`"):
        sample_inverse_set(net, "4", unit=2, interval=(0.5, 1.0), rounds=1, steps=3, **OURS)
